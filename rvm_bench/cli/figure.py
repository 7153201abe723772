"""`rvm-bench figure`: what was measured, beside what the paper prints, as SVG or PNG."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rvm_bench.errors import UserError

if TYPE_CHECKING:
    from rvm_bench.figures.canvas import Drawing

Out = Annotated[Path, typer.Option(help="File to write: .svg or .png.")]

app = typer.Typer(help="Figures of scores and costs, as SVG or PNG.", no_args_is_help=True)


@app.command("pareto")
def pareto(
    out: Out,
    runs: Annotated[Path | None, typer.Option(help="Folder of all runs. [default: runs, where it is there]")] = None,
    task: Annotated[str, typer.Option(help="A column of Table 1, or average, video or spatial.")] = "average",
    paper: Annotated[bool, typer.Option("--paper", help="Only what the paper prints.")] = False,
    profile: Annotated[
        Path | None, typer.Option(help="Points of `rvm-bench profile`: GFLOP per frame instead of the size.")
    ] = None,
) -> None:
    """Score against size, or FLOPs: the paper's models, and finished runs with their intervals (paper Fig. 1)."""
    from rvm_bench.figures.canvas import check_figure
    from rvm_bench.figures.pareto import gflop_of, pareto_figure
    from rvm_bench.figures.scores import left_out, models_of, published
    from rvm_bench.runs.finished import find_runs

    check_figure(out)
    if paper and runs is not None:
        raise UserError(f"--paper leaves runs out; give either --paper or --runs {runs}")
    models = published(task)
    folder = runs or Path("runs")
    if not paper and (runs is not None or folder.is_dir()):
        found = find_runs(folder)
        models += models_of(task, found)
        for line in left_out(task, found):
            typer.echo(line)
    _write(pareto_figure(models, task, None if profile is None else gflop_of(profile)), out)


@app.command("stability")
def stability(
    out: Out,
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    absolute: Annotated[bool, typer.Option("--absolute", help="J&F itself, not in percent of the first.")] = False,
) -> None:
    """J&F of label propagation as videos grow longer, from runs of davis-stability (paper Fig. 4)."""
    from rvm_bench.figures.canvas import check_figure
    from rvm_bench.figures.stability import read_curves, stability_figure

    check_figure(out)
    _write(stability_figure(read_curves(runs), absolute=absolute), out)


@app.command("noise")
def noise(
    out: Out,
    csv: Annotated[list[Path], typer.Option(help="What `viz kmeans --video noise-square --csv` wrote; repeatable.")],
) -> None:
    """How well a cluster of the features follows the noise square over time (after paper Fig. 6)."""
    from rvm_bench.figures.canvas import check_figure
    from rvm_bench.figures.noise import noise_figure, read_iou

    check_figure(out)
    _write(noise_figure(read_iou(csv)), out)


@app.command("ablation")
def ablation(out: Out) -> None:
    """The paper's ablations of RVM-S: source frames, aggregation and training examples (paper Table 3)."""
    from rvm_bench.figures.ablation import ablation_figure
    from rvm_bench.figures.canvas import check_figure

    check_figure(out)
    _write(ablation_figure(), out)


@app.command("profile")
def profile(
    out: Out,
    points: Annotated[list[Path], typer.Option(help="What `rvm-bench profile --out` wrote; repeatable.")],
    clock: Annotated[str, typer.Option(help="wall, or cpu for a busy machine.")] = "wall",
) -> None:
    """Time, memory and FLOPs against the number of frames, from kept points."""
    from rvm_bench.figures.canvas import check_figure
    from rvm_bench.figures.profile import profile_figure
    from rvm_bench.profiling.points import read_points

    check_figure(out)
    _write(profile_figure([point for file in points for point in read_points(file)], clock), out)


def _write(drawing: "Drawing", out: Path) -> None:
    drawing.write(out)
    for line in drawing.notes:
        typer.echo(line)
    typer.echo(f"{out}: {out.stat().st_size / 1e3:.0f} kB")
