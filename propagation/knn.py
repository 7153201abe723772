"""k-nearest-neighbour label propagation: exact, frame by frame, in memory that the length of the video does not change.

The protocol is that of the released RVM evaluation (google-deepmind/representations4d,
`colabs/rvm_evaluation_demo.ipynb`), after Jabri et al. 2020 (ajabri/videowalk). The context of frame t is `n_context
+ 1` slots: slot 0 holds frame 0 with its given labels and is exempt from the radius; slots 1..n_context hold a queue,
oldest first, that starts as copies of frame 0 and takes in each frame with its predicted labels. Every cell of frame
t takes the `topk` context cells of the largest inner product, over all slots jointly, and receives their labels
weighted by the softmax of product / temperature over those `topk`.

Three facts make the exact result cheap, without ever holding the [N, (n_context + 1) * N] affinity:

* Copies of frame 0 have equal affinities: they are computed once and entered with their multiplicity.
* Only cells inside the radius are needed, so rectangles of queries are multiplied with their windows (`tiles.py`).
* Take at each cell the maximum over the queue's frames. All winners lie in the `topk` cells with the largest maxima,
  unless the last of those ties with the next; so the selection sorts one map per query instead of one per frame.
"""

from typing import NoReturn

import torch
from torch import Tensor
from torch.nn import functional as F

from propagation.context import Context
from propagation.tiles import CostModel, Span, choose_plan, make_plan, reach_of
from propagation.topk import best_keys, pack_keys, shortlist, unpack_keys
from rvm_bench.errors import UserError

_EXACT_ROWS = 128
"""Tied queries redone at a time: bounds their memory (3 int64 maps of this many rows) whatever the number of ties."""


def normalize(features: Tensor) -> Tensor:
    """Unit rows, float32: each token of `features` [..., D] over its L2 norm, at least 1e-12 (zero stays zero)."""
    return F.normalize(features.to(torch.float32), dim=-1, eps=1e-12)


def propagate(
    features: Tensor, heat: Tensor, *, topk: int, radius: float, n_context: int, temperature: float
) -> Tensor:
    """Soft labels of every frame [T, h, w, K], float32, where `features` are; frame 0 too is propagated, from itself.

    `features` [T, h, w, D] are unit rows (see `normalize`; nothing is normalised here), any float dtype, computed in
    float32; `heat` [h, w, K] are the labels of frame 0. The arguments and errors are those of `Propagator`.
    """
    if features.ndim != 4 or len(features) == 0:
        raise UserError(f"features must be [T, h, w, D] with at least one frame, got shape {tuple(features.shape)}")
    propagator = Propagator(heat, topk=topk, radius=radius, n_context=n_context, temperature=temperature)
    soft = [propagator.step(feature_map) for feature_map in features]
    return torch.stack(soft)


class Propagator:
    """Streams frames: `step` takes the feature map of the next frame and returns its soft labels.

    heat: labels of frame 0 [h, w, K].
    topk: context cells that vote, 7 (DAVIS, JHMDB) or 10 (VIP). Where fewer are within reach (frame 0 always is,
    whole), all vote.
    radius: grid cells; a queue cell counts if its Euclidean distance is strictly below it. 20 in the protocol.
    n_context: length of the queue, 20 in the protocol; 0 leaves frame 0 alone.
    temperature: divides the affinities, 0.7 in the protocol.
    tiles: how many (strips, bands) the grid is cut into; by default the cheapest by `tiles.CostModel`.

    Ties: among equal affinities the lower slot wins, then the lower row-major cell. So the result is that of a stable
    descending sort of the whole affinity, up to float32 rounding of the products themselves. Queries whose choice of
    cells hangs on a tie are found by one check per frame (on a GPU the one synchronisation of a step, shared with the
    check for NaN) and redone over the whole context, in bounded memory: if every query is tied, a step takes up to
    twice the time of the direct algorithm.

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
    ):
        if heat.ndim != 3 or 0 in heat.shape:
            raise UserError(f"the labels of frame 0 must be [h, w, K], none of them 0, got shape {tuple(heat.shape)}")
        if not torch.isfinite(heat).all():
            raise UserError("the labels of frame 0 hold NaN or infinite values; every value must be finite")
        for name, value, fine, wanted in (
            ("topk", topk, topk >= 1, "at least 1"),
            ("radius", radius, radius > 0, "above 0"),
            ("n_context", n_context, n_context >= 0, "at least 0"),
            ("temperature", temperature, temperature > 0, "above 0"),
        ):
            if not fine:
                raise UserError(f"{name} is {value}; it must be {wanted}")
        self.topk, self.radius, self.n_context, self.temperature = topk, radius, n_context, temperature
        self._heat = heat
        self._tiles = tiles
        self._context: Context | None = None

    @torch.no_grad()
    def step(self, feature_map: Tensor) -> Tensor:
        """Soft labels [h, w, K] of the next frame, float32, from its unit features [h, w, D]; neither is kept."""
        query_ABD, context = self._take(feature_map)
        keys, tied = self._all_tiles(query_ABD, context)
        any_bad, any_tied = torch.stack([~torch.isfinite(query_ABD).all(), tied.any()]).tolist()
        if any_bad:
            self._reject_values()
        if any_tied:
            for rows in tied.nonzero().flatten().split(_EXACT_ROWS):
                keys[rows] = self._exact_keys(query_ABD, context, rows)
        affinity, index = unpack_keys(keys)
        table, rows = context.labels_of(index)
        weights = torch.softmax(affinity / self.temperature, dim=1)
        soft = F.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")
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
            self._context = Context(query_ABD, heat_NK, cell_AB, n_context=self.n_context)
            self._plan_tiles(query_ABD)
        return query_ABD, self._context

    def _plan_tiles(self, query_ABD: Tensor) -> None:
        a, b, width = query_ABD.shape
        device, reach = query_ABD.device, reach_of(self.radius, a)
        if self._tiles:
            self.plan = make_plan((a, b), reach, *self._tiles)
        else:
            self.plan = choose_plan((a, b), reach, self.n_context, CostModel.for_device(device.type))
        self._affinity = torch.empty(self.n_context * self.plan.largest_tile, device=device)
        self._band = torch.empty(self.n_context * a * self.plan.largest_copied_band * width, device=device)
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
        """bool [Q, P]: True where the distance between two positions is not strictly below the radius."""
        b = self._position_AB.shape[1]
        squared = (query_Q[:, None] // b - cell_P // b) ** 2 + (query_Q[:, None] % b - cell_P % b) ** 2
        return squared.to(torch.float64).sqrt() >= self.radius

    def _all_tiles(self, query_ABD: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Keys of the winners [N, topk], and bool [N]: queries for which a tie left the choice of cells open."""
        keys = torch.empty((context.n_cells, self.topk), dtype=torch.int64, device=context.device)
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
        query_QD = query_ABD[strip.queries, band.queries].flatten(0, 1)
        outside_QP = self._outside[strip, band]
        cell_P = context.cell_AB[strip.window, band.window].flatten()

        first_QN = query_QD @ context.first_ND.T
        values, columns, boundary = shortlist(first_QN, self.topk)
        candidates, boundaries = [pack_keys(values, context.cell_AB.flatten()[columns])], [boundary]

        if context.first_in_queue:
            first_QAB = first_QN.view(-1, *query_ABD.shape[:2])
            first_QP = first_QAB[:, strip.window, band.window].flatten(1).masked_fill(outside_QP, -torch.inf)
            values, columns, boundary = shortlist(first_QP, self.topk)
            candidates.append(context.in_queue_slots(pack_keys(values, cell_P[columns]), self.topk))
            boundaries.append(boundary)

        n_frames = len(queue_SARD)
        if n_frames:
            affinity_SQP = self._affinity[: n_frames * outside_QP.numel()].view(n_frames, *outside_QP.shape)
            queue_SPD = queue_SARD[:, strip.window].flatten(1, 2)
            torch.bmm(query_QD.expand(n_frames, -1, -1), queue_SPD.transpose(1, 2), out=affinity_SQP)
            best_QP = affinity_SQP.amax(0).masked_fill_(outside_QP, -torch.inf)
            best_values, columns, boundary = shortlist(best_QP, self.topk)
            values_SQk = affinity_SQP.gather(2, columns.expand(n_frames, -1, -1))
            values_SQk.masked_fill_(best_values == -torch.inf, -torch.inf)
            index_SQk = context.queue_slots[:, None, None] * context.n_cells + cell_P[columns]
            candidates.append(pack_keys(values_SQk, index_SQk).transpose(0, 1).flatten(1))
            boundaries.append(boundary)

        keys = best_keys(torch.cat(candidates, 1), self.topk)
        # A tie at the end of a shortlist matters only if the last winner has just that value.
        last_value, _ = unpack_keys(keys[:, -1:])
        return keys, (torch.stack(boundaries, 1) == last_value).any(1)

    def _exact_keys(self, query_ABD: Tensor, context: Context, rows: Tensor) -> Tensor:
        """Keys of the winners [R, topk] of the queries at positions `rows` [R], every context cell ranked."""
        n, cell_N = context.n_cells, context.cell_AB.flatten()
        query_RD = query_ABD.flatten(0, 1)[rows]
        outside_RN = self._beyond_radius(rows, self._position_AB.flatten())

        first_RN = query_RD @ context.first_ND.T
        candidates = [best_keys(pack_keys(first_RN, cell_N), self.topk)]
        if context.first_in_queue:
            keys = best_keys(pack_keys(first_RN.masked_fill(outside_RN, -torch.inf), cell_N), self.topk)
            candidates.append(context.in_queue_slots(keys, self.topk))
        for frame_ABD, slot in zip(context.queue_SABD, context.queue_slots, strict=True):
            affinity_RN = (query_RD @ frame_ABD.flatten(0, 1).T).masked_fill_(outside_RN, -torch.inf)
            candidates.append(best_keys(pack_keys(affinity_RN, slot * n + cell_N), self.topk))
        return best_keys(torch.cat(candidates, 1), self.topk)
