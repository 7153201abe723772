"""The figures of a report: those of `rvm_bench.figures`, from the runs that the report is about."""

from dataclasses import dataclass

from rvm_bench.errors import UserError
from rvm_bench.figures.canvas import Drawing
from rvm_bench.figures.pareto import pareto_figure
from rvm_bench.figures.scores import AXES, GROUPS, models_of, published
from rvm_bench.figures.stability import TASK, curves_of, stability_figure
from rvm_bench.report.contents import Contents


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure on the page.

    Attributes:
        heading: what stands above it.
        title: what it shows.
        words: the same with its numbers, for who does not see it.
        svg: the element itself.
    """

    heading: str
    title: str
    words: str
    svg: str


def pareto_charts(contents: Contents, problems: list[str]) -> list[Chart]:
    """Score against size, of the averages and then of every column that a run of the report has.

    Args:
        problems: is added a line for what cannot be drawn.
    """
    charts = []
    for column in AXES:
        if column not in GROUPS and column not in contents.tasks:
            continue
        try:
            ours = models_of(column, contents.runs)
            if ours:
                drawing = pareto_figure(published(column) + ours, column)
                charts.append(_chart(drawing, AXES[column]))
        except UserError as error:
            problems.append(f"no Pareto figure of {AXES[column]}: {error}")
    charts.sort(key=lambda chart: not chart.heading.startswith("normalised"))
    return charts


def stability_charts(contents: Contents, problems: list[str]) -> list[Chart]:
    """J&F as videos grow longer, in percent of the first length and as J&F itself; empty without such runs."""
    runs = list(contents.of_task(TASK).values())
    if not runs:
        return []
    try:
        curves = curves_of(runs)
        return [
            _chart(stability_figure(curves, absolute=absolute), heading)
            for absolute, heading in ((False, "In percent of the first length"), (True, "J&F itself"))
        ]
    except UserError as error:
        problems.append(f"no stability curves: {error}")
        return []


def _chart(drawing: Drawing, heading: str) -> Chart:
    return Chart(heading=heading, title=drawing.title, words=drawing.description, svg=drawing.svg())
