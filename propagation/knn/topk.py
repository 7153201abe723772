"""Top-k selection with a defined order among ties: equal values are ranked by an index, the lower first.

`torch.topk` leaves the order of equal values, and which of them it keeps at the boundary, undefined. A (value, index)
pair packed into one int64 key has no equals, so the same call on keys is fully defined, on every device.
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
    bits = (values + 0.0).view(torch.int32)
    # Negative floats order backwards as integers: flip everything but their sign.
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.to(torch.int64) << _INDEX_BITS) + (_INDEX_MASK - index)


def unpack_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The float32 values and int64 indices that `pack_keys` put into `keys`."""
    ordered = (keys >> _INDEX_BITS).to(torch.int32)
    values = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return values, _INDEX_MASK - (keys & _INDEX_MASK)


def best_keys(keys: Tensor, k: int) -> Tensor:
    """The k largest keys of each row [n, m], largest first, [n, k]; where m < k the rest is (-inf, index 0)."""
    best = keys.topk(min(k, keys.shape[1]), dim=1).values
    if best.shape[1] == k:
        return best
    none = torch.full((len(keys), k - best.shape[1]), -torch.inf, device=keys.device)
    return torch.cat([best, pack_keys(none, torch.zeros_like(none, dtype=torch.int64))], dim=1)


def shortlist(values: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest values of each row [n, m], their columns, and the value at which their choice was arbitrary.

    Returns values and columns [n, min(k, m)], largest first, and `boundary` [n]: where the k-th and the (k+1)-th
    value are equal and finite, that value; NaN elsewhere. Where it is NaN the set of columns is the only right one
    (up to columns that hold -inf).
    """
    m = values.shape[1]
    if k >= m:
        top = values.topk(m, dim=1)
        return top.values, top.indices, values.new_full((len(values),), torch.nan)
    top = values.topk(k + 1, dim=1)
    last, next_ = top.values[:, k - 1], top.values[:, k]
    boundary = torch.where((last == next_) & (next_ > -torch.inf), next_, torch.nan)
    return top.values[:, :k], top.indices[:, :k], boundary
