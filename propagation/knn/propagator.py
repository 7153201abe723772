"""k-nearest-neighbour label propagation: exact, frame by frame, in memory that the length of the video does not change.

The protocol is that of the released RVM evaluation (google-deepmind/representations4d,
`colabs/rvm_evaluation_demo.ipynb`), after Jabri et al. 2020 (ajabri/videowalk). The context of frame t is `n_context
+ 1` slots: slot 0 holds frame 0 with its given labels and is exempt from the radius; slots 1..n_context hold a queue,
oldest first, that starts as copies of frame 0 and takes in each frame with its predicted labels. Every cell of frame
t takes the `topk` context cells of the largest inner product, over all slots jointly, and receives their labels
weighted by the softmax of product / temperature over those `topk`.

Three facts make the exact result cheap, without ever holding the [N, (n_context + 1) * N] affinity:

1. Copies of frame 0 have equal affinities: they are computed once and entered with their multiplicity.
2. Only cells inside the radius are needed, so rectangles of queries are multiplied with their windows (`tiles.py`).
3. Take at each cell the maximum over the queue's frames. All winners lie in the `topk` cells with the largest maxima,
   unless the last of those ties with the next; so the selection sorts one map per query instead of one per frame.

`rules.py` has the choices in which other code bases differ (DINO's box, its growing queue, its ties); the three facts
hold under all of them, except that a query whose last place is tied is redone whole where ties vote (`ties.py`).
"""

from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn import functional as F

from propagation.knn import ties
from propagation.knn.context import Context
from propagation.knn.rules import Rules
from propagation.knn.tiles import CostModel, Span, choose_plan, make_plan, reach_of
from propagation.knn.topk import best_keys, pack_keys, shortlist, unpack_keys
from rvm_bench.errors import UserError


def normalize(features: Tensor) -> Tensor:
    """Unit rows, float32: each token of `features` [..., D] over its L2 norm, at least 1e-12 (zero stays zero)."""
    return F.normalize(features.to(torch.float32), dim=-1, eps=1e-12)


def propagate(
    features: Tensor, heat: Tensor, *, topk: int, radius: float, n_context: int, temperature: float, **choices: Any
) -> Tensor:
    """Soft labels of every frame [T, h, w, K], float32, where `features` are; frame 0 too is propagated, from itself.

    `features` [T, h, w, D] are unit rows (see `normalize`; nothing is normalised here), any float dtype, computed in
    float32; `heat` [h, w, K] are the labels of frame 0. The other arguments are the fields of `Rules`, the errors
    those of `Propagator`.
    """
    if features.ndim != 4 or len(features) == 0:
        raise UserError(f"features must be [T, h, w, D] with at least one frame, got shape {tuple(features.shape)}")
    propagator = Propagator(heat, topk=topk, radius=radius, n_context=n_context, temperature=temperature, **choices)
    soft = [propagator.step(feature_map) for feature_map in features]
    return torch.stack(soft)


class Propagator:
    """Streams frames: `step` takes the feature map of the next frame and returns its soft labels.

    heat: labels of frame 0 [h, w, K].
    topk, radius, n_context, temperature: the protocol's numbers, see `Rules`.
    tiles: how many (strips, bands) the grid is cut into; by default the cheapest by `tiles.CostModel`.
    choices: the other fields of `Rules`; by default those of the released RVM evaluation.

    Ties: among equal affinities the lower slot wins, then the lower row-major cell. So the result is that of a stable
    descending sort of the whole affinity, up to float32 rounding of the products themselves. Queries whose choice of
    cells hangs on a tie are found by one check per frame (on a GPU the one synchronisation of a step, shared with the
    check for NaN) and redone over the whole context, in bounded memory: if every query is tied, a step takes up to
    twice the time of the direct algorithm. With `keep_ties` all equals of the last winner vote, whatever their number;
    their queries take one more pass (three times the direct algorithm if every query is tied). Copies of frame 0 are
    such ties, so this is the rule, not the exception, in the first `n_context` frames unless `fill` is "empty".

    Memory: `n_context + 1` feature maps in float32, their labels, one tile of affinities (`CostModel.budget_bytes`),
    a bool mask per tile, and with several bands one band of the context; it does not grow with the video.

    Raises UserError for options out of range, a grid other than that of `heat`, or features that are not finite.
    """

    def __init__(
        self,
        heat: Tensor,
        *,
        topk: int,
        radius: float,
        n_context: int,
        temperature: float,
        tiles: tuple[int, int] | None = None,
        **choices: Any,
    ):
        if heat.ndim != 3 or 0 in heat.shape:
            raise UserError(f"the labels of frame 0 must be [h, w, K], none of them 0, got shape {tuple(heat.shape)}")
        if not torch.isfinite(heat).all():
            raise UserError("the labels of frame 0 hold NaN or infinite values; every value must be finite")
        self.rules = Rules(topk=topk, radius=radius, n_context=n_context, temperature=temperature, **choices)
        self._heat = heat
        self._tiles = tiles
        self._context: Context | None = None

    @torch.no_grad()
    def step(self, feature_map: Tensor) -> Tensor:
        """Soft labels [h, w, K] of the next frame, float32, from its unit features [h, w, D]; neither is kept."""
        if self._t == 0 and self.rules.first_from == "given":
            self.append(feature_map)
            return self._heat.to(feature_map.device, torch.float32, copy=True)
        query_ABD, context = self._take(feature_map)
        keys, tied = self._all_tiles(query_ABD, context)
        # One transfer for both checks: on a GPU this is the only synchronisation of a step.
        not_finite, any_tied = torch.stack([~torch.isfinite(query_ABD).all(), tied.any()]).tolist()
        if not_finite:
            self._reject_values()
        tied_rows = tied.nonzero().flatten().split(ties.ROWS) if any_tied else ()
        if not self.rules.keep_ties:
            for rows in tied_rows:
                keys[rows] = ties.winning_keys(*self._whole(query_ABD, rows), context, self.rules)
        affinity, index = unpack_keys(keys)
        weights = torch.softmax(affinity / self.rules.temperature, dim=1)
        # The weighted sum of topk rows of the label table, without gathering [N, topk, K] first.
        table, entry = context.labels_of(index)
        soft = F.embedding_bag(entry, table, per_sample_weights=weights, mode="sum")
        if self.rules.keep_ties:
            for rows in tied_rows:
                soft[rows] = ties.blend_with_ties(*self._whole(query_ABD, rows), context, self.rules)
        context.push(query_ABD, soft)
        return self._long_axis_first(soft.view(*query_ABD.shape[:2], -1)).contiguous()

    @torch.no_grad()
    def append(self, feature_map: Tensor, labels: Tensor | None = None) -> None:
        """Puts the next frame into the context with these labels [h, w, K] (default: those of frame 0)."""
        query_ABD, context = self._take(feature_map)
        if not torch.isfinite(query_ABD).all():
            self._reject_values()
        labels = self._heat if labels is None else labels
        if labels.shape != self._heat.shape:
            raise UserError(f"labels have shape {tuple(labels.shape)}, those of frame 0 {tuple(self._heat.shape)}")
        context.push(query_ABD, self._long_axis_first(labels).flatten(0, 1))

    @property
    def _t(self) -> int:
        return self._context.t if self._context else 0

    def _reject_values(self) -> NoReturn:
        t = self._t
        self._context = self._context if t else None
        raise UserError(f"the features of frame {t} hold NaN or infinite values; every value must be finite")

    def _long_axis_first(self, map_hwC: Tensor) -> Tensor:
        """Swaps the grid axes if the grid is wider than high; its own inverse. A cell's place in it is its position."""
        return map_hwC.transpose(0, 1) if self._heat.shape[1] > self._heat.shape[0] else map_hwC

    def _take(self, feature_map: Tensor) -> tuple[Tensor, Context]:
        """The features in float32, long axis first [A, B, D], and the context, made at the first frame."""
        h, w = self._heat.shape[:2]
        width = self._context.first_ND.shape[1] if self._context else max(1, feature_map.shape[-1])
        if tuple(feature_map.shape) != (h, w, width):
            wanted = f"[{h}, {w}, {width}]" if self._context else f"[{h}, {w}, D], on the grid of its labels"
            raise UserError(f"the features of frame {self._t} have shape {list(feature_map.shape)}, expected {wanted}")
        query_ABD = self._long_axis_first(feature_map.to(torch.float32)).contiguous()
        if self._context is None:
            cell_hw1 = torch.arange(h * w, device=query_ABD.device).view(h, w, 1)
            heat_NK = self._long_axis_first(self._heat).flatten(0, 1)
            cell_AB = self._long_axis_first(cell_hw1).squeeze(2)
            self._context = Context(query_ABD, heat_NK, cell_AB, n_context=self.rules.n_context, fill=self.rules.fill)
            self._plan_tiles(query_ABD)
        return query_ABD, self._context

    def _plan_tiles(self, query_ABD: Tensor) -> None:
        a, b, width = query_ABD.shape
        device, n_context = query_ABD.device, self.rules.n_context
        reach = reach_of(self.rules.radius, a)
        if self._tiles:
            self.plan = make_plan((a, b), reach, *self._tiles)
        else:
            self.plan = choose_plan((a, b), reach, n_context, CostModel.for_device(device.type))
        self._affinity = torch.empty(n_context * self.plan.largest_tile, device=device)
        self._band = torch.empty(n_context * a * self.plan.largest_copied_band * width, device=device)
        self._position_AB = torch.arange(a * b, device=device).view(a, b)
        self._outside = {
            (strip, band): self._beyond_radius(
                self._position_AB[strip.queries, band.queries].flatten(),
                self._position_AB[strip.window, band.window].flatten(),
            )
            for band in self.plan.bands
            for strip in self.plan.strips
        }

    def _beyond_radius(self, query_Q: Tensor, cell_P: Tensor) -> Tensor:
        """bool [Q, P]: True where a position is not within reach of another."""
        b = self._position_AB.shape[1]
        return self.rules.beyond_radius(query_Q[:, None] // b - cell_P // b, query_Q[:, None] % b - cell_P % b)

    def _whole(self, query_ABD: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The queries at some positions [R, D], and which cells are not within their reach [R, N]."""
        return query_ABD.flatten(0, 1)[rows], self._beyond_radius(rows, self._position_AB.flatten())

    def _all_tiles(self, query_ABD: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Keys of the winners [N, topk], and bool [N]: queries for which a tie left the choice of cells open."""
        keys = torch.empty((context.n_cells, self.rules.topk), dtype=torch.int64, device=context.device)
        tied = torch.empty(context.n_cells, dtype=torch.bool, device=context.device)
        for band in self.plan.bands:
            queue_SARD = context.queue_SABD[:, :, band.window]
            if len(self.plan.bands) > 1:
                queue_SARD = self._band[: queue_SARD.numel()].view(queue_SARD.shape).copy_(queue_SARD)
            for strip in self.plan.strips:
                rows = self._position_AB[strip.queries, band.queries].flatten()
                keys[rows], tied[rows] = self._tile(query_ABD, context, queue_SARD, strip, band)
        return keys, tied

    def _tile(
        self, query_ABD: Tensor, context: Context, queue_SARD: Tensor, strip: Span, band: Span
    ) -> tuple[Tensor, Tensor]:
        """The same for the queries Q of one tile, whose windows hold P context cells per frame."""
        topk = self.rules.topk
        query_QD = query_ABD[strip.queries, band.queries].flatten(0, 1)
        outside_QP = self._outside[strip, band]
        cell_P = context.cell_AB[strip.window, band.window].flatten()

        shortlists = []
        for affinity, cells, slots in self._first_frame(query_ABD, query_QD, context, strip, band):
            # Fact 1: copies of frame 0 have equal affinities. They are ranked once and entered in every slot.
            values, columns, boundary = shortlist(affinity, topk)
            shortlists.append((context.in_slots(pack_keys(values, cells[columns]), slots), boundary))
        if len(queue_SARD):
            shortlists.append(self._queue(query_QD, context, queue_SARD[:, strip.window], outside_QP, cell_P))

        candidates, boundaries = zip(*shortlists, strict=True)
        # One place more than votes, to see whether the last winner ties with the first loser.
        keys = best_keys(torch.cat(candidates, 1), topk + 1)
        values, _ = unpack_keys(keys[:, topk - 1 :])
        last, next_ = values.split(1, dim=1)
        # A tie at the end of a shortlist matters only if the last winner has just that value.
        tied = (torch.stack(boundaries, 1) == last).any(1)
        if self.rules.keep_ties:
            tied |= ((last == next_) & (last > -torch.inf)).squeeze(1)
        return keys[:, :topk], tied

    def _first_frame(
        self, query_ABD: Tensor, query_QD: Tensor, context: Context, strip: Span, band: Span
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Affinities of a tile's queries with frame 0, -inf out of reach; their cells; the slots [S] they stand for.

        First slot 0 alone where it is exempt from the radius [Q, N], then all other slots of frame 0 [Q, P].
        """
        grid, slots = query_ABD.shape[:2], context.slots_of_first
        if self.rules.exempt_first:
            first_QN = query_QD @ context.first_ND.T
            yield first_QN, context.cell_AB.flatten(), slots[:1]
            slots = slots[1:]
            first_QP = first_QN.view(-1, *grid)[:, strip.window, band.window].flatten(1)
        else:
            # Fact 2: without the exemption only the window of the tile can be within the radius.
            first_PD = context.first_ND.view(query_ABD.shape)[strip.window, band.window].flatten(0, 1)
            first_QP = query_QD @ first_PD.T
        if len(slots):
            cell_P = context.cell_AB[strip.window, band.window].flatten()
            yield first_QP.masked_fill(self._outside[strip, band], -torch.inf), cell_P, slots

    def _queue(
        self, query_QD: Tensor, context: Context, queue_SBRD: Tensor, outside_QP: Tensor, cell_P: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keys [Q, S * topk] of candidates from the queue's S frames, and `boundary` [Q] as `shortlist` gives it."""
        n_frames, n_cells = len(queue_SBRD), context.n_cells
        # Preallocated: a tile has up to tens of megabytes, and fresh pages cost as much as the product.
        affinity_SQP = self._affinity[: n_frames * outside_QP.numel()].view(n_frames, *outside_QP.shape)
        queue_SPD = queue_SBRD.flatten(1, 2)
        torch.bmm(query_QD.expand(n_frames, -1, -1), queue_SPD.transpose(1, 2), out=affinity_SQP)
        # Fact 3: a cell outside the topk largest maxima over the frames has topk better entries, so it cannot win.
        best_QP = affinity_SQP.amax(0).masked_fill_(outside_QP, -torch.inf)
        best_values, columns, boundary = shortlist(best_QP, self.rules.topk)
        values_SQk = affinity_SQP.gather(2, columns.expand(n_frames, -1, -1))
        values_SQk.masked_fill_(best_values == -torch.inf, -torch.inf)
        index_SQk = context.queue_slots[:, None, None] * n_cells + cell_P[columns]
        return pack_keys(values_SQk, index_SQk).transpose(0, 1).flatten(1), boundary
