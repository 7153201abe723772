"""Frames that RVM decodes from a few source frames and 5 % of each frame's own patches.

Sources are consecutive, targets follow the last of them by 4 to 48 frames, as in training (paper section 3 and 4.1).
The delta given to the model counts from the last source, as the paper says; the authors' notebook counts from the first
one, which with 4 sources is 3 more.
"""

from typing import Any

import numpy as np

from rvm_bench.api.encoder import Encoder
from rvm_bench.errors import UserError
from rvm_bench.rvm.reconstruction import reconstruct

SOURCES = 4
DELTA_MIN, DELTA_MAX = 4, 48
HIDDEN = 128
"""Grey level of a patch that the model does not see."""
_TOGETHER = 8


def deltas_within(length: int, count: int | None = None) -> np.ndarray:
    """int64 [TT]: frames from the last source to each target, for `SOURCES` sources at the start of so many frames.

    Args:
        length: of the footage.
        count: of targets, from the nearest to the furthest; None for all.

    Raises:
        UserError: the footage is too short for a single target.
    """
    furthest = min(DELTA_MAX, length - SOURCES)
    if furthest < DELTA_MIN:
        raise UserError(
            f"a reconstruction takes {SOURCES} source frames and a target {DELTA_MIN} or more frames after them, "
            f"{SOURCES + DELTA_MIN} frames; the video gives {length}"
        )
    every = np.arange(DELTA_MIN, furthest + 1)
    return every if count is None else np.unique(np.linspace(DELTA_MIN, furthest, count).round().astype(np.int64))


def patch_of(encoder: Encoder) -> int:
    """The patch of a model that can reconstruct, in pixels; UserError for one that cannot."""
    if encoder.card.family != "rvm":
        raise UserError(f"{encoder.card.name} has no decoder; reconstructions are for RVM models (see `ls models`)")
    return encoder.card.patch


def masked(targets: np.ndarray, hidden: np.ndarray, patch: int) -> np.ndarray:
    """uint8 [TT, H, W, 3] from targets of whole patches: grey where a patch is hidden (float [TT, h, w, 1], 1 = so)."""
    pixels = hidden.repeat(patch, axis=1).repeat(patch, axis=2) > 0
    return np.where(pixels, np.uint8(HIDDEN), targets)


def decode(
    encoder: Encoder, sources: np.ndarray, targets: np.ndarray, deltas: np.ndarray, inds_restore: np.ndarray
) -> tuple[np.ndarray, float]:
    """The decoded targets, uint8 [TT, H, W, 3], and their mean squared error in [0, 1] units, the training loss.

    Args:
        encoder: an RVM of either backend.
        sources: uint8 [T, H, W, 3] of whole patches.
        targets: uint8 [TT, H, W, 3] of the same size.
        deltas: int [TT].
        inds_restore: int [TT, N], as `rvm_bench.rvm.masking.draw` gives it.
    """
    parts = []
    for start in range(0, len(targets), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        found: Any = reconstruct(
            encoder, sources[None], targets[None, part], deltas[None, part], inds_restore[None, part]
        )
        parts.append(np.asarray(found.cpu() if hasattr(found, "cpu") else found, np.float32)[0])
    decoded = np.concatenate(parts)
    error = float(np.mean((decoded - targets.astype(np.float32) / 255) ** 2))
    return np.rint(np.clip(decoded, 0, 1) * 255).astype(np.uint8), error
