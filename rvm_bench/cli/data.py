"""`rvm-bench data demo`, `rvm-bench data prepare` and `rvm-bench data check`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rvm_bench.api.registry import find_task, list_tasks
from rvm_bench.errors import UserError

if TYPE_CHECKING:
    from rvm_bench.api.task import Task

app = typer.Typer(help="Data sets: procedural copies, downloads, and checks of real ones.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A name that `ls tasks` lists.")]


@app.command("demo")
def demo(
    out: Annotated[Path, typer.Option(help="Root to write to, one folder per task.")] = Path("demo-data"),
    task: Annotated[str, typer.Option(help="Names, or all; commas between.")] = "all",
) -> None:
    """Write procedural data in the official layouts, with exact truth."""
    from rvm_bench.fetch.locate import write_demo

    for name in list_tasks() if task == "all" else task.split(","):
        typer.echo(f"{name}: {write_demo(find_task(name.strip()), out)}")


@app.command("prepare")
def prepare(
    task: Name,
    out: Annotated[Path, typer.Option(help="Root to write to, one folder per task.")] = Path("data"),
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="Agree to the terms of the data.")] = False,
) -> None:
    """Download a task's data from its public source, unpack and check it. Resumes; overwrites nothing."""
    from rvm_bench.fetch.datasets import prepare, source_of

    found = find_task(task)
    source, folder = source_of(found), out.expanduser() / found.folder
    if folder.exists():
        typer.echo(f"{folder} is there already and is left as it is")
    else:
        typer.echo(f"{found.name}: {source.url}\nhome page: {source.homepage}\nlicence: {source.licence}")
        _agree(accept_licence)
        prepare(found, out.expanduser())
        typer.echo(f"unpacked; {out.expanduser() / source.archive} is not needed any more")
    _report(found, folder)


@app.command("check")
def check(
    task: Name,
    data: Annotated[str | None, typer.Option(help="The data folder, or demo. [default: $RVM_BENCH_DATA]")] = None,
) -> None:
    """Verify a copy of a task's data: read every file, compare with the official counts. Exit code 1 if not whole."""
    from rvm_bench.fetch.locate import data_folder

    found = find_task(task)
    _report(found, data_folder(found, data))


def _agree(accepted: bool) -> None:
    """Returns once the user agrees to the licence: by the flag, or asked on a terminal."""
    if accepted:
        return
    if not sys.stdin.isatty():
        raise UserError("nothing was downloaded: read the licence above, and give --accept-licence to agree to it")
    if not typer.confirm("Do you agree to these terms?"):
        raise UserError("nothing was downloaded: the licence was not agreed to")


def _report(task: "Task[Any]", folder: Path) -> None:
    """Prints what is wrong with a copy of the data, and ends with exit code 1 where something is."""
    wrong = task.check(folder)
    for line in wrong:
        typer.echo(line)
    typer.echo(f"{folder}: " + ("complete" if not wrong else f"{len(wrong)} findings"))
    raise typer.Exit(1 if wrong else 0)
