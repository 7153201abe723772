"""`rvm-bench table` and `rvm-bench ls`: what was run, and what can be."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rvm_bench.api.card import Model
from rvm_bench.api.registry import find_model, find_task, list_models, list_tasks
from rvm_bench.cli.arguments import RunsFolder
from rvm_bench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from rvm_bench.tables.score_table import ScoreTable


class Format(StrEnum):
    text = "text"
    md = "md"
    csv = "csv"
    tex = "tex"


class Reference(StrEnum):
    shown = "shown"
    published = "published"


def table(
    runs: RunsFolder = Path("runs"),
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.text,
    listed: Annotated[bool, typer.Option("--list", help="One line per run of any task instead.")] = False,
    paper: Annotated[bool, typer.Option("--paper", help="The published tables, with recomputed averages.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Ours, published and difference.")] = False,
    reference: Annotated[
        Reference | None,
        typer.Option(
            help="Normalise averages by the best row shown, or the paper's. [default: shown; published with --diff]"
        ),
    ] = None,
) -> None:
    """Print finished runs as the paper's Tables 1 and 2."""
    if listed + paper + diff > 1:
        raise UserError("--list, --paper and --diff are three tables; give one of them")
    if reference and (listed or paper):
        raise UserError(f"--reference does not go with {'--list' if listed else '--paper'}; leave it out")
    if listed:
        _print_finished(runs, form)
        return
    typer.echo(_rendered(_score_table(runs, paper=paper, diff=diff, reference=reference), form), nl=False)


def _score_table(runs: Path, *, paper: bool, diff: bool, reference: Reference | None) -> "ScoreTable":
    from rvm_bench.runs.finished import find_runs
    from rvm_bench.tables.columns import COLUMNS
    from rvm_bench.tables.paper_table import paper_table, with_published
    from rvm_bench.tables.run_table import table_of_runs

    if paper:
        return paper_table()
    found = table_of_runs(
        find_runs(runs), reference=(reference or (Reference.published if diff else Reference.shown)).value
    )
    if not found.sections:
        raise UserError(
            f"no finished run in {runs} is of a task of the paper's tables ({', '.join(c.task for c in COLUMNS)}); "
            "`rvm-bench table --list` prints what there is"
        )
    return with_published(found) if diff else found


def _rendered(found: "ScoreTable", form: Format) -> str:
    from rvm_bench.tables import formats as score_formats

    if form is Format.text:
        return score_formats.as_text(found, bold=sys.stdout.isatty())
    return {
        Format.md: score_formats.as_markdown,
        Format.csv: score_formats.as_csv,
        Format.tex: score_formats.as_latex,
    }[form](found)


def _print_finished(runs: Path, form: Format) -> None:
    from rvm_bench.runs.finished import result_files

    print_runs(result_files(runs), form)


def print_runs(files: list[Path], form: Format = Format.text) -> None:
    from rvm_bench.tables.run_list import as_csv, as_markdown, as_text, run_rows

    if form is Format.tex:
        raise UserError("the list of runs has no LaTeX; give --format text, md or csv, or leave out --list")
    rows = run_rows(files)
    typer.echo({Format.text: as_text, Format.md: as_markdown, Format.csv: as_csv}[form](rows), nl=False)


def ls(kind: Annotated[str, typer.Argument(help="models or tasks.")]) -> None:
    """List models or tasks."""
    from rvm_bench.tables.run_list import aligned

    if kind == "models":
        rows = [["name", "params (M)", "patch", "weights", "licence", "note"]]
        rows += [[name, *_model_facts(name)] for name in list_models()]
    elif kind == "tasks":
        rows = [["name", "metric", "what"]]
        rows += [[name, (t := find_task(name)).metric.key, t.title] for name in list_tasks()]
    else:
        raise unknown_name("kind of thing", kind, ["models", "tasks"])
    typer.echo(aligned(rows), nl=False)


def _model_facts(name: str) -> list[str]:
    model = find_model(name)
    if not isinstance(model, Model):
        return ["", "", "", "", "plug-in"]
    card = model.card
    released = "none" if not model.takes_weights else "released" if card.weights else "give --weights"
    return [f"{card.params_m:g}" if card.params_m else "", str(card.patch), released, card.licence, card.note]
