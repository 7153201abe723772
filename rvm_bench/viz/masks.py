"""Propagated masks over frames, beside the true ones: made now, or saved by an earlier run."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rvm_bench.api.encoder import Encoder
from rvm_bench.api.registry import find_task
from rvm_bench.api.task import SavesPredictions, Task
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.fetch.locate import data_folder
from rvm_bench.media.drawing import PALETTE
from rvm_bench.media.images import read_labels

TASK = "davis"
"""The task that can write its masks."""
VOID = 255
TINT = 0.6


def find_sequence(name: str, data: str | Path | None) -> tuple[Task, Any]:
    """The task and its video of this name, with `frames` and `masks`, files in time order.

    Args:
        name: of a sequence of the task's data.
        data: as `data.data_folder` takes it.

    Raises:
        UserError: there is no such data or sequence, or the sequence is not whole.
    """
    task = find_task(TASK, data=data)
    dataset = task.open(data_folder(task, data), allow_missing=True)
    for video in dataset.videos:
        if video.name == name:
            return task, video
    for line in dataset.coverage.missing:
        if line.startswith(f"{name}:"):
            raise UserError(line)
    raise unknown_name(f"sequence of {dataset.root}", name, [video.name for video in dataset.videos])


def propagate(task: Task, encoder: Encoder, video: Any) -> tuple[list[np.ndarray], float]:
    """The predicted masks of all frames, uint8 [H, W] each at native size, and the task's score of this video alone."""
    with tempfile.TemporaryDirectory() as folder:
        assert isinstance(task, SavesPredictions)
        task.save_predictions(Path(folder))
        with tqdm(total=video.length, desc=encoder.card.name, unit="frame", leave=False, disable=None) as bar:
            record = task.measure(encoder, video, bar.update)
        return read_masks(Path(folder), video, range(video.length)), task.score([record])[task.metric.key]


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


def tinted(frame: np.ndarray, mask: np.ndarray, outlines: np.ndarray | None = None) -> np.ndarray:
    """uint8 [H, W, 3]: the frame with every object of the mask [H, W] in its colour and outlined in white; what is 0 or
    void stays as it is. With `outlines`, another mask, the white lines are those of that one."""
    mask = np.where(mask == VOID, 0, mask)
    edges = mask if outlines is None else np.where(outlines == VOID, 0, outlines)
    colours = PALETTE[(mask.astype(int) - 1) % len(PALETTE)]
    drawn = np.where((mask > 0)[..., None], (1 - TINT) * frame + TINT * colours, frame).round().astype(np.uint8)
    edge = np.zeros(mask.shape, bool)
    edge[:-1] |= edges[:-1] != edges[1:]
    edge[:, :-1] |= edges[:, :-1] != edges[:, 1:]
    drawn[edge] = 255
    return drawn
