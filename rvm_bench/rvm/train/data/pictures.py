"""Pictures of what a model reconstructs."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rvm_bench.rvm.masking import mask_from_permutation

HIDDEN = 114  # grey of hidden patches
GAP_PX = 2


def strip(
    batch: Mapping[str, Any], decoded: np.ndarray, patch: int, mask_ratio: float, *, clips: int = 6, targets: int = 2
) -> np.ndarray:
    """uint8 RGB [h, w, 3]: a row for each of the first clips, with all its sources, and then, for each of its first
    targets, what the model sees of it, what it makes of it, and the truth.

    Args:
        batch: source [B, T, S, S, 3] and target [B, TT, S, S, 3] uint8, inds_restore [B, TT, N].
        decoded: [B, TT, S, S, 3] in [0, 1] units.
        patch: side of a patch in pixels.
        mask_ratio: share of a target's patches that is hidden.
        clips, targets: how many are shown, at most.
    """
    target = np.asarray(batch["target"])
    grid = target.shape[2] // patch, target.shape[3] // patch
    hidden = mask_from_permutation(np.asarray(batch["inds_restore"]), grid, mask_ratio) > 0
    hidden = hidden.repeat(patch, axis=2).repeat(patch, axis=3)
    seen = np.where(hidden, np.uint8(HIDDEN), target)
    made = np.clip(decoded * 255 + 0.5, 0, 255).astype(np.uint8)
    rows = []
    for clip in range(min(clips, len(target))):
        frames = list(np.asarray(batch["source"])[clip])
        for index in range(min(targets, target.shape[1])):
            frames += [seen[clip, index], made[clip, index], target[clip, index]]
        rows.append(np.concatenate([_framed(frame) for frame in frames], axis=1))
    return np.concatenate(rows)


def _framed(frame: np.ndarray) -> np.ndarray:
    return np.pad(frame, ((GAP_PX, GAP_PX), (GAP_PX, GAP_PX), (0, 0)), constant_values=255)
