"""Names beside points: each where it covers no other name, no point and no edge, if there is such a place."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from rvm_bench.figures.canvas import BEHIND_TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_PLACES = [
    (dx * reach, dy * reach, across, up)
    for reach in (7, 14, 22, 32)
    for dx, dy, across, up in (
        (1, 0, "left", "center"),
        (-1, 0, "right", "center"),
        (0, 1, "center", "bottom"),
        (0, -1, "center", "top"),
        (0.8, 0.8, "left", "bottom"),
        (0.8, -0.8, "left", "top"),
        (-0.8, 0.8, "right", "bottom"),
        (-0.8, -0.8, "right", "top"),
    )
]
"""Offsets in points, from near to far, and how the text is aligned there."""


def caption(
    axes: "Axes",
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    *,
    bold: Collection[int] = (),
    size: float = 7.5,
) -> None:
    """Writes a name beside every point, in their order; the limits of the axes must be final.

    A name that stands away from its point is joined to it by a thin line. `bold` holds the numbers of bold names.
    """
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    inside = axes.get_window_extent(renderer)
    pixel = axes.figure.dpi / 72
    taken = [_around(x, y, 4 * pixel) for x, y in (axes.transData.transform(point) for point in points)]
    for i, (point, name) in enumerate(zip(points, names, strict=True)):
        best = None
        for dx, dy, across, up in _PLACES:
            text = axes.annotate(
                name,
                point,
                xytext=(dx, dy),
                textcoords="offset points",
                ha=across,
                va=up,
                fontsize=size,
                fontweight="bold" if i in bold else "normal",
                bbox=BEHIND_TEXT,
                zorder=3.5,
                arrowprops=None if max(abs(dx), abs(dy)) < 10 else {"arrowstyle": "-", "lw": 0.5, "color": "#808080"},
            )
            box = text.get_window_extent(renderer)
            covered = sum(_overlap(box, other) for other in taken) + _outside(box, inside)
            if best is None or covered < best[0]:
                if best is not None:
                    best[1].remove()
                best = covered, text, box
            else:
                text.remove()
            if covered == 0:
                break
        assert best is not None
        taken.append(best[2])


def _around(x: float, y: float, radius: float) -> "Bbox":
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(x - radius, y - radius, x + radius, y + radius)


def _overlap(one: "Bbox", other: "Bbox") -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: "Bbox", inside: "Bbox") -> float:
    """How much of a box lies outside, in square pixels."""
    return box.width * box.height - _overlap(box, inside)
