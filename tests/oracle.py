"""An oracle encoder: its features encode the truth of a propagation task's videos.

For tests only. Its score shows what is possible on the task's grid for any encoder of this patch size.

    load_encoder("tests/oracle.py:Oracle", task="jhmdb", data="path/to/jhmdb")
"""

import hashlib
from pathlib import Path

import numpy as np
import torch

from propagation.datasets.sequences import MaskedVideo
from propagation.labels import mask_to_heat, pose_to_heat
from propagation.tasks.base import resized
from rvm_bench import Encoder, EncoderCard
from rvm_bench.api.card import Provenance
from rvm_bench.api.registry import find_task
from rvm_bench.api.task import Task
from rvm_bench.errors import UserError
from rvm_bench.media.images import read_labels

PATCH = 16
STAMP = 4
"""Cells along a side of the stamp that `pose_to_heat` draws around a joint."""
TAGS, TAG_SIZE = 8, 0.02
"""Channels and size of a noise that separates cells with the same labels. Without it nearly all cells tie, which
propagation resolves exactly but slowly."""


class Oracle(Encoder):
    """Looks a frame up by its pixels, as resized by the task, and returns a code of its labels.

    Two cells with the same labels have nearly parallel features, so nearest neighbours find the right labels where
    frame 0 has them. The labels are those that the task would give the frame as frame 0: for masks the share of each
    id at the centre of the cell, for poses the cell's place in the stamp of each joint.
    """

    card = EncoderCard(name="oracle", family="oracle", patch=PATCH, width=15 * STAMP**2 + 1 + TAGS, causal=True)

    def __init__(self, task: Task | str, data: str | Path) -> None:
        task = find_task(task) if isinstance(task, str) else task
        self.weights = Provenance(kind="none")
        self.codes: dict[str, np.ndarray] = {}
        for video in task.open(Path(data)).videos:
            frames = resized(video.frames, task.protocol)
            grid_hw = self.grid(*frames.shape[1:3])
            for t in range(video.length):
                (frame,) = frames[t : t + 1]
                if isinstance(video, MaskedVideo):
                    code_hwC = _code_of_mask(read_labels(video.masks[t]), grid_hw, frames.shape[1:3])
                else:
                    code_hwC = _code_of_pose(video.poses[t], grid_hw, video.native_hw)
                self.codes[_key(frame)] = code_hwC

    def stream(self, video):
        for t in range(video.shape[0]):
            (frame,) = video[t : t + 1]
            if (key := _key(frame)) not in self.codes:
                raise UserError(f"frame {t} is in none of the videos whose truth the oracle has")
            code_hwC = self.codes[key]
            features = np.zeros((1, *code_hwC.shape[:2], self.card.width), np.float32)
            features[0, ..., : code_hwC.shape[-1]] = code_hwC
            tags = np.random.default_rng(int(key[:16], 16)).standard_normal((*code_hwC.shape[:2], TAGS))
            features[0, ..., -TAGS:] = TAG_SIZE * np.linalg.norm(code_hwC, axis=-1, keepdims=True) * tags
            yield torch.from_numpy(features).to(self.device)


def _code_of_mask(mask: np.ndarray, grid_hw: tuple[int, int], input_hw: tuple[int, int]) -> np.ndarray:
    """float32 [h, w, largest id + 1]: the share of each id at the centre of a cell."""
    heat_hwK, ids = mask_to_heat(mask, grid_hw, input_hw)
    code_hwC = np.zeros((*grid_hw, ids.max() + 1), np.float32)
    code_hwC[..., ids] = heat_hwK
    return code_hwC


def _code_of_pose(pose: np.ndarray, grid_hw: tuple[int, int], native_hw: tuple[int, int]) -> np.ndarray:
    """float32 [h, w, 1 + J * 16]: the background, then for every joint a channel for each cell of its stamp.

    A cell has the label's value in the channel of its own place in the stamp, so that the centre of a joint and its
    surroundings differ in direction, which is all that normalisation leaves of a feature. Surroundings that were hidden
    by another joint in frame 0 are more similar to the background than to that joint.
    """
    heat_hwJ = pose_to_heat(pose, grid_hw, native_hw)
    rows, columns = np.indices(grid_hw)
    code_hwJP = np.zeros((*grid_hw, len(pose), STAMP**2), np.float32)
    for joint in range(len(pose)):
        values_hw = heat_hwJ[..., 1 + joint]
        if values_hw.any():
            top, left = (int(i) for i in np.unravel_index(values_hw.argmax(), grid_hw))
            place_hw = (rows - top) % STAMP * STAMP + (columns - left) % STAMP
            np.put_along_axis(code_hwJP[:, :, joint], place_hw[..., None], values_hw[..., None], axis=-1)
    unclaimed_hw1 = 1 - heat_hwJ[..., 1:].max(axis=-1, keepdims=True)
    return np.concatenate([unclaimed_hw1, code_hwJP.reshape(*grid_hw, -1)], axis=-1)


def _key(frame: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(frame).data).hexdigest()
