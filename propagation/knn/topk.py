"""Top-k selection with a defined order among ties: of equal values, the one with the lower index comes first.

`torch.topk` leaves undefined in which order equal values come, and which it returns where the k-th equals the next.
A (value, index) pair packed into one int64 key has no equal, so `torch.topk` of keys is well defined on every device.
"""

import torch
from torch import Tensor

_INDEX_BITS = 32
_INDEX_MASK = (1 << _INDEX_BITS) - 1


def pack_keys(values: Tensor, index: Tensor) -> Tensor:
    """int64 keys, larger for a larger value and, among equal values, for a lower index; the two arguments broadcast.

    `values` are float32 without NaN (-inf is allowed, -0 equals 0), `index` int64 in [0, 2^32). Subtracting an
    integer from a key adds it to the index.
    """
    # Adding 0.0 turns -0 into 0, whose bits differ.
    bits = (values + 0.0).view(torch.int32)
    # The bits of negative floats order backwards as integers: flip all but the sign.
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.to(torch.int64) << _INDEX_BITS) + (_INDEX_MASK - index)


def unpack_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The float32 values and int64 indices that `pack_keys` put into `keys`."""
    ordered = (keys >> _INDEX_BITS).to(torch.int32)
    values = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return values, _INDEX_MASK - (keys & _INDEX_MASK)


def topk_keys(keys: Tensor, k: int) -> Tensor:
    """The k largest keys of each row [n, m], largest first, [n, k]; where m < k, padded with (-inf, index 0)."""
    largest = keys.topk(min(k, keys.shape[1]), dim=1).values
    if largest.shape[1] == k:
        return largest
    padding = torch.full((len(keys), k - largest.shape[1]), -torch.inf, device=keys.device)
    return torch.cat([largest, pack_keys(padding, torch.zeros_like(padding, dtype=torch.int64))], dim=1)


def topk_with_tie(values: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest values of each row [n, m], their columns, and the value of a tie for the last place.

    Returns values and columns [n, min(k, m)], largest first, and `tie` [n]: the k-th value where the (k+1)-th equals
    it and both are finite, so that which column was returned is arbitrary; NaN elsewhere. Where it is NaN, the set of
    columns is unique (up to columns that hold -inf).
    """
    m = values.shape[1]
    if k >= m:
        top = values.topk(m, dim=1)
        return top.values, top.indices, values.new_full((len(values),), torch.nan)
    top = values.topk(k + 1, dim=1)
    last, next_ = top.values[:, k - 1], top.values[:, k]
    tie = torch.where((last == next_) & (next_ > -torch.inf), next_, torch.nan)
    return top.values[:, :k], top.indices[:, :k], tie
