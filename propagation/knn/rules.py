"""What decides who votes in label propagation, and with what weight: the protocol's numbers, and the five choices in
which the code bases of the field differ."""

import dataclasses
import typing
from typing import Literal

import torch
from torch import Tensor

from rvm_bench.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """The choices' defaults are the released RVM evaluation's; DINO's and videowalk's are named where they differ.

    Attributes:
        topk: context cells that vote, 7 (DAVIS, JHMDB) or 10 (VIP). Where fewer are within reach, all vote.
        radius: grid cells; a context cell is within reach if its distance is strictly below it. 20 in the protocol.
        n_context: length of the queue, 20 in the protocol; 0 leaves frame 0 alone.
        temperature: divides the affinities, 0.7 in the protocol.
        distance: "euclidean", or "chebyshev", the larger of the two coordinate distances: then the cells within reach
            are a box. DINO's box of 25 x 25 cells, 12 to each side, is radius 13.
        exempt_first: whether frame 0 in slot 0 escapes the radius. In DINO it does not.
        fill: "first": the queue starts as copies of frame 0, and frame 0 enters it as every frame does. "empty": it
            starts empty and grows from frame 1 on; frame 0 is in slot 0 alone (DINO).
        keep_ties: whether every entry equal to the topk-th largest votes too, so that more than `topk` may (DINO).
        first_from: the labels of frame 0 that come out (and enter the queue, if frame 0 does) are "propagated" from
            frame 0 itself like those of any frame, or "given" (DINO, videowalk).

    Raises:
        UserError: a value out of range, or a choice that is none.
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
        for name, fine, wanted in (
            ("topk", self.topk >= 1, "at least 1"),
            ("radius", self.radius > 0, "above 0"),
            ("n_context", self.n_context >= 0, "at least 0"),
            ("temperature", self.temperature > 0, "above 0"),
        ):
            if not fine:
                raise UserError(f"{name} is {getattr(self, name)}; it must be {wanted}")
        for name, hint in typing.get_type_hints(type(self)).items():
            if typing.get_origin(hint) is Literal and getattr(self, name) not in typing.get_args(hint):
                wanted = " or ".join(typing.get_args(hint))
                raise UserError(f"{name} is {getattr(self, name)!r}; it must be {wanted}")

    def beyond_radius(self, dy: Tensor, dx: Tensor) -> Tensor:
        """bool: True where the offset (dy, dx), whole cells, int64 and broadcast, is not within reach."""
        if self.distance == "chebyshev":
            return torch.maximum(dy.abs(), dx.abs()) >= self.radius
        return (dy**2 + dx**2).to(torch.float64).sqrt() >= self.radius
