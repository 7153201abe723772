"""Queries that hang on ties, redone over the whole context: who wins a place, or all who tie for the last one."""

from collections.abc import Iterator

import torch
from torch import Tensor

from propagation.knn.context import Context
from propagation.knn.rules import Rules
from propagation.knn.topk import best_keys, pack_keys, unpack_keys

ROWS = 128
"""Tied queries redone at a time: bounds their memory (3 int64 maps of this many rows) whatever the number of ties."""


def winning_keys(query_RD: Tensor, outside_RN: Tensor, context: Context, rules: Rules) -> Tensor:
    """Keys of the winners [R, topk], every context cell ranked; `outside_RN` marks the cells beyond the radius."""
    cell_N = context.cell_AB.flatten()
    candidates = [
        context.in_slots(best_keys(pack_keys(affinity_RN, cell_N), rules.topk), slots)
        for affinity_RN, slots in _affinities(query_RD, outside_RN, context, rules)
    ]
    return best_keys(torch.cat(candidates, 1), rules.topk)


def blend_with_ties(query_RD: Tensor, outside_RN: Tensor, context: Context, rules: Rules) -> Tensor:
    """Soft labels [R, K], where every entry that is not below the topk-th largest votes."""
    values_Rk, _ = unpack_keys(winning_keys(query_RD, outside_RN, context, rules))
    best, last = values_Rk[:, :1], values_Rk[:, -1:]
    votes, total = torch.zeros((), device=query_RD.device), torch.zeros((), device=query_RD.device)
    # The affinities are computed a second time, by the same products, so that the last value is met to the last bit.
    for affinity_RN, slots in _affinities(query_RD, outside_RN, context, rules):
        weights_RN = ((affinity_RN - best) / rules.temperature).exp_().masked_fill_(affinity_RN < last, 0)
        votes = votes + sum(weights_RN @ context.labels_in(slot) for slot in slots.tolist())
        total = total + len(slots) * weights_RN.sum(1, keepdim=True)
    return votes / total


def _affinities(
    query_RD: Tensor, outside_RN: Tensor, context: Context, rules: Rules
) -> Iterator[tuple[Tensor, Tensor]]:
    """Affinities [R, N] with one stored frame at a time, -inf out of reach, and the slots [S] that hold the frame."""
    first_RN = query_RD @ context.first_ND.T
    slots = context.slots_of_first
    if rules.exempt_first:
        yield first_RN, slots[:1]
        slots = slots[1:]
    if len(slots):
        yield first_RN.masked_fill(outside_RN, -torch.inf), slots
    for frame_ABD, slot in zip(context.queue_SABD, context.queue_slots[:, None], strict=True):
        yield (query_RD @ frame_ABD.flatten(0, 1).T).masked_fill_(outside_RN, -torch.inf), slot
