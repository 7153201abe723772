"""`rvm-bench profile`: what models cost as videos grow longer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from rvm_bench.api.card import Model
from rvm_bench.api.registry import find_model
from rvm_bench.cli.arguments import check_weights, names, parse_option
from rvm_bench.errors import UserError

if TYPE_CHECKING:
    from rvm_bench.profiling.growth import Curve
    from rvm_bench.profiling.points import Point

DEFAULT_FRAMES = "16,32,64,128,256,512,1024"


def profile(
    model: Annotated[str, typer.Argument(metavar="MODEL[,MODEL...]", help="Names, as for run.")],
    frames: Annotated[str, typer.Option(help="Numbers of frames; commas between.")] = DEFAULT_FRAMES,
    size: Annotated[int, typer.Option(min=1, help="Side of the frames in pixels.")] = 224,
    weights: Annotated[str, typer.Option(help="random or a file; the cost does not depend on it.")] = "random",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1. [default: cuda where there is one]")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    chunk: Annotated[int | None, typer.Option(min=1, help="Frames that go through the network together.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option of the models' own, as key=value.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch. [default: as torch chooses]")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Passes per point, as far as the budget goes.")] = 3,
    budget: Annotated[
        float, typer.Option(min=0.1, help="Seconds per point; a curve ends where a pass exceeds it.")
    ] = 60,
    memory: Annotated[
        float | None, typer.Option(min=1, help="MB above model and input per point. [default: 80 % of what is free]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep points here as they come: .json or .csv.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the curves: .svg or .png.")] = None,
    clock: Annotated[str, typer.Option(help="Of the figure: wall, or cpu for a busy machine.")] = "wall",
) -> None:
    """Measure time, memory and FLOPs against the number of frames, each point in a process of its own.

    With --out, finished points are kept: interrupted, the same command resumes.
    """
    from rvm_bench.figures.canvas import check_figure

    counts = _counts(frames)
    chosen = names(model, [])
    for name in chosen:
        find_model(name)
    given = None if weights == "random" else weights
    check_weights(chosen, given)
    if figure is not None:
        check_figure(figure)
    options: dict[str, Any] = dict(parse_option(text) for text in option or [])
    if chunk is not None:
        options["chunk"] = chunk

    from rvm_bench.profiling.curves import SavedPoints, measure
    from rvm_bench.profiling.growth import curves_of, rows_of
    from rvm_bench.profiling.request import Subject

    saved = SavedPoints(out)
    subjects = [
        Subject(
            model=name,
            weights=weights if _takes(name) else None,
            device=device,
            dtype=dtype,
            options=options,
            threads=threads,
        )
        for name in chosen
    ]
    points = []
    with tqdm(desc="profile", unit="point", disable=None) as progress:
        for point in measure(
            subjects,
            counts,
            size_px=size,
            repeats=repeats,
            pass_limit_s=budget,
            memory_limit_mb=memory,
            saved=saved,
            tell=lambda point: progress.set_postfix_str(f"{point.model}, {point.way}, {point.frames} frames"),
        ):
            points.append(point)
            progress.update()
            progress.write(_line(point))
    curves = curves_of(points)
    saved.finish(growth=rows_of(curves))
    typer.echo()
    _print_growth(curves)
    if out is not None:
        typer.echo(f"{out}: {len(points)} points")
    if figure is not None:
        from rvm_bench.figures.profile import profile_figure

        profile_figure(points, clock).write(figure)
        typer.echo(f"{figure}: {figure.stat().st_size / 1e3:.0f} kB")


def _counts(text: str) -> list[int]:
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = []
    if not counts or counts[0] < 1:
        raise UserError(f"--frames {text}: expected numbers from 1 on with commas between, as in {DEFAULT_FRAMES}")
    return counts


def _takes(name: str) -> bool:
    """Whether `--weights` applies to a model."""
    model = find_model(name)
    return not isinstance(model, Model) or model.takes_weights


def _line(point: "Point") -> str:
    from rvm_bench.profiling.points import described

    head = f"{point.model}, {described(point.kind, point.way)}, {point.frames} frames: "
    if point.stopped:
        return f"{head}ends here, {point.stopped}"
    spread = "" if point.passes < 2 else f" ({_seconds(point.wall_low_s)} to {_seconds(point.wall_high_s)})"
    return (
        f"{head}{_seconds(point.wall_s)} s{spread}, {_seconds(point.cpu_s)} CPU s, "
        f"{_number(point.peak_mb, '.1f')} MB, {_number(point.gflop_per_frame, '.4g')} GFLOP per frame"
    )


def _print_growth(curves: "list[Curve]") -> None:
    """A line for every curve: how time and memory grow, and what its longest video cost."""
    from rvm_bench.profiling.points import described
    from rvm_bench.tables.run_list import aligned

    rows = [
        ["model", "way", "frames", "time", "CPU time", "memory", "ms/frame", "CPU ms", "peak MB", "GFLOP/frame", "ends"]
    ]
    for curve in curves:
        head = [curve.first.model, described(curve.first.kind, curve.first.way)]
        why = curve.stopped.stopped if curve.stopped else ""
        if not curve.points:
            rows.append([*head, *["-"] * (len(rows[0]) - 3), why])
            continue
        low, high = curve.points[0], curve.points[-1]
        rows.append(
            [
                *head,
                f"{low.frames}-{high.frames}",
                str(curve.time or "-"),
                str(curve.cpu or "-"),
                str(curve.memory or "-"),
                *(_number(None if s is None else 1e3 * s / high.frames, ".1f") for s in (high.wall_s, high.cpu_s)),
                _number(high.peak_mb, ".0f"),
                _number(high.gflop_per_frame, ".4g"),
                why,
            ]
        )
    typer.echo(aligned(rows), nl=False)
    typer.echo(
        "time, CPU time, memory: exponents, the slope of log(cost) over log(frames); 1 is linear and 0 is flat; "
        "± 95 % interval of the fit"
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _seconds(value: float | None) -> str:
    return _number(value, ".3g")
