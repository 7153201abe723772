"""Exact search for the topk nearest context entries of every query.

The affinity of one frame with its context is a matrix [N, (n_context + 1) * N], 1650 x 34650 on DAVIS at patch 16. It
is never formed. Three facts make the exact result cheap:

1. Copies of frame 0 have equal affinities: they are computed once and entered with their multiplicity, that is, in
   every slot that holds frame 0.
2. Only cells in radius compete. So the grid of queries is cut into tiles, and each tile is multiplied only with its
   window: the rectangle of context cells that the radius of its queries reaches (`tiles.py`).
3. The maximum over the queue's frames bounds the winners. Take, at each cell, the maximum over the frames. A cell that
   is not among the topk largest maxima has topk entries at least as large before its own, so without a tie none of its
   entries is selected. It takes one sort per query, instead of one per query and frame, to find the cells that count.

All three hold under every option of `Rules`. Where the last place is tied, facts 1 and 3 may keep the wrong one of
equal entries; such queries are detected here and ranked against the whole context in `ties.py`.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from propagation.knn.context import Context
from propagation.knn.rules import Rules
from propagation.knn.tiles import CostModel, Span, choose_plan, make_plan, reach_of
from propagation.knn.topk import pack_keys, topk_keys, topk_with_tie, unpack_keys


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Tile:
    """The Q queries where a strip crosses a band, and the P cells of their window.

    position_Q: of each query.
    cell_P: row-major cell at each position of the window.
    beyond_QP: bool, True where a cell is not in the radius of a query.
    """

    strip: Span
    band: Span
    position_Q: Tensor
    cell_P: Tensor
    beyond_QP: Tensor


class NeighbourSearch:
    """Finds the topk nearest entries of a context, whose frames may change between searches.

    context: what is searched.
    rules: topk, and which entries are in radius.
    cuts: how many (strips, bands) the grid is cut into; None: the cheapest plan by `CostModel`.
    """

    def __init__(self, context: Context, rules: Rules, cuts: tuple[int, int] | None = None):
        self.context = context
        self.rules = rules
        (a, b), width = context.cell_AB.shape, context.first_ND.shape[1]
        reach = reach_of(rules.radius, a)
        if cuts:
            self.plan = make_plan((a, b), reach, *cuts)
        else:
            self.plan = choose_plan((a, b), reach, rules.n_context, CostModel.for_device(context.device.type))
        self._position_AB = torch.arange(a * b, device=context.device).view(a, b)
        self._tiles = {band: [self._new_tile(strip, band) for strip in self.plan.strips] for band in self.plan.bands}
        # Allocated once: tens of megabytes, whose page faults would cost as much as the products that fill them.
        self._affinity = torch.empty(rules.n_context * self.plan.largest_tile, device=context.device)
        self._band = torch.empty(rules.n_context * a * self.plan.largest_copied_band * width, device=context.device)

    def topk(self, query_ABD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys of the topk entries of every query [N, topk], largest first, and bool [N]: those that a tie leaves open.

        The keys are those of `topk.pack_keys`: affinity and index of an entry. A query that a tie leaves open (with
        `keep_ties`: to which more than topk entries are due) is to be ranked by `ties.py`.
        """
        n_cells, device = self.context.n_cells, self.context.device
        keys = torch.empty((n_cells, self.rules.topk), dtype=torch.int64, device=device)
        tied = torch.empty(n_cells, dtype=torch.bool, device=device)
        for band, tiles in self._tiles.items():
            queue_SARD = self._queue_in(band)
            for tile in tiles:
                query_QD = query_ABD[tile.strip.queries, band.queries].flatten(0, 1)
                queue_SPD = queue_SARD[:, tile.strip.window].flatten(1, 2)
                keys[tile.position_Q], tied[tile.position_Q] = self._topk_of_tile(tile, query_QD, queue_SPD)
        return keys, tied

    def queries_at(self, position_R: Tensor, query_ABD: Tensor) -> tuple[Tensor, Tensor]:
        """The queries at some positions [R, D], and bool [R, N]: True where a cell is beyond their radius."""
        return query_ABD.flatten(0, 1)[position_R], self._beyond_radius(position_R, self._position_AB.flatten())

    def _new_tile(self, strip: Span, band: Span) -> _Tile:
        position_Q = self._position_AB[strip.queries, band.queries].flatten()
        window_P = self._position_AB[strip.window, band.window].flatten()
        return _Tile(
            strip=strip,
            band=band,
            position_Q=position_Q,
            cell_P=self.context.cell_AB[strip.window, band.window].flatten(),
            beyond_QP=self._beyond_radius(position_Q, window_P),
        )

    def _beyond_radius(self, position_Q: Tensor, position_P: Tensor) -> Tensor:
        """bool [Q, P]: True where two positions are not in radius of one another."""
        b = self._position_AB.shape[1]
        dy, dx = position_Q[:, None] // b - position_P // b, position_Q[:, None] % b - position_P % b
        return self.rules.beyond_radius(dy, dx)

    def _queue_in(self, band: Span) -> Tensor:
        """The queue's features in the window of a band [S, A, R, D], with a layout that keeps strips contiguous."""
        queue_SARD = self.context.queue_SABD[:, :, band.window]
        if len(self.plan.bands) == 1:
            return queue_SARD
        return self._band[: queue_SARD.numel()].view(queue_SARD.shape).copy_(queue_SARD)

    def _topk_of_tile(self, tile: _Tile, query_QD: Tensor, queue_SPD: Tensor) -> tuple[Tensor, Tensor]:
        """As `topk`, for the queries of one tile: the candidates from frame 0 and from the queue, merged."""
        candidates = list(self._first_frame_candidates(tile, query_QD))
        if len(queue_SPD):
            candidates.append(self._queue_candidates(tile, query_QD, queue_SPD))
        return self._merge(candidates)

    def _first_frame_candidates(self, tile: _Tile, query_QD: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Candidates from frame 0: keys [Q, k], and the value of a tie for the last place [Q] as `topk_with_tie`."""
        context, strip, band = self.context, tile.strip, tile.band
        grid, slots = context.cell_AB.shape, context.slots_of_first
        if self.rules.exempt_first:
            # Slot 0 is exempt from the radius: every cell of frame 0 competes there, in radius or not.
            first_QN = query_QD @ context.first_ND.T
            yield self._first_frame_topk(first_QN, context.cell_AB.flatten(), slots[:1])
            slots = slots[1:]
            first_QP = first_QN.view(-1, *grid)[:, strip.window, band.window].flatten(1)
        else:
            # Fact 2: only the window can be in radius.
            first_PD = context.first_ND.view(*grid, -1)[strip.window, band.window].flatten(0, 1)
            first_QP = query_QD @ first_PD.T
        if len(slots):
            yield self._first_frame_topk(first_QP.masked_fill(tile.beyond_QP, -torch.inf), tile.cell_P, slots)

    def _first_frame_topk(self, affinity: Tensor, cell: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Fact 1: copies of frame 0 have equal affinities, so one is ranked and its topk is entered in every slot.

        affinity: [Q, m] with cells of frame 0, `cell` [m] their row-major numbers.
        slots: [S], all those that hold frame 0 under the same restriction.
        """
        values, columns, tie = topk_with_tie(affinity, self.rules.topk)
        return self.context.repeat_in_slots(pack_keys(values, cell[columns]), slots), tie

    def _queue_candidates(self, tile: _Tile, query_QD: Tensor, queue_SPD: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates from the queue's S frames other than frame 0: keys [Q, S * k], and ties as above."""
        n_frames, beyond_QP = len(queue_SPD), tile.beyond_QP
        # Fact 2: the queries of a tile are multiplied with their window only.
        affinity_SQP = self._affinity[: n_frames * beyond_QP.numel()].view(n_frames, *beyond_QP.shape)
        torch.bmm(query_QD.expand(n_frames, -1, -1), queue_SPD.transpose(1, 2), out=affinity_SQP)
        # Fact 3: only the cells with the topk largest maxima over the frames can hold a selected entry.
        maximum_QP = affinity_SQP.amax(0).masked_fill_(beyond_QP, -torch.inf)
        maxima_Qk, columns_Qk, tie = topk_with_tie(maximum_QP, self.rules.topk)
        affinity_SQk = affinity_SQP.gather(2, columns_Qk.expand(n_frames, -1, -1))
        # Where fewer than topk cells are in radius, the shortlist runs over into cells beyond it.
        affinity_SQk.masked_fill_(maxima_Qk == -torch.inf, -torch.inf)
        index_SQk = self.context.queue_slots[:, None, None] * self.context.n_cells + tile.cell_P[columns_Qk]
        return pack_keys(affinity_SQk, index_SQk).transpose(0, 1).flatten(1), tie

    def _merge(self, candidates: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """The topk largest of all candidates, and whether a tie at the end of some shortlist leaves the choice open."""
        keys, ties = zip(*candidates, strict=True)
        topk = self.rules.topk
        # One entry more than is selected, to see whether the last one selected ties with the first one left out.
        keys_Qk = topk_keys(torch.cat(keys, 1), topk + 1)
        values, _ = unpack_keys(keys_Qk[:, topk - 1 :])
        last, next_ = values.split(1, dim=1)
        # A shortlist that was cut at a tie matters only if the last entry selected has exactly that value.
        tied = (torch.stack(ties, 1) == last).any(1)
        if self.rules.keep_ties:
            tied |= ((last == next_) & (last > -torch.inf)).squeeze(1)
        return keys_Qk[:, :topk], tied
