"""The published Tables 1 and 2 as a score table, and beside numbers of our own."""

from dataclasses import replace

from rvm_bench.tables.columns import AVERAGE_DIGITS, COLUMNS, best_scores, normalized_average
from rvm_bench.tables.published import TITLES, published_table
from rvm_bench.tables.score_table import Cell, Row, ScoreTable, Section

NO_DIFFERENCE = ("demo data", "own split", "off protocol", "random weights")
"""Flags under which a number measures something else than the paper's, so that their difference says nothing."""


def published_best() -> dict[str, float]:
    """The best number of each column of the paper's Table 1: what its normalised averages are normalised by."""
    return best_scores([row.scores for row in published_table("Table 1")])


def paper_table() -> ScoreTable:
    """Tables 1 and 2 as printed, with the averages recomputed: each table by the best of its own rows."""
    sections = []
    for table in TITLES:
        rows = published_table(table)
        best = best_scores([row.scores for row in rows])
        sections.append(
            Section(
                table=table,
                rows=tuple(
                    Row(
                        model=row.model,
                        params_m=row.params_m,
                        cells={task: Cell(value=value) for task, value in row.scores.items()},
                        average=normalized_average(row.scores, best),
                        kind="published",
                    )
                    for row in rows
                ),
                bold=frozenset((*(column.task for column in COLUMNS), "average")),
            )
        )
    return ScoreTable(
        sections=tuple(sections),
        notes=(_recomputed(), "the paper prints no averages in Table 2; each table is normalised by its own best"),
    )


def recomputed_averages() -> dict[str, tuple[float, float]]:
    """(recomputed, printed) normalised average of every row of Table 1 for which the paper prints one, by model."""
    best = published_best()
    found = {}
    for row in published_table("Table 1"):
        average = normalized_average(row.scores, best)
        if average is not None and row.average is not None:
            found[row.model] = (average, row.average)
    return found


def edge_distance(average: float) -> float:
    """How far an average is from the nearest number at which its last printed digit changes."""
    steps = average * 10**AVERAGE_DIGITS - 0.5
    return abs(steps - round(steps)) / 10**AVERAGE_DIGITS


def with_published(table: ScoreTable) -> ScoreTable:
    """The table with the paper's line and the difference (ours less the paper's) below every model that the paper has.

    A number that measures something else than the paper's (`NO_DIFFERENCE`) has no difference; a partial one has. The
    difference of the averages stands where all eight have one; the table should be normalised by the paper's best.
    """
    sections = []
    for section in table.sections:
        printed = {row.model: row for row in published_table(section.table)}
        rows: list[Row] = []
        for row in section.rows:
            rows.append(row)
            paper = printed.get(row.published)
            if paper is not None:
                cells = {task: Cell(value=value) for task, value in paper.scores.items()}
                theirs = Row(
                    model=paper.model, params_m=paper.params_m, cells=cells, average=paper.average, kind="published"
                )
                rows += [theirs, _difference(row, theirs)]
        sections.append(replace(section, rows=tuple(rows)))
    return replace(table, sections=tuple(sections))


def _recomputed() -> str:
    """What the recomputed averages of Table 1 say of the printed ones."""
    averages = recomputed_averages()
    agree = sum(f"{ours:.{AVERAGE_DIGITS}f}" == f"{theirs:.{AVERAGE_DIGITS}f}" for ours, theirs in averages.values())
    edge = min(averages, key=lambda model: edge_distance(averages[model][0]))
    return (
        f"averages are recomputed from the printed numbers: {agree} of the {len(averages)} that Table 1 prints come "
        f"out to the printed digit; {edge} sits nearest to a rounding edge with {averages[edge][0]:.4f}"
    )


def _difference(ours: Row, theirs: Row) -> Row:
    cells = {
        task: Cell(value=cell.value - theirs.cells[task].value)
        for task, cell in ours.cells.items()
        if task in theirs.cells and not set(NO_DIFFERENCE) & set(cell.flags)
    }
    comparable = len(cells) == len(COLUMNS) and ours.average is not None and theirs.average is not None
    average = ours.average - theirs.average if comparable else None  # type: ignore[operator]
    return Row(model=ours.model, params_m=ours.params_m, cells=cells, average=average, kind="difference")
