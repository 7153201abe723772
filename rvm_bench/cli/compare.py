"""`rvm-bench compare` and `rvm-bench diff`: two runs side by side, by their scores and by their stamps."""

import itertools
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rvm_bench.cli.arguments import RunsFolder
from rvm_bench.errors import UserError


class Format(StrEnum):
    text = "text"
    md = "md"
    csv = "csv"
    json = "json"


def compare(
    a: Annotated[str, typer.Argument(help="A run folder, or the name of a model that was run.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    task: Annotated[str | None, typer.Option(help="The task; needed for names of models.")] = None,
    runs: RunsFolder = Path("runs"),
    form: Annotated[Format, typer.Option("--format", help="How to print; csv has one line per video.")] = Format.text,
    most: Annotated[int, typer.Option(min=0, help="How many videos to list, the largest difference first.")] = 10,
) -> None:
    """Test two models on the videos of one task: difference, 95 % interval, p-value, where they differ most."""
    from rvm_bench.runs.finished import find_run
    from rvm_bench.tables import comparison_formats
    from rvm_bench.tables.comparison import compare_runs

    if task is None:
        for name in (a, b):
            if not (Path(name) / "run.json").is_file():
                raise UserError(f"{name} is not a run folder; for the name of a model give --task, too")
    found, notes = zip(*(find_run(name, runs, task) for name in (a, b)), strict=True)
    for note in itertools.chain.from_iterable(notes):
        typer.echo(note, err=True)
    compared = compare_runs(*found)
    printed = {
        Format.text: lambda: comparison_formats.as_text(compared, most),
        Format.md: lambda: comparison_formats.as_markdown(compared, most),
        Format.csv: lambda: comparison_formats.as_csv(compared),
        Format.json: lambda: comparison_formats.as_json(compared),
    }
    typer.echo(printed[form](), nl=False)


def diff(
    a: Annotated[Path, typer.Argument(help="A run folder.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Say which stamps of two runs differ, one line each. Exit code 1 where any does."""
    from rvm_bench.runs.diff import stamp_differences

    found = stamp_differences(a, b)
    for difference in found:
        typer.echo(str(difference))
    raise typer.Exit(1 if found else 0)
