"""Tables 1 and 2, and the tasks outside of them, as rows of a page. The numbers are those of `rvm-bench table`."""

from dataclasses import dataclass

from rvm_bench.report.contents import Contents
from rvm_bench.report.stamps import stamp_id
from rvm_bench.runs.finished import FLAGS
from rvm_bench.tables.columns import AVERAGE_DIGITS, COLUMNS
from rvm_bench.tables.run_table import Reference, table_of_runs
from rvm_bench.tables.score_table import Row, Section


@dataclass(frozen=True, kw_only=True)
class ShownCell:
    """One number of the page.

    Attributes:
        text: as it is printed; "" where the task was not run.
        interval: its 95 % interval as it is printed; "" for a single video.
        best: whether it is the best of its column.
        flags: what sets it apart, but for what its whole row shares.
        stamp: id of its stamp.
    """

    text: str = ""
    interval: str = ""
    best: bool = False
    flags: tuple[str, ...] = ()
    stamp: str = ""


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    model: str
    size: str
    flags: tuple[str, ...]
    cells: tuple[ShownCell, ...]
    average: ShownCell


@dataclass(frozen=True, kw_only=True)
class ShownTable:
    title: str
    rows: tuple[ShownRow, ...]


@dataclass(frozen=True, kw_only=True)
class OtherNumber:
    """A number of a task that has no column."""

    task: str
    model: str
    metric: str
    cell: ShownCell


@dataclass(frozen=True, kw_only=True)
class Scoreboard:
    """All numbers of a report.

    Attributes:
        tables: up to two, with the columns of `columns.COLUMNS`.
        others: numbers of other tasks.
        legend: the flags that some number bears, each with its meaning.
        notes: what is to be said about the tables.
    """

    tables: tuple[ShownTable, ...]
    others: tuple[OtherNumber, ...]
    legend: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def scoreboard(contents: Contents, reference: Reference = "shown") -> Scoreboard:
    """The tables of a report; `reference` says what averages are normalised by, as for `run_table.table_of_runs`."""
    found = table_of_runs(contents.runs, reference)
    columns = {column.task for column in COLUMNS}
    seen = {flag for run in contents.runs for flag in run.flags}
    return Scoreboard(
        tables=tuple(
            ShownTable(title=section.title, rows=tuple(_row(contents, section, row) for row in section.rows))
            for section in found.sections
        ),
        others=tuple(
            _other(contents, name, task)
            for task in contents.tasks
            if task not in columns
            for name in contents.of_task(task)
        ),
        legend=tuple((flag, meaning) for flag, meaning in FLAGS.items() if flag in seen),
        notes=tuple(dict.fromkeys((*contents.notes, *(found.notes if found.sections else ())))),
    )


def _row(contents: Contents, section: Section, row: Row) -> ShownRow:
    cells = []
    for column in COLUMNS:
        cell, run = row.cells.get(column.task), contents.run_of(row.model, column.task)
        if cell is None or run is None:
            cells.append(ShownCell())
            continue
        cells.append(
            ShownCell(
                text=f"{cell.value:.{column.digits}f}",
                interval=_between(cell.interval, column.digits),
                best=section.is_best(row, column.task),
                flags=tuple(flag for flag in cell.flags if flag not in row.flags),
                stamp=stamp_id(run),
            )
        )
    average = ShownCell()
    if row.average is not None:
        average = ShownCell(text=f"{row.average:.{AVERAGE_DIGITS}f}", best=section.is_best(row, "average"))
    size = f"{row.params_m:g}" if row.params_m else ""
    return ShownRow(model=row.model, size=size, flags=row.flags, cells=tuple(cells), average=average)


def _other(contents: Contents, name: str, task: str) -> OtherNumber:
    run = contents.of_task(task)[name]
    metric = run.result["metric"]
    digits = metric.get("digits", 1)
    arrow = "↑" if metric.get("higher_is_better", True) else "↓"
    cell = ShownCell(
        text=f"{run.printed:.{digits}f}",
        interval=_between(run.printed_interval, digits),
        flags=run.flags,
        stamp=stamp_id(run),
    )
    unit = f" ({metric['unit']})" if metric.get("unit") else ""
    return OtherNumber(task=task, model=name, metric=f"{metric['key']}{unit} {arrow}", cell=cell)


def _between(interval: tuple[float, float] | None, digits: int) -> str:
    return "" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"
