"""Propagated masks over frames, beside the true ones: made now, or saved by an earlier run."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rvm_bench.api.encoder import Encoder
from rvm_bench.api.registry import find_task
from rvm_bench.api.task import SavesPredictions, Task
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.fetch.locate import data_folder
from rvm_bench.runs.predictions import TASK, read_masks


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
