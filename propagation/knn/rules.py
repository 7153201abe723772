"""The parameters of label propagation: four numbers, and five options in which published implementations differ."""

import dataclasses
from typing import Literal

import torch
from torch import Tensor

from rvm_bench.api.overrides import check_choices
from rvm_bench.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """Which context entries label a query, and with what weight.

    The options' defaults are those of the released RVM evaluation. Where DINO or videowalk differ, it is said.

    Attributes:
        topk: nearest context entries that label a query, 7 (DAVIS, JHMDB) or 10 (VIP); all where fewer are in radius.
        radius: in grid cells. A context cell is in radius if its distance is strictly below it. 20 in the protocol.
        n_context: length of the queue, 20 in the protocol; with 0 the context is frame 0 alone.
        temperature: divides the affinities before the softmax, 0.7 in the protocol.
        distance: "euclidean", or "chebyshev", the larger of the two coordinate distances, so that the radius is a box.
            DINO's box of 25 x 25 cells, 12 to each side, is radius 13.
        exempt_first: whether frame 0 in slot 0 is exempt from the radius. In DINO it is not.
        fill: "first": the queue starts as copies of frame 0, and frame 0 enters it as every frame does. "empty": it
            starts empty and grows from frame 1 on; frame 0 is in slot 0 alone (DINO).
        keep_ties: whether all entries equal to the topk-th largest are selected too, so more than `topk` (DINO).
        first_from: the soft labels of frame 0, returned and (with `fill` "first") queued, are "propagated" from frame
            0 itself as for any frame, or "given": the labels of frame 0 unchanged (DINO, videowalk).

    Raises:
        UserError: a number out of range, or an option with an unknown value.
    """

    topk: int
    radius: float
    n_context: int
    temperature: float
    distance: Literal["euclidean", "chebyshev"] = "euclidean"
    exempt_first: bool = True
    fill: Literal["first", "empty"] = "first"
    keep_ties: bool = False
    first_from: Literal["propagated", "given"] = "propagated"

    def __post_init__(self) -> None:
        check_choices(self)
        for name, valid, expected in (
            ("topk", self.topk >= 1, "at least 1"),
            ("radius", self.radius > 0, "above 0"),
            ("n_context", self.n_context >= 0, "at least 0"),
            ("temperature", self.temperature > 0, "above 0"),
        ):
            if not valid:
                raise UserError(f"{name}={getattr(self, name)}: expected {expected}")

    def beyond_radius(self, dy: Tensor, dx: Tensor) -> Tensor:
        """bool: True where the offset (dy, dx) in whole cells, int64 and broadcast, is not in radius."""
        if self.distance == "chebyshev":
            return torch.maximum(dy.abs(), dx.abs()) >= self.radius
        return (dy**2 + dx**2).to(torch.float64).sqrt() >= self.radius
