"""`rvm-bench data demo` and `rvm-bench data check`."""

from pathlib import Path
from typing import Annotated

import typer

from rvm_bench.registry import find_task, task_names

app = typer.Typer(help="Data sets: procedural copies, and checks of real ones.", no_args_is_help=True)


@app.command("demo")
def demo(
    out: Annotated[Path, typer.Option(help="Root to write to, one folder per task.")] = Path("demo-data"),
    task: Annotated[str, typer.Option(help="Names, or all; commas between.")] = "all",
) -> None:
    """Write procedural data in the official layouts, with exact truth."""
    from rvm_bench.data import write_demo

    for name in task_names() if task == "all" else task.split(","):
        typer.echo(f"{name}: {write_demo(find_task(name.strip()), out)}")


@app.command("check")
def check(
    task: Annotated[str, typer.Argument(help="A name that `ls tasks` lists.")],
    data: Annotated[str | None, typer.Option(help="The data folder, or demo. [default: $RVM_BENCH_DATA]")] = None,
) -> None:
    """Verify a copy of a task's data: read every file, compare with the official counts. Exit code 1 if not whole."""
    from rvm_bench.data import data_folder

    found = find_task(task)
    folder = data_folder(found, data)
    wrong = found.check(folder)
    for line in wrong:
        typer.echo(line)
    typer.echo(f"{folder}: " + ("complete" if not wrong else f"{len(wrong)} findings"))
    raise typer.Exit(1 if wrong else 0)
