"""J&F of label propagation as videos grow longer, from the curves of davis-stability runs (paper Fig. 4)."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.figures.canvas import Drawing, draw_line, new_figure, say_below
from rvm_bench.figures.looks import looks_of
from rvm_bench.runs.finished import FinishedRun, read_run

TASK = "davis-stability"
DODGE = 0.6
"""Frames between the marks of two models, so that their intervals can be told apart."""


@dataclass(frozen=True, kw_only=True)
class StabilityCurve:
    """The curve.csv of one run.

    Attributes:
        name, family: of the model; the name says, too, what sets the run apart from the paper's terms.
        frames: int64 [n].
        absolute: J&F in percent and its 95 % interval, float64 [n, 3] as (value, low, high); NaN where there is none.
        relative: the same in percent of the first length.
        videos: over how many it goes.
    """

    name: str
    family: str
    frames: np.ndarray
    absolute: np.ndarray
    relative: np.ndarray
    videos: int


def read_curves(runs: Path) -> list[StabilityCurve]:
    """The curve of every model with a finished run of davis-stability, the newest where it has several.

    Raises:
        UserError: there is none, or they were measured on different videos or by different rules.
    """
    # Not every run of the folder is read: others may be of another format, and are no concern here.
    found = [read_run(file.parent) for file in sorted((runs / TASK).glob("*/result.json"))]
    if not found:
        raise UserError(f"no finished run of {TASK} in {runs}; start one with `rvm-bench run --task {TASK}`")
    return curves_of(found)


def curves_of(runs: Sequence[FinishedRun]) -> list[StabilityCurve]:
    """The same of finished runs of davis-stability that were read already."""
    newest: dict[str, FinishedRun] = {}
    for run in runs:
        name = ", ".join([run.model, *run.flags])
        if name not in newest or newest[name].finished < run.finished:
            newest[name] = run
    _refuse_unlike(list(newest.values()))
    return [_curve(name, run) for name, run in newest.items()]


def stability_figure(curves: Sequence[StabilityCurve], *, absolute: bool = False) -> Drawing:
    """A line per model with its 95 % intervals over videos, in percent of the first length or as J&F itself."""
    looks = looks_of((curve.name, curve.family) for curve in curves)
    label = "J&F (%)" if absolute else f"J&F in % of that at {curves[0].frames[0]} frames"
    small_print = (
        f"{curves[0].videos} videos; bars: 95 % intervals, videos resampled. Marks stand apart to be told apart."
    )
    said = []
    with new_figure() as figure:
        axes = figure.add_subplot()
        for i, (curve, look) in enumerate(zip(curves, looks, strict=True)):
            values = curve.absolute if absolute else curve.relative
            x = curve.frames + DODGE * (i - (len(curves) - 1) / 2)
            draw_line(axes, x, values[:, 0], look, label=curve.name, low=values[:, 1], high=values[:, 2])
            said.append(f"{curve.name}: " + ", ".join(map(_told, curve.frames.tolist(), values.tolist())))
        axes.set_xlabel("length of the video (frames)")
        axes.set_ylabel(label)
        axes.set_xticks(curves[0].frames)
        axes.legend(loc="best")
        say_below(figure, small_print)
    return Drawing(
        figure=figure,
        name="stability" + ("-absolute" if absolute else ""),
        title=f"{label}, against the length of the video",
        description=f"{small_print} {'; '.join(said)}.",
    )


def _told(frames: int, value_low_high: Sequence[float]) -> str:
    value, low, high = value_low_high
    return f"{frames} frames {value:.1f}" + ("" if np.isnan(low) else f" ({low:.1f} to {high:.1f})")


def _curve(name: str, run: FinishedRun) -> StabilityCurve:
    file = run.path / "curve.csv"
    if not file.is_file():
        raise UserError(f"{file} is not there; `rvm-bench run` writes it beside result.json: delete that and run again")
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))

    def column(key: str) -> np.ndarray:
        parts = [[float(row[f"{key}{part}"] or "nan") for part in ("", "_low", "_high")] for row in rows]
        return np.array(parts)

    try:
        return StabilityCurve(
            name=name,
            family=run.card["family"],
            frames=np.array([int(row["frames"]) for row in rows]),
            absolute=column("J&F"),
            relative=column("relative"),
            videos=run.result["videos"],
        )
    except (KeyError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error!r}); delete result.json beside it and run again") from None


def _refuse_unlike(runs: Sequence[FinishedRun]) -> None:
    """Raises UserError where curves would not be comparable."""
    for run in runs[1:]:
        for what, term in (("rules", "protocol"), ("videos", "data")):
            if run.terms[term] != runs[0].terms[term]:
                raise UserError(
                    f"{runs[0].path} and {run.path} were measured by different {what}; their curves do not belong "
                    "into one figure: move one of them to another folder of runs"
                )
