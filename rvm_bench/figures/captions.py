"""Names beside points: each where it covers no other name, no point and no edge, if there is such a place."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from rvm_bench.figures.canvas import BEHIND_TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_Place = tuple[float, float, str, str]

SWEEPS = 3
"""How often all names are placed; from the second time on each knows where those after it stand."""
MARK = 5
"""Radius of a mark, in points."""
NEAR = 10
"""Offset in points up to which a name needs no line to its point."""

_PLACES: list[_Place] = [
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
    avoid: Sequence["Bbox"] = (),
) -> None:
    """Writes a name beside every point; the limits of the axes must be final.

    A name that stands away from its point is joined to it by a thin line. `bold` holds the numbers of bold names,
    `avoid` what else names should leave free, in pixels.
    """
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    inside = axes.get_window_extent(renderer)
    pixel = axes.figure.dpi / 72
    anchors: list[tuple[float, float]] = [tuple(axes.transData.transform(point)) for point in points]
    taken = [_around(x, y, MARK * pixel) for x, y in anchors]
    taken += [box.padded(pixel) for box in avoid]
    texts = [
        axes.annotate(
            name,
            point,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=size,
            fontweight="bold" if i in bold else "normal",
            bbox=BEHIND_TEXT,
            zorder=3.5,
        )
        for i, (point, name) in enumerate(zip(points, names, strict=True))
    ]
    extents = [text.get_window_extent(renderer) for text in texts]
    for point, text, place in zip(points, texts, _chosen(anchors, extents, taken, inside, pixel), strict=True):
        dx, dy, across, up = place
        text.xyann = (dx, dy)
        text.set(ha=across, va=up)
        if max(abs(dx), abs(dy)) > NEAR:
            axes.annotate(
                "",
                point,
                xytext=(dx, dy),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "lw": 0.5, "color": "#808080"},
            )


def _chosen(
    anchors: Sequence[tuple[float, float]],
    extents: Sequence["Bbox"],
    taken: Sequence["Bbox"],
    inside: "Bbox",
    pixel: float,
) -> list["_Place"]:
    """The place of each text, where it covers least of what is taken, of other texts, and of what lies outside."""
    boxes: dict[int, Bbox] = {}
    places: dict[int, _Place] = {}
    for _ in range(SWEEPS):
        for i, (anchor, extent) in enumerate(zip(anchors, extents, strict=True)):
            others = [*taken, *(box for j, box in boxes.items() if j != i)]
            fewest = float("inf")
            for place in _PLACES:
                box = _placed(anchor, extent, place, pixel)
                covered = sum(_overlap(box, other) for other in others) + _outside(box, inside)
                if covered < fewest:
                    fewest, boxes[i], places[i] = covered, box, place
                if covered == 0:
                    break
    return [places[i] for i in range(len(anchors))]


def _placed(anchor: tuple[float, float], extent: "Bbox", place: "_Place", pixel: float) -> "Bbox":
    """Where a text of this extent lies at that place beside an anchor, in pixels."""
    from matplotlib.transforms import Bbox

    dx, dy, across, up = place
    x0 = anchor[0] + dx * pixel - {"left": 0.0, "center": 0.5, "right": 1.0}[across] * extent.width
    y0 = anchor[1] + dy * pixel - {"bottom": 0.0, "center": 0.5, "top": 1.0}[up] * extent.height
    return Bbox.from_bounds(x0, y0, extent.width, extent.height)


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
