"""Augmentation of training clips: one flip for the clip, and a random resized crop for each frame or for the clip.

Source of the constants: the paper's supplement, section 7.
"""

import math
from typing import Literal

import numpy as np

from rvm_bench.media.resize import crop, resize

FLIP_PROBABILITY = 0.5
CROP_SCALE = (0.3, 1.0)
"""Least and greatest area of a crop, in shares of the frame's."""
CROP_RATIO = (0.75, 1.25)
"""Least and greatest width of a crop, in units of its height."""

CropPer = Literal["frame", "clip"]
"""The paper crops each frame by itself ("frame-level"), so that targets are shown zoomed and moved; "clip" keeps what
moves and what stands still apart."""

_TRIES = 10


def augment(
    frames: np.ndarray,
    size_px: int,
    rng: np.random.Generator,
    *,
    crop_per: CropPer = "frame",
    least_area: float = CROP_SCALE[0],
) -> np.ndarray:
    """uint8 [K, S, S, 3] of frames uint8 [K, H, W, 3], S being `size_px`: cropped, resized and perhaps mirrored.

    `least_area` is the least area of a crop, in shares of the frame's.

    The numbers drawn from `rng` depend on K, H and W and not on the pixels.
    """
    flipped = rng.random() < FLIP_PROBABILITY
    size_hw = (frames.shape[1], frames.shape[2])
    if crop_per == "clip":
        box = draw_crop(size_hw, rng, least_area)
        resized = resized_crop(frames, box, size_px)
    else:
        boxes = [draw_crop(size_hw, rng, least_area) for _ in frames]
        resized = np.concatenate(
            [resized_crop(frames[k : k + 1], box, size_px) for k, box in enumerate(boxes)],
        )
    return np.ascontiguousarray(resized[:, :, ::-1]) if flipped else resized


def draw_crop(
    size_hw: tuple[int, int], rng: np.random.Generator, least_area: float = CROP_SCALE[0]
) -> tuple[int, int, int, int]:
    """Top, left, height and width in pixels of a random crop of a frame of `size_hw`.

    The share of the area is uniform from `least_area` to `CROP_SCALE[1]`, the logarithm of the ratio uniform within
    `CROP_RATIO`, the place uniform; the ratio of the frame itself has no part in it. A draw that does not fit is made
    again; after ten, as in frames much longer than high, it is the largest crop in the middle whose ratio is allowed.
    The paper names the ranges only; the rule is that of torchvision's `RandomResizedCrop`.
    """
    height, width = size_hw
    for _ in range(_TRIES):
        area = height * width * rng.uniform(least_area, CROP_SCALE[1])
        ratio = math.exp(rng.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])))
        crop_h, crop_w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < crop_h <= height and 0 < crop_w <= width:
            top, left = int(rng.integers(height - crop_h + 1)), int(rng.integers(width - crop_w + 1))
            return top, left, crop_h, crop_w
    crop_h = min(height, max(1, int(width / CROP_RATIO[0])))
    crop_w = min(width, max(1, int(height * CROP_RATIO[1])))
    return (height - crop_h) // 2, (width - crop_w) // 2, crop_h, crop_w


def resized_crop(frames: np.ndarray, box: tuple[int, int, int, int], size_px: int) -> np.ndarray:
    """uint8 [K, S, S, 3]: the crop (top, left, height, width) of frames uint8 [K, H, W, 3], resized.

    Bicubic, see `rvm_bench.media.resize.resize`. Pixels outside the crop have no part in it.
    """
    top, left, height, width = box
    return resize(crop(frames, (top, left), (height, width)), (size_px, size_px), "bicubic")
