"""`rvm-bench viz`: what models make of a video, as films and strips."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rvm_bench.cli import viz_options as o
from rvm_bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from rvm_bench.viz.compare import Clustering
    from rvm_bench.viz.panels import Panel
    from rvm_bench.viz.separation import Separation

LINES = 16
"""Frames that a printed table has at most."""

app = typer.Typer(help="Pictures: features, propagated masks and reconstructions, side by side.", no_args_is_help=True)


@app.command("pca")
def pca(
    model: o.ModelNames,
    video: o.Video,
    out: o.Out,
    data: o.Data = None,
    weights: o.Weights = None,
    device: o.Device = None,
    option: o.Options = None,
    frames: o.Frames = 64,
    start: o.Start = 0,
    stride: o.Stride = 1,
    size: o.Size = 256,
    seed: o.Seed = 0,
    fps: o.Fps = 12,
    columns: o.Columns = 4,
    height: o.Height = None,
    square: o.SquarePx = o.SQUARE_PX,
    speed: o.SpeedPx = o.SPEED_PX,
    path: o.SquarePath = o.PATH,
) -> None:
    """Three whitened principal components of the features in red, green and blue."""
    from rvm_bench.viz.compare import pca_panels
    from rvm_bench.viz.footage import Choice

    film = o.Film(out=out, fps=fps, columns=columns, height_px=height, start=start, stride=stride)
    models = o.Models(model, weights, device, option)
    choice = Choice(frames=frames, start=start, stride=stride, side_px=size)
    footage, truth = o.open_video(video, data, choice, seed=seed, square_px=square, speed_px=speed, path=path)
    film.write([*_originals(footage, truth), *pca_panels(models, footage)], len(footage))


@app.command("kmeans")
def kmeans(
    model: o.ModelNames,
    video: o.Video,
    out: Annotated[Path | None, typer.Option(help="As for pca; may be left out with --iou or --csv.")] = None,
    data: o.Data = None,
    k: Annotated[int, typer.Option(help="Clusters, 2 to 7.")] = 5,
    normalize: Annotated[str, typer.Option(help="Features before: token (length 1), channel or none.")] = "token",
    iou: Annotated[bool, typer.Option("--iou", help="Print how well a cluster finds the noise square.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write that for every frame to this file.")] = None,
    weights: o.Weights = None,
    device: o.Device = None,
    option: o.Options = None,
    frames: o.Frames = 64,
    start: o.Start = 0,
    stride: o.Stride = 1,
    size: o.Size = 256,
    seed: o.Seed = 0,
    fps: o.Fps = 12,
    columns: o.Columns = 4,
    height: o.Height = None,
    square: o.SquarePx = o.SQUARE_PX,
    speed: o.SpeedPx = o.SPEED_PX,
    path: o.SquarePath = o.PATH,
) -> None:
    """Clusters of the features (k-means++), a colour each."""
    from rvm_bench.viz.compare import clusterings
    from rvm_bench.viz.footage import Choice
    from rvm_bench.viz.separation import separation

    if (iou or csv) and video != o.NOISE_SQUARE:
        raise UserError(f"--iou and --csv need a true mask; they are for --video {o.NOISE_SQUARE}")
    if out is None and not (iou or csv):
        raise UserError("nothing to do: give --out FILE, --iou or --csv FILE")
    film = None
    if out is not None:
        film = o.Film(out=out, fps=fps, columns=columns, height_px=height, start=start, stride=stride)
    models = o.Models(model, weights, device, option)
    choice = Choice(frames=frames, start=start, stride=stride, side_px=size)
    footage, truth = o.open_video(video, data, choice, seed=seed, square_px=square, speed_px=speed, path=path)
    found = clusterings(models, footage, k, normalize=normalize, seed=seed)
    if truth is not None and (iou or csv):
        results = [separation(one.labels, truth, one.patch) for one in found]
        if iou:
            _print_iou(found, results)
        if csv:
            _write_iou(csv, found, results)
    if film is not None:
        film.write([*_originals(footage, truth), *(one.panel(footage.shape[1:3]) for one in found)], len(footage))


@app.command("propagation")
def propagation(
    model: o.ModelNames,
    video: Annotated[str, typer.Option(help="Name of a DAVIS sequence of --data.")],
    out: o.Out,
    data: o.Data = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Masks of `run --save-predictions DIR`, DIR; else they are made now.")
    ] = None,
    weights: o.Weights = None,
    device: o.Device = None,
    option: o.Options = None,
    frames: o.Frames = 64,
    start: o.Start = 0,
    stride: o.Stride = 1,
    fps: o.Fps = 12,
    columns: o.Columns = 4,
    height: o.Height = None,
) -> None:
    """The masks of the first frame carried through the video, beside the true ones."""
    from rvm_bench.media.drawing import tinted
    from rvm_bench.media.images import read_labels
    from rvm_bench.runs.predictions import TASK, read_masks
    from rvm_bench.viz.compare import caption_of
    from rvm_bench.viz.footage import Choice, read_images
    from rvm_bench.viz.masks import find_sequence, propagate
    from rvm_bench.viz.panels import Panel

    film = o.Film(out=out, fps=fps, columns=columns, height_px=height, start=start, stride=stride)
    models = o.Models(model, weights, device, option)
    choice = Choice(frames=frames, start=start, stride=stride, side_px=None)
    task, sequence = find_sequence(video, data)
    times = choice.numbers(sequence.length, video)
    native = read_images(sequence.frames, choice, video)
    rows = [("truth", [read_labels(sequence.masks[t]) for t in times])]
    if predictions is not None:
        for name in models.names:
            rows.append((name, read_masks(predictions / TASK / name, sequence, times)))
    else:
        for encoder in models:
            found, score = propagate(task, encoder, sequence)
            shown = f"{task.metric.key} {task.metric.shown(score)}"
            typer.echo(f"{caption_of(encoder)} on {video}: {shown} {task.metric.unit}")
            rows.append((f"{caption_of(encoder)}, {shown}", [found[t] for t in times]))
    panels = [Panel(caption="video", frames=native)]
    for caption, masks in rows:
        drawn = [tinted(frame, mask) for frame, mask in zip(native, masks, strict=True)]
        panels.append(Panel(caption=caption, frames=drawn))
    film.write(panels, len(times))


@app.command("reconstruction")
def reconstruction(
    model: o.ModelNames,
    video: o.Video,
    out: o.Out,
    data: o.Data = None,
    weights: o.Weights = None,
    device: o.Device = None,
    option: o.Options = None,
    start: o.Start = 0,
    stride: o.Stride = 1,
    size: o.Size = 256,
    seed: o.Seed = 0,
    fps: o.Fps = 12,
    columns: o.Columns = 4,
    height: o.Height = None,
) -> None:
    """Frames that RVM models decode from 4 source frames and 5 % of the frames' own patches."""
    from rvm_bench.rvm import masking
    from rvm_bench.viz import reconstruction as r
    from rvm_bench.viz.compare import caption_of
    from rvm_bench.viz.footage import Choice
    from rvm_bench.viz.panels import Panel

    film = o.Film(out=out, fps=fps, columns=columns, height_px=height)
    models = o.Models(model, weights, device, option)
    choice = Choice(frames=r.SOURCES + r.DELTA_MAX, start=start, stride=stride, side_px=size)
    footage, _ = o.open_video(video, data, choice, seed=seed)
    strip = out.suffix.lower() == ".png"
    deltas = r.deltas_within(len(footage), columns if strip else None)
    panels: list[Panel] = []
    for encoder in models:
        patch = r.patch_of(encoder)
        h, w = encoder.grid(*footage.shape[1:3])
        whole = footage[:, : h * patch, : w * patch]
        sources, targets = whole[: r.SOURCES], whole[r.SOURCES - 1 + deltas]
        inds_restore, hidden = masking.draw((h, w), seed=seed, targets=len(deltas), shared=False)
        if not panels:
            first = [*sources[: len(deltas)], *[None] * max(0, len(deltas) - r.SOURCES)]
            still = [sources[-1]] * len(deltas)
            panels += [Panel(caption="sources", frames=first) if strip else Panel(caption="last source", frames=still)]
            panels += [Panel(caption="seen", frames=r.masked(targets, hidden[0], patch))]
        decoded, error = r.decode(encoder, sources, targets, deltas, inds_restore[0])
        panels.append(Panel(caption=f"{caption_of(encoder)}, mse {error:.4f}", frames=decoded))
    panels.append(Panel(caption="truth", frames=targets))
    titles = [
        f"source {i}, target +{delta}" if strip and i < r.SOURCES else f"target +{delta}"
        for i, delta in enumerate((deltas * stride).tolist())
    ]
    film.write(panels, len(titles), titles)


def _originals(footage: "np.ndarray", truth: "np.ndarray | None") -> list["Panel"]:
    """What models are shown, and what is to be found in it where that is known."""
    from rvm_bench.media.drawing import tinted
    from rvm_bench.viz.panels import Panel

    panels = [Panel(caption="video", frames=footage)]
    if truth is not None:
        drawn = [tinted(frame, mask.astype("uint8")) for frame, mask in zip(footage, truth, strict=True)]
        panels.append(Panel(caption="true square", frames=drawn))
    return panels


def _print_iou(found: list["Clustering"], results: list["Separation"]) -> None:
    """A line for some of the frames, the mean, and the floors and the ceiling beside it."""
    from rvm_bench.media.frame_sampling import spread
    from rvm_bench.tables.run_list import aligned
    from rvm_bench.viz.separation import SETTLED, settled

    models = [one.model for one in found]
    rows = [["IoU at frame", *models]]
    rows += [[str(t), *(f"{r.iou[t]:.2f}" for r in results)] for t in spread(len(results[0].iou), LINES)]
    rows.append([f"mean from {SETTLED}", *(f"{r.mean:.3f}" for r in results)])
    for name in ("coin", "constant", "still"):
        rows.append([name, *(f"{getattr(r, name):.3f}" for r in results)])
    rows.append(["ceiling", *(f"{settled(r.ceiling).mean():.3f}" for r in results)])
    typer.echo(aligned(rows), nl=False)
    typer.echo(
        "coin: a coin for every cell; constant: all cells; still: the best cells that never change; ceiling: the best "
        "cells in every frame"
    )


def _write_iou(file: Path, found: list["Clustering"], results: list["Separation"]) -> None:
    """A row for every model and frame, with all digits."""
    from rvm_bench.tables.run_list import as_csv

    rows = [
        {
            "model": one.model,
            "frame": t,
            "iou": float(result.iou[t]),
            "ceiling": float(result.ceiling[t]),
            "coin": result.coin,
            "constant": result.constant,
            "still": result.still,
        }
        for one, result in zip(found, results, strict=True)
        for t in range(len(result.iou))
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_csv(rows))
    typer.echo(f"{file}: {file.stat().st_size / 1e3:.0f} kB")
