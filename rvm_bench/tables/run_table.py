"""Tables 1 and 2 from finished runs."""

from collections.abc import Sequence
from typing import Literal

from rvm_bench.runs.finished import FinishedRun, chosen_runs, refuse_mixed_versions
from rvm_bench.tables.columns import COLUMNS, best_scores, normalized_average
from rvm_bench.tables.paper_table import published_best
from rvm_bench.tables.published import TITLES, published_row
from rvm_bench.tables.score_table import Cell, Row, ScoreTable, Section

Reference = Literal["shown", "published"]

_RULES = {
    "shown": "average: each column over the best of the rows shown (AbsRel: best over score), where all eight were run",
    "published": "average: each column over the best of the paper's Table 1 (AbsRel: best over score), where all eight "
    "were run on the paper's terms",
}
LARGE_M = 150
"""A model that the paper does not have stands in Table 1 from this many million parameters on. Ours: the largest
model of Table 2 has 117, the smallest of Table 1 has 303."""


def table_of_runs(runs: Sequence[FinishedRun], reference: Reference = "shown") -> ScoreTable:
    """Tables 1 and 2 from finished runs; runs of other tasks are left out.

    Models stand in the paper's table where it has them, the others by their size, ordered by size. A column counts as
    comparable where all its runs have one protocol and one data set; only then its best is marked, and without it
    there is no average.

    Args:
        runs: see `finished.find_runs`; where one network was run on a task several times, `finished.chosen_runs` says
            which one stands.
        reference: what an average is normalised by: the best of the rows shown, or the best of the paper's Table 1.
            By the paper's only numbers are averaged that measure what the paper's do.

    Raises:
        UserError: runs of one task were made under several versions of its protocol.
    """
    known = {column.task for column in COLUMNS}
    runs = [run for run in runs if run.task in known]
    refuse_mixed_versions(runs)
    chosen, notes = chosen_runs(runs)
    notes.append(_RULES[reference])
    names = network_names(chosen)
    sections = []
    for table in TITLES:
        networks: dict[tuple[object, ...], list[FinishedRun]] = {}
        for run in chosen:
            if _table_of(run) == table:
                networks.setdefault(run.network, []).append(run)
        if networks:
            section, more = _section(table, [(names[key], of) for key, of in networks.items()], reference)
            sections.append(section)
            notes += more
    return ScoreTable(sections=tuple(sections), notes=tuple(notes))


def _section(
    table: str, networks: Sequence[tuple[str, list[FinishedRun]]], reference: Reference
) -> tuple[Section, list[str]]:
    """One table from the chosen runs of each network, and what is to be said about it."""
    terms: dict[str, set[object]] = {}
    for _, runs in networks:
        for run in runs:
            terms.setdefault(run.task, set()).add(tuple(run.terms.values()))
    unlike = [column.heading for column in COLUMNS if len(terms.get(column.task, ())) > 1]
    notes = []
    if unlike:
        notes.append(
            f"{', '.join(unlike)} in {table}: measured on different data or with different constants: no best is marked"
            + (" and nothing is averaged" if reference == "shown" else "")
        )
    cells = {name: {run.task: _cell(run) for run in runs} for name, runs in networks}
    best = published_best() if reference == "published" else best_scores([_scores(of) for of in cells.values()])
    rows = []
    for name, runs in networks:
        average = normalized_average(_scores(cells[name]), best)
        if average is not None and reference == "published" and _off_terms(cells[name]):
            notes.append(f"{name} has no average: not all eight were run on the paper's data and constants")
            average = None
        elif reference == "shown" and unlike:
            average = None
        card = runs[0].card
        rows.append(
            Row(
                model=name,
                params_m=card["params_m"],
                cells=cells[name],
                average=average,
                published=card.get("published", ""),
            )
        )
    rows.sort(key=lambda row: (row.params_m, row.model))
    bold = {column.task for column in COLUMNS if column.heading not in unlike} | {"average"}
    return Section(table=table, rows=tuple(rows), bold=frozenset(bold)), notes


def _cell(run: FinishedRun) -> Cell:
    return Cell(value=run.printed, interval=run.printed_interval, flags=run.flags)


def _scores(cells: dict[str, Cell]) -> dict[str, float]:
    return {task: cell.value for task, cell in cells.items()}


def _off_terms(cells: dict[str, Cell]) -> bool:
    """Whether some number was not measured on the paper's terms; untrained weights and left-out videos are."""
    return any({"demo data", "own split", "off protocol"} & set(cell.flags) for cell in cells.values())


def _table_of(run: FinishedRun) -> str:
    row = published_row(run.card.get("published", ""))
    return row["table"] if row else "Table 1" if run.card["params_m"] >= LARGE_M else "Table 2"


def network_names(runs: Sequence[FinishedRun]) -> dict[tuple[object, ...], str]:
    """What each network is called: the model's name, and its weights or options where several share that name."""
    networks: dict[str, dict[tuple[object, ...], FinishedRun]] = {}
    for run in runs:
        networks.setdefault(run.model, {})[run.network] = run
    names: dict[tuple[object, ...], str] = {}
    for model, of in networks.items():
        for key, run in of.items():
            details = []
            if len({other.weights_sha256 for other in of.values()}) > 1:
                details.append(f"weights {(run.weights_sha256 or 'none')[:8]}")
            options = run.stamp["encoder"]["options"]
            if len({str(other.stamp["encoder"]["options"]) for other in of.values()}) > 1:
                details += [f"{name}={value}" for name, value in options.items()] or ["no options"]
            names[key] = f"{model} ({', '.join(details)})" if details else model
    return names
