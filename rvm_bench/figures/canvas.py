"""What all figures share: their size and text, and files that stand for themselves.

An SVG keeps its text as text, is named and described for screen readers, and may stand in an HTML page beside others:
its ids begin with its name, and its style ends at its edge. The same data gives the same bytes.
"""

import io
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvm_bench.errors import UserError, optional_packages
from rvm_bench.figures.looks import INK, Look
from rvm_bench.formats.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png")
PNG_DPI = 160
GRID = "#d8d8d8"
STROKES = ("x", "+")
"""Marks that have no inside."""
BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
"""Under text that lines may cross. Not an outline of its letters: that would make paths of them."""
SMALL_PRINT_PER_IN = 19
"""Letters of small print that fit into an inch."""
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 3.2,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A finished figure.

    Attributes:
        figure: matplotlib's.
        name: for ids; other figures on a page have other names.
        title: what it shows, for who does not see it; one line.
        description: what it says, with its numbers, for the same.
        notes: what was left out, for who made it.
    """

    figure: "Figure"
    name: str
    title: str
    description: str
    notes: tuple[str, ...] = ()

    def svg(self) -> str:
        """The figure as an SVG element, which is a file of its own, too."""
        text = io.StringIO()
        with _style(self.name):
            self.figure.savefig(text, format="svg", metadata={"Date": None})
        return _self_contained(text.getvalue(), self.name, self.title, self.description)

    def png(self) -> bytes:
        """The figure as a PNG; title and description stand in its metadata."""
        content = io.BytesIO()
        with _style(self.name):
            self.figure.savefig(
                content,
                format="png",
                dpi=PNG_DPI,
                metadata={"Title": self.title, "Description": self.description, "Software": None},
            )
        return content.getvalue()

    def write(self, file: Path) -> None:
        """Writes it in the format that the file's name says, whole or not at all; its folder is made if need be."""
        check_figure(file)
        write_atomically(file, self.svg() if file.suffix == ".svg" else self.png())


def check_figure(file: Path) -> None:
    """Raises UserError where a figure cannot be written to this file: its name, or matplotlib is not installed."""
    if file.suffix not in SUFFIXES:
        raise UserError(f"{file}: expected a name that ends in {' or '.join(SUFFIXES)}")
    with optional_packages("figures need", "figures"):
        import matplotlib  # noqa: F401


@contextmanager
def new_figure(width_in: float = 7.0, height_in: float = 4.2) -> Iterator["Figure"]:
    """An empty figure, drawn into under the style that all share."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def draw_line(
    axes: "Axes",
    x: Any,
    y: Any,
    look: Look,
    *,
    label: str,
    low: Any = None,
    high: Any = None,
    marks_every: int = 1,
) -> None:
    """A line with marks, both edged in black, which light colours need on white; error bars from `low` to `high`."""
    stroke = look.mark in STROKES
    if look.dash == "-" and look.colour != INK:
        axes.plot(x, y, color=INK, linewidth=2.7, zorder=2.9)
    axes.plot(
        x,
        y,
        color=look.colour,
        linestyle=look.dash,
        marker=look.mark,
        markevery=marks_every,
        markeredgecolor=look.colour if stroke else INK,
        markeredgewidth=1.4 if stroke else 0.7,
        label=label,
        zorder=3,
    )
    if low is not None and high is not None:
        axes.vlines(x, low, high, color=INK, linewidth=0.9, zorder=2.5)


def draw_mark(axes: "Axes", x: float, y: float, look: Look, *, hollow: bool = False, size: float = 60.0) -> None:
    """One mark, `size` in square points; a hollow one is white inside."""
    if look.mark in STROKES:
        axes.scatter([x], [y], s=size, c=look.colour, marker=look.mark, linewidths=1.4, zorder=4)
        return
    inside, edge = ("white", look.colour) if hollow else (look.colour, INK)
    axes.scatter(
        [x], [y], s=size, c=inside, marker=look.mark, edgecolors=edge, linewidths=1.6 if hollow else 0.7, zorder=4
    )


def say_below(figure: "Figure", text: str) -> None:
    """Small print below the figure."""
    lines = textwrap.fill(text, int(SMALL_PRINT_PER_IN * figure.get_figwidth()))
    figure.supxlabel(lines, fontsize=7, x=0.01, ha="left", color="#404040")


@contextmanager
def _style(name: str = "") -> Iterator[None]:
    import matplotlib

    settings: Any = {**_STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(settings):
        yield


def _self_contained(svg: str, name: str, title: str, description: str) -> str:
    """An SVG element that can be read out, and whose ids and style are its own."""
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(svg)
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set(key, f"{name}-{value}")
            else:
                pointer = f"#{name}-{value[1:]}" if key.endswith("href") else value
                element.set(key, pointer.replace("url(#", f"url(#{name}-"))
        if element.tag == f"{{{_SVG}}}style" and element.text:
            element.text = element.text.replace("*{", f"#{name} *{{")
    root.set("id", name)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(f"{{{_SVG}}}{tag}", id=f"{name}-{tag}")
        element.text = text
        element.tail = "\n"
        root.insert(place, element)
    return ET.tostring(root, encoding="unicode") + "\n"
