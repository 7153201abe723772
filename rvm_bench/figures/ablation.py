"""The paper's ablations of RVM-S: source frames, aggregation over time and training examples (paper Table 3)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rvm_bench.figures.canvas import BEHIND_TEXT, Drawing, draw_line, draw_mark, new_figure, say_below
from rvm_bench.figures.looks import look_of
from rvm_bench.tables.published import published_ablation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLES = {"a": "source frames", "b": "aggregation over time", "c": "training examples"}
"""The settings of Tables 3a to 3c. The paper heads 3c "num steps"; by its text these are examples."""
METRICS = {
    "ssv2": "SSv2 top-1 (%)",
    "kinetics": "Kinetics top-1 (%)",
    "scannet": "ScanNet AbsRel (x10, lower is better)",
}
DEFAULTS = {"a": "4", "b": "RNN", "c": "500M"}
"""The setting that the paper marks as its default: one row, which stands in all three tables."""


def ablation_figure() -> Drawing:
    """A row of axes per metric and a column per ablation, each row with one scale."""
    tables = {table: published_ablation(f"3{table}") for table in TABLES}
    small_print = "RVM-S trained on 500M examples unless varied; filled: the default. The paper prints no intervals."
    with new_figure(7.2, 6.4) as figure:
        grid = figure.subplots(len(METRICS), len(TABLES), sharey="row", squeeze=False)
        for row, (metric, label) in enumerate(METRICS.items()):
            for axes, (table, setting) in zip(grid[row], TABLES.items(), strict=True):
                _draw(axes, tables[table], metric, DEFAULTS[table], ordered=table != "b")
                if row == len(METRICS) - 1:
                    axes.set_xlabel(setting)
            grid[row][0].set_ylabel(label.replace(" (x10, lower", "\n(x10, lower"))
        for axes, table in zip(grid[0], TABLES, strict=True):
            axes.set_title(f"Table 3{table}")
        say_below(figure, small_print)
    said = [
        f"{name} = {next(iter(row.values()))}: " + ", ".join(f"{label} {row[key]}" for key, label in METRICS.items())
        for table, name in TABLES.items()
        for row in tables[table]
    ]
    return Drawing(
        figure=figure,
        name="ablation",
        title="Ablations of RVM-S as the paper prints them in Table 3",
        description=f"{small_print} {'; '.join(said)}.",
    )


def _draw(axes: "Axes", rows: Sequence[dict[str, str]], metric: str, default: str, *, ordered: bool) -> None:
    look = look_of("rvm-s")
    settings = [next(iter(row.values())) for row in rows]
    values = [float(row[metric]) for row in rows]
    places = list(range(len(rows)))
    if ordered:
        # Each setting doubles the one before, or nearly: equal steps are a logarithmic axis.
        draw_line(axes, places, values, look, label=metric)
    for place, setting, value, row in zip(places, settings, values, rows, strict=True):
        draw_mark(axes, place, value, look, hollow=setting != default)
        axes.annotate(
            row[metric],
            (place, value),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            bbox=BEHIND_TEXT,
            zorder=3.5,
        )
    axes.set_xticks(places, settings)
    axes.margins(x=0.25, y=0.25)
