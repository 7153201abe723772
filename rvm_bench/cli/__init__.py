"""The command line. Torch and other heavy packages are imported inside the commands, so that `--help` is fast."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from rvm_bench.cli import compare, data, doctor, figure, profile, report, run, table, train, verify, viz, weights
from rvm_bench.cli.logs import show_logs
from rvm_bench.errors import UserError

RESUMED = ("run", "train", "profile", "weights", "data")
"""Commands that resume after an interruption."""

app = typer.Typer(
    name="rvm-bench",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"rvm-bench {version('rvm-bench')}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """A benchmark for frozen video encoders."""


app.command("run")(run.run)
app.command("merge")(run.merge)
app.command("doctor")(doctor.doctor)
app.command("train")(train.train)
app.command("export")(train.export)
app.command("profile")(profile.profile)
app.command("table")(table.table)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("diff")(compare.diff)
app.command("verify")(verify.verify)
app.command("ls")(table.ls)
app.add_typer(weights.app, name="weights")
app.add_typer(data.app, name="data")
app.add_typer(viz.app, name="viz")
app.add_typer(figure.app, name="figure")


def main() -> None:
    """Exit codes: 0; 1 if something failed or a check did not pass; 2 for a user's mistake; 130 after Ctrl-C."""
    show_logs()
    try:
        app()
    except (UserError, OSError) as error:
        print(f"rvm-bench: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as stop:
        # Typer turns Ctrl-C into a silent exit code 130.
        if stop.code == 130:
            then = "resumes" if set(sys.argv[1:2]) & set(RESUMED) else "starts over"
            print(f"rvm-bench: interrupted; the same command {then}", file=sys.stderr)
        raise
