"""Frames of a video file or of a folder of images, chosen by number and brought to a size that patches fill."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.media.images import read_rgb
from rvm_bench.media.resize import SizeRule, resize, short_side

IMAGE_SUFFIXES = frozenset([".bmp", ".jpeg", ".jpg", ".png", ".webp"])
PATCH_PX = 16
"""Most encoders' patch: the long side of the frames is a multiple of it."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which frames of a video are looked at, and how large.

    Attributes:
        frames: at most so many.
        start: number of the first one, from 0.
        stride: from one to the next.
        side_px: the short side; None keeps the video's size.
    """

    frames: int = 64
    start: int = 0
    stride: int = 1
    side_px: int | None = 256

    def __post_init__(self) -> None:
        for name, least in (("frames", 1), ("start", 0), ("stride", 1), ("side_px", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{name} is {value}; it must be at least {least}")

    @property
    def rule(self) -> SizeRule | None:
        """The size that frames are brought to."""
        return None if self.side_px is None else functools.partial(_whole_patches, short_side(self.side_px))

    def numbers(self, length: int, where: str) -> list[int]:
        """Numbers of the chosen frames of a video of `length` frames; UserError where there is none."""
        if self.start >= length:
            raise UserError(f"{where} has {length} frames; there is none from frame {self.start} on")
        return list(range(self.start, min(length, self.start + self.frames * self.stride), self.stride))


def read_footage(place: Path, choice: Choice) -> np.ndarray:
    """The chosen frames, uint8 RGB [T, H, W, 3], of a video file or a folder of images.

    The images of a folder are taken in the order of the numbers in their names.

    Raises:
        UserError: nothing is there, it cannot be read, or it has no frame where the choice begins.
    """
    if place.is_dir():
        return read_images(folder_images(place), choice, str(place))
    from rvm_bench.media.video.reader import count_frames, read_frames

    numbers = choice.numbers(count_frames(place), str(place))
    return read_frames(place, numbers, resize=choice.rule, threads=0)


def folder_images(folder: Path) -> list[Path]:
    """The images of a folder in the order of the numbers in their names, or UserError where it holds none."""
    files = [f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith(".")]
    if not files:
        raise UserError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}); expected a folder of frames")
    return sorted(files, key=lambda file: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", file.name)])


def read_images(files: Sequence[Path], choice: Choice, where: str) -> np.ndarray:
    """The chosen ones of these images, uint8 [T, H, W, 3]; UserError where their sizes differ."""
    first, frames = None, []
    for number in choice.numbers(len(files), where):
        frame = read_rgb(files[number]).copy()  # torch warns of arrays that cannot be written to
        first = frame.shape if first is None else first
        if frame.shape != first:
            raise UserError(
                f"{files[number]} is {frame.shape[1]}x{frame.shape[0]} px, the frames before it are "
                f"{first[1]}x{first[0]}; all frames of a video must have one size"
            )
        frames.append(resize(frame[None], choice.rule(frame.shape[:2]))[0] if choice.rule else frame)
    return np.stack(frames)


def _whole_patches(rule: SizeRule, size_hw: tuple[int, int]) -> tuple[int, int]:
    """The rule's size with the long side at the nearest multiple of `PATCH_PX`, so that little of it is lost."""
    height, width = rule(size_hw)
    long = max(PATCH_PX, round(max(height, width) / PATCH_PX) * PATCH_PX)
    if height == width:
        return height, width
    return (long, width) if height > width else (height, long)
