"""How cost grows with the number of frames, as one number: the slope in a plot with two logarithmic axes.

A cost that is proportional to the number of frames has the exponent 1, one that does not depend on it 0, and attention
between all tokens of a video tends to 2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rvm_bench.profiling.points import Point

LEAST_MB = 1.0
"""Less memory counts as this much: below it stands what Python itself does, and a logarithm needs more than 0."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A fitted exponent.

    Attributes:
        exponent: the slope of log(cost) over log(frames), by least squares.
        half_width: of its 95 % interval, by Student's t; None for fewer than three points. It says how far the points
            are from a straight line, not how well each was measured.
        points: how many there are.
    """

    exponent: float
    half_width: float | None
    points: int

    def __str__(self) -> str:
        return f"{self.exponent:.2f}" + ("" if self.half_width is None else f" ± {self.half_width:.2f}")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One model in one way: its measured points by ascending frames, why it ends, and how it grows."""

    points: tuple[Point, ...]
    stopped: Point | None

    @property
    def first(self) -> Point:
        """Any of its points, for what they share."""
        return self.points[0] if self.points else self.stopped  # type: ignore[return-value]

    @property
    def time(self) -> Growth | None:
        return growth([(p.frames, p.wall_s) for p in self.points if p.wall_s is not None])

    @property
    def cpu(self) -> Growth | None:
        return growth([(p.frames, p.cpu_s) for p in self.points if p.cpu_s])

    @property
    def memory(self) -> Growth | None:
        return growth([(p.frames, max(p.peak_mb, LEAST_MB)) for p in self.points if p.peak_mb is not None])


def growth(costs: Sequence[tuple[float, float]]) -> Growth | None:
    """The exponent of (frames, cost) pairs, all positive; None where there are fewer than two numbers of frames."""
    if len({frames for frames, _ in costs}) < 2:
        return None
    x, y = np.log(np.array(costs, float)).T
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    if len(costs) < 3:
        return Growth(exponent=slope, half_width=None, points=len(costs))
    from scipy.special import stdtrit

    freedom = len(costs) - 2
    residual = y - y.mean() - slope * x
    error = float(np.sqrt(residual @ residual / freedom / (x @ x)))
    return Growth(exponent=slope, half_width=error * float(stdtrit(freedom, 0.975)), points=len(costs))


def curves_of(points: Iterable[Point]) -> list[Curve]:
    """The points by model and way, in the order in which these come first."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.model, point.way), []).append(point)
    return [
        Curve(
            points=tuple(sorted((p for p in group if not p.stopped), key=lambda p: p.frames)),
            stopped=min((p for p in group if p.stopped), key=lambda p: p.frames, default=None),
        )
        for group in groups.values()
    ]


def rows_of(curves: Iterable[Curve]) -> list[dict[str, object]]:
    """A row for every curve and cost that grows, for a file."""
    return [
        {
            "model": curve.first.model,
            "way": curve.first.way,
            "cost": cost,
            "exponent": found.exponent,
            "half_width": found.half_width,
            "points": found.points,
        }
        for curve in curves
        for cost, found in (("time", curve.time), ("CPU time", curve.cpu), ("memory", curve.memory))
        if found is not None
    ]
