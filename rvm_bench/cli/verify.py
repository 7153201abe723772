"""`rvm-bench verify`: which printed numbers the runs reproduce."""

from pathlib import Path
from typing import Annotated

import typer

from rvm_bench.cli.arguments import RunsFolder


def verify(
    runs: RunsFolder = Path("runs"),
    ledger: Annotated[
        Path | None,
        typer.Option(help="Ledger to fill. [default: results/ledger.csv of a checkout, else RUNS/ledger.csv]"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print only; leave the file as it is.")] = False,
) -> None:
    """Fill the ledger of expected numbers from finished runs. Exit code 1 where a number is off."""
    from rvm_bench.runs.finished import find_runs
    from rvm_bench.tables.ledger import NOT_RUN, OFF, fill, ledger_files, read_ledger, summary, write_ledger
    from rvm_bench.tables.run_list import aligned

    source, target = ledger_files(runs, ledger)
    before = read_ledger(source)
    entries, reasons = fill(before, find_runs(runs))
    compared = [entry for entry in entries if entry.status != NOT_RUN]
    if compared:
        rows = [["model", "task", "expected", "tolerance", "measured", "95 % interval", "status", "run"]]
        for entry in compared:
            digits = len(entry.expected.partition(".")[2]) + 1
            low_high = f"{float(entry.low):.{digits}f} to {float(entry.high):.{digits}f}" if entry.low else ""
            measured = f"{float(entry.measured):.{digits}f}"
            run = f"{entry.fingerprint} of {entry.date}"
            expected = [entry.model, entry.task, entry.expected, entry.tolerance]
            rows.append([*expected, measured, low_high, entry.status, run])
        typer.echo(aligned(rows))
    if reasons:
        typer.echo(f"not counted: {len(reasons)} runs")
        typer.echo("".join(f"  {reason}\n" for reason in reasons))
    typer.echo(summary(entries))
    if not dry_run and (entries != before or target != source):
        write_ledger(target, entries)
        typer.echo(f"written to {target}")
    raise typer.Exit(1 if any(entry.status == OFF for entry in entries) else 0)
