"""`rvm-bench table` and `rvm-bench ls`: what was run, and what can be."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rvm_bench.card import Model
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.registry import find_model, find_task, model_names, task_names


class Format(StrEnum):
    text = "text"
    md = "md"
    csv = "csv"


def table(
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.text,
) -> None:
    """Print one row per finished run."""
    files = sorted(out.glob("*/*/result.json"))
    if not files:
        raise UserError(f"no finished run in {out}; start one with `rvm-bench run`, or name another --out")
    print_runs(files, form)


def print_runs(files: list[Path], form: Format = Format.text) -> None:
    from rvm_bench.tables import as_csv, as_markdown, as_text, run_rows

    rows = run_rows(files)
    typer.echo({Format.text: as_text, Format.md: as_markdown, Format.csv: as_csv}[form](rows), nl=False)


def ls(kind: Annotated[str, typer.Argument(help="models or tasks.")]) -> None:
    """List models or tasks."""
    from rvm_bench.tables import aligned

    if kind == "models":
        rows = [["name", "params (M)", "patch", "weights", "licence", "note"]]
        rows += [[name, *_model_facts(name)] for name in model_names()]
    elif kind == "tasks":
        rows = [["name", "metric", "what"]]
        rows += [[name, (t := find_task(name)).metric.key, t.title] for name in task_names()]
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
