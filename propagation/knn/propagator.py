"""k-nearest-neighbour label propagation, frame by frame, in memory that does not grow with the video.

The algorithm is that of the released RVM evaluation (google-deepmind/representations4d,
`colabs/rvm_evaluation_demo.ipynb`), after Jabri et al. 2020 (ajabri/videowalk). For each frame t:

1. Every cell of its feature map is a query.
2. Its context is `n_context + 1` slots. Slot 0 holds frame 0 with its given labels and is exempt from the radius. Slots
   1..n_context hold a queue, oldest first, that starts as copies of frame 0 (`context.py`).
3. A query selects the `topk` context cells in radius with the largest affinity (inner product), over all slots jointly
   (`search.py`). Among equal affinities the lower slot wins, then the lower row-major cell (`ties.py`).
4. Its soft label is the mean of their labels, weighted by the softmax of affinity / temperature over those `topk`.
5. The frame enters the queue with its soft labels, and the oldest frame leaves.

`rules.py` has the parameters, and the options in which other code differs (DINO's box, its growing queue, its ties).
"""

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn import functional as F

from propagation.knn import ties
from propagation.knn.context import Context
from propagation.knn.rules import Rules
from propagation.knn.search import NeighbourSearch
from propagation.knn.tiles import TilePlan
from propagation.knn.topk import unpack_keys
from rvm_bench.errors import UserError


def normalize(features: Tensor) -> Tensor:
    """Unit rows, float32: each token of `features` [..., D] over its L2 norm, at least 1e-12 (zero stays zero)."""
    return F.normalize(features.to(torch.float32), dim=-1, eps=1e-12)


def propagate(
    features: Tensor, heat: Tensor, *, topk: int, radius: float, n_context: int, temperature: float, **options: Any
) -> Tensor:
    """Soft labels of every frame [T, h, w, K], float32, on the device of `features`; frame 0 too is propagated.

    features: unit rows [T, h, w, D] (see `normalize`; nothing is normalised here) of any float dtype, used in float32.
    heat: labels of frame 0 [h, w, K].
    topk, radius, n_context, temperature, options: the fields of `Rules`, or `tiles` of `Propagator`.

    Raises UserError as `Propagator` does, and for features that are not [T, h, w, D] with T >= 1.
    """
    if features.ndim != 4 or len(features) == 0:
        raise UserError(f"features must be [T, h, w, D] with at least one frame, got shape {tuple(features.shape)}")
    propagator = Propagator(heat, topk=topk, radius=radius, n_context=n_context, temperature=temperature, **options)
    return torch.stack([propagator.step(feature_map) for feature_map in features])


class Propagator:
    """Streaming label propagation: `step` takes the feature map of the next frame and returns its soft labels.

    heat: labels of frame 0 [h, w, K].
    topk, radius, n_context, temperature: the protocol's numbers, see `Rules`.
    tiles: how many (strips, bands) the grid is cut into; by default the cheapest by `tiles.CostModel`.
    options: the other fields of `Rules`; by default those of the released RVM evaluation.

    Exactness: the result is that of a stable descending sort of the whole affinity, up to float32 rounding of the
    products themselves.

    Time: queries whose selection hangs on a tie are ranked against the whole context. If every query is tied, a step
    takes up to twice the time of the direct algorithm; with `keep_ties`, which needs one more pass, three times. Copies
    of frame 0 are such ties under `keep_ties`, so this is the rule in the first `n_context` frames unless `fill` is
    "empty".

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
        **options: Any,
    ):
        if heat.ndim != 3 or 0 in heat.shape:
            raise UserError(f"the labels of frame 0 must be [h, w, K], none of them 0, got shape {tuple(heat.shape)}")
        if not torch.isfinite(heat).all():
            raise UserError("the labels of frame 0 hold NaN or infinite values; every value must be finite")
        self.rules = Rules(topk=topk, radius=radius, n_context=n_context, temperature=temperature, **options)
        self._heat = heat
        self._tiles = tiles
        # Made at the first frame, which has the width and the device of the features.
        self._context: Context | None = None
        self._search: NeighbourSearch | None = None

    @torch.no_grad()
    def step(self, feature_map: Tensor) -> Tensor:
        """Soft labels [h, w, K] of the next frame, float32, from its unit features [h, w, D]; neither is kept."""
        if self._t == 0 and self.rules.first_from == "given":
            self.append(feature_map)
            return self._heat.to(feature_map.device, torch.float32, copy=True)

        query_ABD = self._check(feature_map)
        context, search = self._start(query_ABD)
        keys_Nk, tied_N = search.topk(query_ABD)

        # Both checks in one transfer: on a GPU it is the only synchronisation of a step.
        not_finite, any_tied = torch.stack([~torch.isfinite(query_ABD).all(), tied_N.any()]).tolist()
        if not_finite:
            self._refuse_values()
        tied_rows = tied_N.nonzero().flatten().split(ties.ROWS) if any_tied else ()

        if self.rules.keep_ties:
            soft_NK = self._weighted_labels(keys_Nk, context)
            for rows in tied_rows:
                soft_NK[rows] = ties.soft_labels_of_ties(*search.queries_at(rows, query_ABD), context, self.rules)
        else:
            for rows in tied_rows:
                keys_Nk[rows] = ties.topk_of_all(*search.queries_at(rows, query_ABD), context, self.rules)
            soft_NK = self._weighted_labels(keys_Nk, context)

        context.push(query_ABD, soft_NK)
        return self._long_axis_first(soft_NK.view(*query_ABD.shape[:2], -1)).contiguous()

    @torch.no_grad()
    def append(self, feature_map: Tensor, labels: Tensor | None = None) -> None:
        """Queues the next frame with these labels [h, w, K] (default: those of frame 0), without propagating to it."""
        query_ABD = self._check(feature_map)
        context, _ = self._start(query_ABD)
        if not torch.isfinite(query_ABD).all():
            self._refuse_values()
        labels = self._heat if labels is None else labels
        if labels.shape != self._heat.shape:
            raise UserError(f"labels have shape {tuple(labels.shape)}, those of frame 0 {tuple(self._heat.shape)}")
        context.push(query_ABD, self._long_axis_first(labels).flatten(0, 1))

    @property
    def plan(self) -> TilePlan | None:
        """How the grid is cut into tiles; None before the first frame."""
        return self._search.plan if self._search else None

    @property
    def _t(self) -> int:
        return self._context.t if self._context else 0

    def _check(self, feature_map: Tensor) -> Tensor:
        """The features in float32 with the long grid axis first [A, B, D]; UserError where their shape does not fit."""
        h, w = self._heat.shape[:2]
        width = self._context.first_ND.shape[1] if self._context else max(1, feature_map.shape[-1])
        if tuple(feature_map.shape) != (h, w, width):
            expected = f"[{h}, {w}, {width}]" if self._context else f"[{h}, {w}, D], on the grid of its labels"
            raise UserError(
                f"the features of frame {self._t} have shape {list(feature_map.shape)}, expected {expected}"
            )
        return self._long_axis_first(feature_map.to(torch.float32)).contiguous()

    def _start(self, query_ABD: Tensor) -> tuple[Context, NeighbourSearch]:
        """The context and its search, made from frame 0 if this is the first frame."""
        if self._context is None or self._search is None:
            h, w = self._heat.shape[:2]
            cell_hw1 = torch.arange(h * w, device=query_ABD.device).view(h, w, 1)
            self._context = Context(
                query_ABD,
                heat_NK=self._long_axis_first(self._heat).flatten(0, 1),
                cell_AB=self._long_axis_first(cell_hw1).squeeze(2),
                n_context=self.rules.n_context,
                fill=self.rules.fill,
            )
            self._search = NeighbourSearch(self._context, self.rules, self._tiles)
        return self._context, self._search

    def _weighted_labels(self, keys_Nk: Tensor, context: Context) -> Tensor:
        """Soft labels [N, K]: the labels of the selected entries, weighted by the softmax of their affinities."""
        affinity, index = unpack_keys(keys_Nk)
        weights = torch.softmax(affinity / self.rules.temperature, dim=1)
        # A weighted sum of rows of the label table, without gathering [N, topk, K] first.
        table, row = context.label_rows(index)
        return F.embedding_bag(row, table, per_sample_weights=weights, mode="sum")

    def _long_axis_first(self, map_hwC: Tensor) -> Tensor:
        """Swaps the grid axes if the grid is wider than high; its own inverse.

        The window of a strip of the long axis is then one contiguous block of a stored frame (`tiles.py`).
        """
        return map_hwC.transpose(0, 1) if self._heat.shape[1] > self._heat.shape[0] else map_hwC

    def _refuse_values(self) -> NoReturn:
        t = self._t
        if t == 0:
            # Frame 0 was not accepted: the next call brings another one.
            self._context = self._search = None
        raise UserError(f"the features of frame {t} hold NaN or infinite values; every value must be finite")
