"""Time, memory and FLOPs against the number of frames, on logarithmic axes: a slope of 1 is linear, 0 is flat."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rvm_bench.errors import UserError, unknown_name
from rvm_bench.figures.canvas import Drawing, draw_line, new_figure, say_below
from rvm_bench.figures.looks import looks_of
from rvm_bench.profiling.growth import LEAST_MB, Curve, curves_of
from rvm_bench.profiling.points import Point, described

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEMORY, FLOPS = "peak memory above model and input (MB)", "GFLOP per frame"
CLOCKS: dict[str, str] = {"wall": "time of a pass (s)", "cpu": "CPU time of a pass (s)"}
LEAST_SPAN = 20
"""From the lowest to the highest value of an axis, at least: what is flat must not look steep."""


def profile_figure(points: Sequence[Point], clock: str = "wall") -> Drawing:
    """Three axes, a line per model and way. Bars: fastest and slowest pass; memory is of one pass, FLOPs are exact.

    Args:
        points: of one machine and size.
        clock: "wall", or "cpu": what to show on a machine that is busy with other things, too.

    Raises:
        UserError: an unknown clock, no point was measured, or they were measured on several machines or sizes.
    """
    if clock not in CLOCKS:
        raise unknown_name("clock", clock, CLOCKS)
    _refuse_unlike(points)
    curves = [curve for curve in curves_of(points) if curve.points]
    if not curves:
        raise UserError("no point was measured; give shorter videos, or a larger --budget")
    looks = looks_of((curve.first.model, curve.first.family) for curve in curves)
    first = curves[0].first
    threads = f"{first.threads} thread" + ("s" if first.threads > 1 else "")
    small_print = (
        f"{first.size_px} px, {first.dtype}, {threads}, {first.processor}, torch {first.torch}. "
        "Bars: fastest and slowest pass."
    )
    with new_figure(9.6, 4.4) as figure:
        panels = figure.subplots(1, 3, squeeze=False)[0]
        for axes, label in zip(panels, (CLOCKS[clock], MEMORY, FLOPS), strict=True):
            for curve, look in zip(curves, looks, strict=True):
                measured = [(p.frames, value) for p in curve.points if (value := _cost(p, label)) is not None]
                timed = label == CLOCKS[clock]
                if measured:
                    draw_line(
                        axes,
                        [frames for frames, _ in measured],
                        [value for _, value in measured],
                        look,
                        label=_name(curve),
                        low=[getattr(p, f"{clock}_low_s") for p in curve.points] if timed else None,
                        high=[getattr(p, f"{clock}_high_s") for p in curve.points] if timed else None,
                    )
            _logarithmic(axes, sorted({point.frames for curve in curves for point in curve.points}))
            axes.set_title(label)
            axes.set_xlabel("frames")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        say_below(figure, small_print)
    return Drawing(
        figure=figure,
        name="profile",
        title="Time, memory and FLOPs against the number of frames",
        description=f"{small_print} {'; '.join(map(_told, curves))}.",
        notes=tuple(f"{_name(c)} ends at {c.stopped.frames} frames: {c.stopped.stopped}" for c in curves if c.stopped),
    )


def _cost(point: Point, label: str) -> float | None:
    if label == MEMORY:
        return None if point.peak_mb is None else max(point.peak_mb, LEAST_MB)
    return point.gflop_per_frame if label == FLOPS else point.cpu_s if label == CLOCKS["cpu"] else point.wall_s


def _name(curve: Curve) -> str:
    return f"{curve.first.model}, {described(curve.first.kind, curve.first.way)}"


def _told(curve: Curve) -> str:
    last = curve.points[-1]
    costs = [
        f"{value:.3g}" if value is not None else "an unknown number of"
        for value in (last.wall_s, last.cpu_s, last.peak_mb, last.gflop_per_frame)
    ]
    return (
        f"{_name(curve)}: exponent of time {curve.time or 'unknown'}, of CPU time {curve.cpu or 'unknown'}, of memory "
        f"{curve.memory or 'unknown'}; {last.frames} frames take {costs[0]} s, {costs[1]} CPU s, {costs[2]} MB and "
        f"{costs[3]} GFLOP per frame"
    )


def _logarithmic(axes: "Axes", frames: Sequence[int]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    stretch = max(1.0, (LEAST_SPAN * low / high) ** 0.5)
    axes.set_ylim(low / stretch, high * stretch)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(frames, [str(count) for count in frames])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _refuse_unlike(points: Sequence[Point]) -> None:
    """Raises UserError where curves would not be comparable."""
    for name in ("size_px", "device", "dtype", "threads", "processor", "torch"):
        found = {getattr(point, name) for point in points}
        if len(found) > 1:
            values = " and ".join(sorted(map(str, found)))
            raise UserError(f"these points were measured with {name} {values}; draw them apart")
