"""Masks saved by `run --save-predictions`: FOLDER/<sequence>/<frame>.png, label PNGs at native size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.media.images import read_labels

TASK = "davis"
"""The task whose videos and masks `viz masks` shows."""


def mask_file(folder: Path, video: Any, t: int) -> Path:
    """The file of the mask of frame t. `video` has a `name` and `frames`, its files in time order."""
    return folder / video.name / f"{video.frames[t].stem}.png"


def read_masks(folder: Path, video: Any, times: Sequence[int], *, task: str = TASK) -> list[np.ndarray]:
    """Saved masks of a video at these times, uint8 [H, W] each.

    Args:
        folder: DIR/TASK/MODEL of `run --save-predictions DIR`.
        video: as in `mask_file`, with `native_hw`, the height and width of its frames in pixels.
        times: frame numbers from 0.
        task: that saved them, for the error message.

    Raises:
        UserError: a mask is missing, damaged, or of another size than its frame.
    """
    masks = []
    for t in times:
        file = mask_file(folder, video, t)
        if not file.is_file():
            raise UserError(
                f"{file} is missing; `rvm-bench run --task {task} --save-predictions DIR` writes DIR/{task}/MODEL/"
                f"{video.name}/*.png, and --predictions DIR reads them"
            )
        mask = read_labels(file)
        if mask.shape != tuple(video.native_hw):
            raise UserError(
                f"{file} is {mask.shape[1]}x{mask.shape[0]} px, its frame {video.native_hw[1]}x{video.native_hw[0]}; "
                "are these predictions for another copy of the data?"
            )
        masks.append(mask)
    return masks
