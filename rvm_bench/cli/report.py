"""`rvm-bench report`: finished runs as one HTML file that needs no network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rvm_bench.cli.arguments import names
from rvm_bench.cli.table import Reference
from rvm_bench.errors import UserError

if TYPE_CHECKING:
    from rvm_bench.report.contents import Contents
    from rvm_bench.report.page import Report
    from rvm_bench.report.pictures import Sources


def report(
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="File to write: .html.")] = Path("report.html"),
    models: Annotated[str | None, typer.Option(help="Only these models, with commas between.")] = None,
    task: Annotated[str | None, typer.Option(help="Only these tasks, with commas between.")] = None,
    reference: Annotated[
        Reference, typer.Option(help="Normalise averages by the best row shown, or the paper's.")
    ] = Reference.shown,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Videos and features, too.")] = True,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst videos of each task to show.")] = 10,
    worst_of: Annotated[
        str | None, typer.Option(help="Whose worst videos, as the table names it. [default: the best of each task]")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, max=60, help="Frames of each video, at most.")] = 12,
    data: Annotated[
        str | None, typer.Option(help="Where the data is, for pictures; as in `run`. [default: where each run's lay]")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="What `run --save-predictions DIR` wrote, DIR; else they are made now.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE, to make pictures of a model that has its own checkpoint.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1. [default: cuda where there is one]")] = None,
) -> None:
    """Write one HTML file about finished runs: scores, figures, videos, and the stamp of every number."""
    from rvm_bench.report.contents import read_contents
    from rvm_bench.report.page import check_extra, write_report
    from rvm_bench.report.pictures import Sources

    if out.suffix != ".html":
        raise UserError(f"--out {out}: expected a name that ends in .html")
    check_extra()
    contents = read_contents(runs, names(models, []) if models else (), names(task, []) if task else ())
    if worst_of is not None and worst_of not in contents.models:
        raise UserError(f"--worst-of {worst_of}: expected one of {', '.join(contents.models)}")
    sources = None
    if pictures:
        sources = Sources(data=data, predictions=predictions, weights=_weights(weights), device=device)
    found = gathered(
        contents, reference=reference.value, sources=sources, worst=worst, worst_of=worst_of, frames=frames
    )
    for line in found.problems:
        typer.echo(line, err=True)
    lost = write_report(found, out)
    if lost:
        typer.echo(lost, err=True)
    typer.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB, {len(contents.runs)} runs")


def gathered(
    contents: "Contents",
    *,
    reference: Literal["shown", "published"] = "shown",
    sources: "Sources | None" = None,
    worst: int = 10,
    worst_of: str | None = None,
    frames: int = 12,
) -> "Report":
    """All that the page shows of these runs: options as on the command line; no pictures without `sources`."""
    from rvm_bench.report.charts import pareto_charts, stability_charts
    from rvm_bench.report.page import Report
    from rvm_bench.report.scatter import scatter_data
    from rvm_bench.report.scoreboard import scoreboard
    from rvm_bench.report.strips import pca_player
    from rvm_bench.report.worst import worst_players

    problems: list[str] = []
    return Report(
        contents=contents,
        scores=scoreboard(contents, reference),
        pareto=tuple(pareto_charts(contents, problems)),
        stability=tuple(stability_charts(contents, problems)),
        scatter=scatter_data(contents, problems),
        worst=tuple(worst_players(contents, sources, count=worst, frames=frames, of=worst_of)),
        features=None if sources is None else pca_player(contents, sources, frames),
        pictures=sources is not None,
        problems=tuple(problems),
    )


def _weights(texts: list[str] | None) -> dict[str, str]:
    found = {}
    for text in texts or []:
        name, equals, file = text.partition("=")
        if not equals:
            raise UserError(f"--weights {text}: expected NAME=FILE")
        if not Path(file).exists():
            raise UserError(f"--weights {text}: no such file: {file}")
        found[name] = file
    return found
