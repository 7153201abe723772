"""Masks that a run saved with `--save-predictions`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.media.images import read_labels

TASK = "davis"
"""The task that can write its masks."""


def read_masks(folder: Path, video: Any, times: Sequence[int]) -> list[np.ndarray]:
    """Saved masks of a video at these times, uint8 [H, W] each, from FOLDER/<sequence>/<frame>.png.

    Raises:
        UserError: one is missing, unreadable, or of another size than its frame.
    """
    masks = []
    for t in times:
        file = folder / video.name / f"{video.frames[t].stem}.png"
        if not file.is_file():
            raise UserError(
                f"{file} is missing; `rvm-bench run --task {TASK} --save-predictions DIR` writes DIR/{TASK}/MODEL/"
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
