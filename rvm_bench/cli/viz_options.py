"""What the `rvm-bench viz` commands have in common: their options, models with weights of their own, and videos."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rvm_bench.api.card import Model
from rvm_bench.api.registry import find_model
from rvm_bench.cli.arguments import check_weights, names, parse_option, to_fetch
from rvm_bench.errors import UserError
from rvm_bench.fetch.load import load_encoder

if TYPE_CHECKING:
    import numpy as np

    from rvm_bench.api.encoder import Encoder
    from rvm_bench.viz.footage import Choice
    from rvm_bench.viz.panels import Panel

NOISE_SQUARE = "noise-square"
SQUARE_PX, SPEED_PX, PATH = 96, 6.0, "bounce"
"""Defaults of `viz.noise_square.NoiseSquare`, which is not imported for `--help`."""

ModelNames = Annotated[str, typer.Option("--model", help="As in `run`; commas between. The first sets the colours.")]
Video = Annotated[str, typer.Option(help="A video, a folder of frames, noise-square, or a DAVIS sequence of --data.")]
Out = Annotated[Path, typer.Option(help="File to write: .mp4, .gif, or .png for a strip of a few frames.")]
Data = Annotated[str | None, typer.Option(help="DAVIS data, or demo. [default: $RVM_BENCH_DATA]")]
Weights = Annotated[
    list[str] | None,
    typer.Option(help="random or a file, for all models; NAME=random or NAME=FILE for one. [default: released]"),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1. [default: cuda where there is one]")]
Options = Annotated[list[str] | None, typer.Option("--option", help="An option of the models' own, as key=value.")]
Frames = Annotated[int, typer.Option(help="Frames at most.")]
Start = Annotated[int, typer.Option(help="First frame, from 0.")]
Stride = Annotated[int, typer.Option(help="From one frame to the next.")]
Size = Annotated[int, typer.Option(help="Short side in pixels of the frames that models see.")]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn by chance.")]
Fps = Annotated[float, typer.Option(min=0.1, max=100, help="Frames a second of the film.")]
Columns = Annotated[int, typer.Option(min=1, help="Frames in a .png.")]
Height = Annotated[int | None, typer.Option(min=16, help="Height of each picture in pixels.")]
SquarePx = Annotated[int, typer.Option(help="Side of the noise square in pixels.")]
SpeedPx = Annotated[float, typer.Option(help="Speed of the noise square in pixels a frame.")]
SquarePath = Annotated[str, typer.Option("--path", help="Path of the noise square: bounce, circle or sweep.")]


@dataclass(frozen=True, kw_only=True)
class Film:
    """The file that a command writes: a film, or a strip of a few frames.

    Attributes:
        out: its name says which.
        fps: of a film. columns: of a strip. height_px: of each picture; None: its own.
        start, stride: of the frames in their video, for the titles.

    Raises:
        UserError: a suffix that is none of a film or a strip; at once, before anything is loaded.
    """

    out: Path
    fps: float
    columns: int
    height_px: int | None
    start: int = 0
    stride: int = 1

    def __post_init__(self) -> None:
        from rvm_bench.viz.films import check_suffix

        check_suffix(self.out)

    def write(self, panels: "Sequence[Panel]", count: int, titles: Sequence[str] | None = None) -> None:
        """Writes panels of `count` frames, whose titles are their numbers unless given, and says so."""
        from rvm_bench.viz.films import write_panels

        numbers = [f"frame {self.start + i * self.stride}" for i in range(count)]
        write_panels(self.out, panels, titles or numbers, fps=self.fps, columns=self.columns, height_px=self.height_px)
        typer.echo(f"{self.out}: {self.out.stat().st_size / 1e3:.0f} kB")


class Models:
    """The encoders that were asked for; each pass over it loads them one after the other and keeps none.

    Raises:
        UserError: an unknown name, a missing file, or an option that is none; at once, before anything is loaded.
    """

    def __init__(self, text: str, weights: list[str] | None, device: str | None, option: list[str] | None) -> None:
        self.names = names(text, [])
        for name in self.names:
            find_model(name)
        self.weights = weights_by_model(self.names, weights)
        self.device = device
        self.options: dict[str, Any] = dict(parse_option(text) for text in option or [])

    def __iter__(self) -> Iterator["Encoder"]:
        for name in self.names:
            yield self.load(name)

    def load(self, name: str) -> "Encoder":
        """One of them; its released checkpoint is fetched if need be."""
        from rvm_bench.fetch.weights import fetch

        given = self.weights[name]
        if card := to_fetch(name, given):
            typer.echo(f"{name}: fetching its released weights")
            fetch(card)
        return load_encoder(name, weights=given, device=self.device, **self.options)


def weights_by_model(models: list[str], texts: list[str] | None) -> dict[str, str | None]:
    """What each model is loaded with: its own NAME=VALUE, else the value for all, else None; None for those that have
    no weights.

    Raises:
        UserError: a name that is not among the models, two values for one, a missing file, or one file for several.
    """
    own: dict[str, str] = {}
    common: str | None = None
    for text in texts or []:
        name, equals, value = text.partition("=")
        if equals and not Path(text).exists():
            if name not in models or name in own:
                expected = "one value for each" if name in own else f"a name of --model ({', '.join(models)})"
                raise UserError(f"--weights {text}: expected {expected} before the =")
            check_weights([name], value)
            own[name] = value
        elif common is not None:
            raise UserError(f"--weights {common} and --weights {text} are both for all models; say NAME=VALUE")
        else:
            common = text
    rest = [name for name in models if name not in own]
    check_weights(rest, common)
    takers = {name for name in rest if not isinstance(model := find_model(name), Model) or model.takes_weights}
    return own | {name: common if name in takers else None for name in rest}


def open_video(
    video: str,
    data: str | None,
    choice: "Choice",
    *,
    seed: int = 0,
    square_px: int = SQUARE_PX,
    speed_px: float = SPEED_PX,
    path: str = PATH,
) -> tuple["np.ndarray", "np.ndarray | None"]:
    """The chosen frames, uint8 [T, H, W, 3], and of the noise square its mask, bool [T, H, W].

    Args:
        video: as `--video` takes it; what exists as a file or folder is that.
        seed, square_px, speed_px, path: of the noise square.

    Raises:
        UserError: it stands for nothing, or cannot be read.
    """
    from rvm_bench.viz.footage import read_footage, read_images
    from rvm_bench.viz.noise_square import NoiseSquare

    if video == NOISE_SQUARE:
        length = choice.start + (choice.frames - 1) * choice.stride + 1
        stimulus = NoiseSquare(
            frames=length, side_px=choice.side_px or 256, square_px=square_px, speed_px=speed_px, path=path, seed=seed
        )
        frames, truth = stimulus.make()
        return frames[choice.start :: choice.stride], truth[choice.start :: choice.stride]
    if Path(video).exists():
        return read_footage(Path(video), choice), None
    if data is None and not os.environ.get("RVM_BENCH_DATA"):
        raise UserError(
            f"--video {video}: no such file or folder; expected a video, a folder of frames, {NOISE_SQUARE}, or with "
            "--data DIR (or --data demo) the name of a DAVIS sequence"
        )
    from rvm_bench.viz.masks import find_sequence

    _, sequence = find_sequence(video, data)
    return read_images(sequence.frames, choice, video), None
