"""Score against size or FLOPs, and the line that no model is beyond (paper Fig. 1)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rvm_bench.errors import UserError
from rvm_bench.figures.canvas import INK, Drawing, draw_mark, new_figure, say_below
from rvm_bench.figures.captions import caption
from rvm_bench.figures.looks import look_of
from rvm_bench.figures.scores import AXES, LOWER_IS_BETTER, ScoredModel
from rvm_bench.profiling.points import STREAM, read_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

Cost = Mapping[str, float]
"""GFLOP per frame by the name of a model, and by its row in the paper."""


def gflop_of(file: Path) -> dict[str, float]:
    """GFLOP per frame of streaming the longest video of each model in a file of `rvm-bench profile`."""
    found: dict[str, float] = {}
    for point in sorted(read_points(file), key=lambda point: point.frames):
        if point.way == STREAM and point.gflop_per_frame is not None:
            found |= {name: point.gflop_per_frame for name in (point.model, point.published) if name}
    return found


def pareto_figure(models: Sequence[ScoredModel], task: str, gflop: Cost | None = None) -> Drawing:
    """Every model at its size (or its FLOPs) and its score; runs have their 95 % intervals.

    The line joins the models of the paper that no smaller (cheaper) one of the paper equals. A model without parameters
    is a level of its own.

    Args:
        models: see `scores.published` and `scores.measured`.
        task: the column, or average, that their scores are of.
        gflop: FLOPs per frame; models that it lacks are left out, and named in the notes. None: sizes.

    Raises:
        UserError: nothing is left to draw.
    """
    at = [(_cost(model, gflop), model) for model in models]
    placed = [(x, model) for x, model in at if x]
    levels = [model for x, model in at if x == 0]
    lacking = [model.name for x, model in at if x is None]
    if not placed and not levels:
        raise UserError(f"no model has a score for {task}" + (" and FLOPs; profile them first" if gflop else ""))
    unit = "parameters (M)" if gflop is None else "GFLOP per frame"
    frontier = _frontier([(x, model) for x, model in placed if model.origin == "paper"], task)
    with new_figure(7.2, 4.6) as figure:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_xlabel(unit)
        axes.set_ylabel(AXES[task])
        _plain_ticks(axes)
        texts: list[Annotation] = []
        for x, model in placed:
            score = model.score
            if score.interval is not None:
                axes.vlines([x], *score.interval, color=INK, linewidth=0.9, zorder=3)
            draw_mark(axes, x, score.value, look_of(model.name, model.family), hollow=bool(model.remarks))
        for model in levels:
            look = look_of(model.name, model.family)
            axes.axhline(model.score.value, color=look.colour, linestyle=":", linewidth=1.2, zorder=2)
            texts.append(
                axes.annotate(
                    f"{_name(model)}, no parameters",
                    (0, model.score.value),
                    xycoords=("axes fraction", "data"),
                    xytext=(4, 2),
                    textcoords="offset points",
                    fontsize=7.5,
                    fontweight="bold",
                )
            )
        if len(frontier) > 1:
            axes.plot(
                *zip(*((x, model.score.value) for x, model in frontier), strict=True),
                color="#909090",
                linewidth=1.2,
                linestyle="--",
                zorder=2,
                label="frontier of the paper's models",
            )
            axes.legend(loc="lower right")
        axes.margins(x=0.12, y=0.12)
        figure.draw_without_rendering()
        axes.set_xlim(axes.get_xlim())
        axes.set_ylim(axes.get_ylim())
        say_below(figure, _small_print(models))
        caption(
            axes,
            [(x, model.score.value) for x, model in placed],
            [_name(model) for _, model in placed],
            bold=[i for i, (_, model) in enumerate(placed) if model.origin == "run"],
            avoid=[_between(axes, x, model.score.interval) for x, model in placed if model.score.interval]
            + [text.get_window_extent() for text in texts],
        )
    said = [f"{_name(model)} {x:.4g}: {_told(model)}" for x, model in sorted(placed, key=lambda pair: pair[0])]
    said += [f"{_name(model)}: {_told(model)}" for model in levels]
    return Drawing(
        figure=figure,
        name=f"pareto-{task}" + ("" if gflop is None else "-flops"),
        title=f"{AXES[task]} against {unit}",
        description=f"{_small_print(models)} {unit}: score. {'; '.join(said)}. "
        f"Frontier of the paper's models: {', '.join(model.name for _, model in frontier) or 'none'}.",
        notes=(f"no FLOPs, left out: {', '.join(lacking)}",) if lacking else (),
    )


def _cost(model: ScoredModel, gflop: Cost | None) -> float | None:
    if gflop is None:
        return model.params_m
    return gflop.get(model.name, gflop.get(model.row))


def _frontier(placed: Sequence[tuple[float, ScoredModel]], task: str) -> list[tuple[float, ScoredModel]]:
    """Those of the models, by ascending cost, that are better than every one that costs no more."""
    sign = -1 if task in LOWER_IS_BETTER else 1
    found: list[tuple[float, ScoredModel]] = []
    for x, model in sorted(placed, key=lambda pair: (pair[0], -sign * pair[1].score.value)):
        if not found or sign * model.score.value > sign * found[-1][1].score.value:
            found.append((x, model))
    return found


def _name(model: ScoredModel) -> str:
    return f"{model.name}, {', '.join(model.remarks)}" if model.remarks else model.name


def _told(model: ScoredModel) -> str:
    score = model.score
    between = "" if score.interval is None else f" ({score.interval[0]:.1f} to {score.interval[1]:.1f})"
    return f"{score.value:.4g}{between}"


def _small_print(models: Sequence[ScoredModel]) -> str:
    sentences = []
    if any(model.origin == "run" for model in models):
        sentences.append("Bold: runs, with 95 % intervals over videos.")
    if any(model.origin == "paper" for model in models):
        sentences.append("Plain: as the paper prints them, which gives no intervals.")
    if any(model.remarks for model in models):
        sentences.append("Hollow: not on the paper's terms.")
    return " ".join(sentences)


def _between(axes: "Axes", x: float, interval: tuple[float, float]) -> "Bbox":
    """Where the bar of an interval lies, in pixels."""
    from matplotlib.transforms import Bbox

    return Bbox(axes.transData.transform([(x, interval[0]), (x, interval[1])]))


def _plain_ticks(axes: "Axes") -> None:
    """Numbers on a logarithmic axis as one writes them: 30, 100, 300."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
