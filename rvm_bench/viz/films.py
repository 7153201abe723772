"""Panels written as the file's suffix says: `.mp4` and `.gif` are films, `.png` is a sheet of a few frames."""

import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rvm_bench.errors import UserError
from rvm_bench.media.drawing import write_png
from rvm_bench.media.frame_sampling import spread
from rvm_bench.viz.panels import Panel, sheet, side_by_side

SUFFIXES = (".mp4", ".gif", ".png")
FILM_HEIGHT_PX, SHEET_HEIGHT_PX = 256, 128
"""Height of the pictures unless asked for."""


def check_suffix(file: Path) -> None:
    """Raises UserError where nothing can be written under this name: to be called before the work, not after it."""
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(f"cannot write {file}: its name must end in {', '.join(SUFFIXES)}")
    if file.is_dir() or (file.parent.exists() and not file.parent.is_dir()):
        raise UserError(f"cannot write {file}: {file if file.is_dir() else file.parent} is in the way")
    if file.suffix.lower() == ".mp4":
        import av

        if "libx264" not in av.codecs_available:
            raise UserError(f"cannot write {file}: this PyAV has no H.264 encoder (libx264); write .gif or .png")


def write_panels(
    file: Path, panels: Sequence[Panel], titles: Sequence[str], *, fps: float, columns: int, height_px: int | None
) -> None:
    """Writes the panels, whole or not at all; the folder is made if need be.

    Args:
        file: its suffix chooses the kind.
        panels: all of one length T.
        titles: [T], what a sheet writes above its columns.
        fps: frames a second of a film; a GIF's are rounded to whole hundredths of a second.
        columns: of a sheet, from the first frame to the last.
        height_px: of each picture; None for `FILM_HEIGHT_PX` or `SHEET_HEIGHT_PX`.
    """
    check_suffix(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    suffix = file.suffix.lower()
    if suffix == ".png":
        times = spread(len(titles), columns)
        chosen = [panel.at(times) for panel in panels]
        write_png(file, sheet(chosen, [titles[t] for t in times], height_px=height_px or SHEET_HEIGHT_PX))
        return
    frames = _frames(panels, height_px or FILM_HEIGHT_PX)
    with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
        unfinished = Path(folder) / f"film{suffix}"
        if suffix == ".gif":
            _write_gif(unfinished, frames, fps)
        else:
            from rvm_bench.media.video.writer import write_video

            write_video(unfinished, frames, fps=Fraction(fps).limit_denominator(1000))
        unfinished.replace(file)


def _frames(panels: Sequence[Panel], height_px: int) -> Iterator[np.ndarray]:
    for t in tqdm(range(len(panels[0].frames)), desc="drawing", unit="frame", leave=False, disable=None):
        yield side_by_side(panels, t, height_px=height_px)


def _write_gif(file: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    """One palette for the whole film: with one for each frame, colours flicker."""
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    times = spread(len(pictures), 8)
    samples = np.concatenate([np.asarray(pictures[t].reduce(2)) for t in times])
    palette = Image.fromarray(samples).quantize(256, dither=Image.Dither.NONE)
    first, *others = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    # Browsers show what lasts less than 2 hundredths of a second at a tenth of its speed.
    duration_ms = max(20, round(100 / fps) * 10)
    first.save(file, save_all=True, append_images=others, duration=duration_ms, loop=0)
