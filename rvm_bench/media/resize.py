"""Frames to the size that a model takes: with antialiasing, uint8 in and out, and crops.

A size rule maps the height and width of a video to those of the frames that come out. `short_side` keeps the aspect
ratio and is followed by a crop; `square` does not keep it and loses nothing at the edges.
"""

import functools
from collections.abc import Callable
from typing import Literal

import numpy as np

from rvm_bench.errors import UserError

SizeRule = Callable[[tuple[int, int]], tuple[int, int]]
"""(height, width) in pixels of a video -> of its resized frames. Those made here can be pickled."""


def short_side(side_px: int) -> SizeRule:
    """The rule that makes the shorter side `side_px` long and keeps the aspect ratio, the longer side rounded down.

    Rounding down is what DMVR `resize_smallest` (and torchvision `Resize`) does.
    """
    return functools.partial(_short_side, _checked(side_px))


def square(side_px: int) -> SizeRule:
    """The rule that makes every frame `side_px` x `side_px`, whatever its aspect ratio (SciVid, TAP-Vid)."""
    return functools.partial(_square, _checked(side_px))


def resize(
    frames: np.ndarray, size_hw: tuple[int, int], mode: Literal["bilinear", "bicubic"] = "bilinear"
) -> np.ndarray:
    """uint8 [T, H, W, 3] -> uint8 [T, h, w, 3] by a filter as wide as the scale, pixel centres aligned.

    The filter is a triangle, or the cubic with a = -0.5 of Pillow and of jax.image.resize. Within one grey level of the
    exact result: the uint8 kernel of torch rounds between its two passes. It is given the frames channels last, as they
    are: for planes the kernel of torch 2.13 fails on one-pixel outputs, and the float kernel repeats the first row
    where the output has one column.
    """
    import torch
    from torch.nn import functional as F

    if frames.shape[1:3] == size_hw:
        return frames
    planes = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    small = F.interpolate(planes, size_hw, mode=mode, align_corners=False, antialias=True)
    return np.ascontiguousarray(small.permute(0, 2, 3, 1).numpy())


def center_crop(frames: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The middle [..., h, w, 3] of frames [..., H, W, 3], as a view; of an odd margin the larger half is cut below and
    to the right.

    Raises:
        UserError: the crop is larger than the frames.
    """
    top, left = (room // 2 for room in _crop_room(frames.shape[-3:-1], size_hw))
    return crop(frames, (top, left), size_hw)


def random_crop(frame_hw: tuple[int, int], size_hw: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Top and left in pixels of a crop that is anywhere in the frame with the same probability.

    Raises:
        UserError: the crop is larger than the frame.
    """
    top, left = (int(rng.integers(room + 1)) for room in _crop_room(frame_hw, size_hw))
    return top, left


def crop(frames: np.ndarray, top_left: tuple[int, int], size_hw: tuple[int, int]) -> np.ndarray:
    """[..., h, w, 3] of frames [..., H, W, 3], as a view; one place for all frames of a clip."""
    (top, left), (height, width) = top_left, size_hw
    return frames[..., top : top + height, left : left + width, :]


def _crop_room(frame_hw: tuple[int, ...], size_hw: tuple[int, int]) -> tuple[int, int]:
    height, width = (frame - size for frame, size in zip(frame_hw, size_hw, strict=True))
    if height < 0 or width < 0:
        raise UserError(
            f"a crop of {size_hw[1]}x{size_hw[0]} px does not fit in frames of {frame_hw[1]}x{frame_hw[0]}; "
            "resize them to a short side at least as long"
        )
    return height, width


def _checked(side_px: int) -> int:
    if side_px < 1:
        raise UserError(f"frames cannot be resized to a side of {side_px} px; it must be at least 1")
    return side_px


def _short_side(side_px: int, size_hw: tuple[int, int]) -> tuple[int, int]:
    short = min(size_hw)
    height, width = (max(side_px, size * side_px // short) for size in size_hw)
    return height, width


def _square(side_px: int, size_hw: tuple[int, int]) -> tuple[int, int]:
    return side_px, side_px
