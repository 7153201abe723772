"""Queries whose top-k hangs on a tie, ranked against the whole context: exact, slower, in bounded memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

from propagation.knn.context import Context
from propagation.knn.rules import Rules
from propagation.knn.topk import pack_keys, topk_keys, unpack_keys

ROWS = 128
"""Tied queries ranked at a time: bounds memory (3 int64 maps of this many rows) however many queries are tied."""


def topk_of_all(query_RD: Tensor, beyond_RN: Tensor, context: Context, rules: Rules) -> Tensor:
    """Keys of the topk entries [R, topk], every context entry ranked; `beyond_RN` marks the cells beyond the radius."""
    cell_N = context.cell_AB.flatten()
    candidates = [
        context.repeat_in_slots(topk_keys(pack_keys(affinity_RN, cell_N), rules.topk), slots)
        for affinity_RN, slots in _affinities(query_RD, beyond_RN, context, rules)
    ]
    return topk_keys(torch.cat(candidates, 1), rules.topk)


def soft_labels_of_ties(query_RD: Tensor, beyond_RN: Tensor, context: Context, rules: Rules) -> Tensor:
    """Soft labels [R, K] from the topk entries and all others that equal the topk-th (`keep_ties`)."""
    values_Rk, _ = unpack_keys(topk_of_all(query_RD, beyond_RN, context, rules))
    largest, last = values_Rk[:, :1], values_Rk[:, -1:]
    labels, total = torch.zeros((), device=query_RD.device), torch.zeros((), device=query_RD.device)
    # A second pass with the same products, so that equality with the topk-th value is exact.
    for affinity_RN, slots in _affinities(query_RD, beyond_RN, context, rules):
        weights_RN = ((affinity_RN - largest) / rules.temperature).exp_().masked_fill_(affinity_RN < last, 0)
        labels = labels + sum(weights_RN @ context.labels_in(slot) for slot in slots.tolist())
        total = total + len(slots) * weights_RN.sum(1, keepdim=True)
    return labels / total


def _affinities(query_RD: Tensor, beyond_RN: Tensor, context: Context, rules: Rules) -> Iterator[tuple[Tensor, Tensor]]:
    """Affinities [R, N] with one stored frame at a time, -inf beyond the radius, and the slots [S] that hold it."""
    first_RN = query_RD @ context.first_ND.T
    slots = context.slots_of_first
    if rules.exempt_first:
        yield first_RN, slots[:1]
        slots = slots[1:]
    if len(slots):
        yield first_RN.masked_fill(beyond_RN, -torch.inf), slots
    for frame_ABD, slot in zip(context.queue_SABD, context.queue_slots[:, None], strict=True):
        yield (query_RD @ frame_ABD.flatten(0, 1).T).masked_fill_(beyond_RN, -torch.inf), slot
