"""How well a cluster of the features follows the moving noise square, frame by frame (after paper Fig. 6)."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.figures.canvas import INK, Drawing, draw_line, new_figure, say_below
from rvm_bench.figures.looks import looks_of
from rvm_bench.viz.separation import SETTLED, settled

COLUMNS = ("model", "frame", "iou", "ceiling", "coin", "constant", "still")
FLOORS = {
    "coin": "a coin for every cell",
    "constant": "all cells",
    "still": "best cells that never change",
}


@dataclass(frozen=True, kw_only=True)
class IouCurve:
    """IoU of one model over time, in [0, 1], and what it is worth; see `viz.separation.Separation`.

    Attributes:
        model: its caption.
        iou, ceiling: float64 [T].
        floors: by name, as in `FLOORS`.
    """

    model: str
    iou: np.ndarray
    ceiling: np.ndarray
    floors: dict[str, float]


def read_iou(files: Sequence[Path]) -> list[IouCurve]:
    """The curves of every model in files that `rvm-bench viz kmeans --video noise-square --csv` wrote.

    Raises:
        UserError: a file is not there or holds something else, a model stands in two of them, or the films differ.
    """
    curves: dict[str, IouCurve] = {}
    for file in files:
        if not file.is_file():
            raise UserError(f"no such file: {file} (expected what `viz kmeans --video noise-square --csv` wrote)")
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        if not rows or any(column not in rows[0] for column in COLUMNS):
            raise UserError(f"{file}: expected the columns {', '.join(COLUMNS)}, as `viz kmeans --csv` writes them")
        for model in dict.fromkeys(row["model"] for row in rows):
            if model in curves:
                raise UserError(f"{file} has {model}, which another file has, too; leave one of them out")
            curves[model] = _curve(model, [row for row in rows if row["model"] == model], file)
    found = list(curves.values())
    if len({(len(curve.iou), round(curve.floors["constant"], 9)) for curve in found}) > 1:
        raise UserError("these curves are of different films (length or size of the square); draw them apart")
    return found


def noise_figure(curves: Sequence[IouCurve]) -> Drawing:
    """A line per model, between what needs no motion and what the grid of patches leaves."""
    frames = np.arange(len(curves[0].iou))
    small_print = "One film, one seed, one clustering: there is nothing to take an interval over."
    with new_figure(7.2, 4.4) as figure:
        axes = figure.add_subplot()
        highest = np.max([curve.ceiling for curve in curves], axis=0)
        axes.plot(frames, highest, color="#606060", linewidth=0.9, linestyle="-.", label="ceiling of the finest grid")
        for (name, meaning), dash in zip(FLOORS.items(), (":", "--", (0, (6, 1.5))), strict=True):
            level = max(curve.floors[name] for curve in curves)
            axes.axhline(level, color=INK, linewidth=0.9, linestyle=dash, label=f"{name}: {meaning}")
        for curve, look in zip(curves, looks_of((curve.model, "") for curve in curves), strict=True):
            label = f"{curve.model}, mean {_mean(curve):.3f}"
            draw_line(axes, frames, curve.iou, look, label=label, marks_every=max(1, len(frames) // 12))
        if len(frames) > SETTLED:
            axes.axvspan(0, SETTLED - 0.5, color="#f0f0f0", zorder=0)
        axes.set_xlim(0, max(1, len(frames) - 1))
        axes.set_ylim(0, 1)
        axes.set_xlabel("frame")
        axes.set_ylabel("IoU of one cluster and the square")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        say_below(figure, f"{small_print} Grey: frames that do not count in the mean.")
    said = "; ".join(
        f"{curve.model} {_mean(curve):.3f}, at the last frame {curve.iou[-1]:.3f}, ceiling "
        f"{settled(curve.ceiling).mean():.3f}, " + ", ".join(f"{name} {curve.floors[name]:.3f}" for name in FLOORS)
        for curve in curves
    )
    return Drawing(
        figure=figure,
        name="noise",
        title="IoU of one cluster of the features and the moving noise square, over time",
        description=f"{small_print} Mean IoU from frame {SETTLED} on: {said}.",
    )


def _mean(curve: IouCurve) -> float:
    return float(settled(curve.iou).mean())


def _curve(model: str, rows: Sequence[dict[str, str]], file: Path) -> IouCurve:
    try:
        if [int(row["frame"]) for row in rows] != list(range(len(rows))):
            raise ValueError(f"frames of {model} do not count from 0")
        numbers = {name: np.array([float(row[name]) for row in rows]) for name in COLUMNS[2:]}
        if not all(np.isfinite(values).all() for values in numbers.values()):
            raise ValueError(f"{model} has a value that is no number")
    except (ValueError, TypeError) as error:
        raise UserError(f"{file} is damaged: {error}; write it again with `viz kmeans --csv`") from None
    floors = {name: float(numbers[name][0]) for name in FLOORS}
    return IouCurve(model=model, iou=numbers["iou"], ceiling=numbers["ceiling"], floors=floors)
