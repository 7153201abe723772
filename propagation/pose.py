"""Poses at native resolution to soft label maps on the feature grid and back, exactly as in the released evaluation.

Source: google-deepmind/representations4d, `colabs/rvm_evaluation_demo.ipynb`, after ajabri/videowalk and Liusifei/UVC.
Coordinates are (x, y) in pixels of the native image, with the centre of its top left pixel at (0, 0). They are scaled
to cells and back without the half-pixel shift of a resize.
"""

import numpy as np
from numpy.typing import ArrayLike

_SIGMA = 0.5
"""Standard deviation of a joint's Gaussian, in cells. It is drawn from 2 cells before its centre to 1 cell after."""


def pose_to_heat(pose: np.ndarray, grid_hw: tuple[int, int], native_hw: tuple[int, int]) -> np.ndarray:
    """Soft labels of frame 0, float32 [h, w, J + 1]: background in channel 0, then a Gaussian of peak 1 per joint.

    Channel 1 + j is exp(-2 d^2) in a stamp of 4 x 4 cells, d the distance from the centre cell, and 0 elsewhere.
    Background is 1 where all joint channels are 0, else 0, so the channels of a cell do not sum to 1. Computed in
    float64.

    Quirks of the released code, kept because the published numbers were made with them: the corners of the stamp are
    truncated toward zero, so a joint less than 1.5 cells from the left or upper border is drawn one cell further in; a
    joint just outside the image may leave only the tail of its Gaussian; further out, its channel is empty.

    pose: joints [J, 2]; JHMDB has J = 15.
    """
    (h, w), (native_h, native_w) = grid_hw, native_hw
    heat = np.zeros((h, w, len(pose) + 1))
    for channel, (x, y) in enumerate(pose * np.array([w / native_w, h / native_h]), 1):
        columns, dx = _stamp(x, w)
        rows, dy = _stamp(y, h)
        heat[rows, columns, channel] = np.exp(-(dx**2 + dy[:, None] ** 2) / (2 * _SIGMA**2))
    heat[..., 0] = ~heat[..., 1:].any(axis=-1)
    return heat.astype(np.float32)


def heat_to_pose(soft: ArrayLike, native_hw: tuple[int, int], *, cells: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Joints float32 [T, J, 2] and their visibility bool [T, J] from soft labels [T, h, w, J + 1].

    A joint is the mean position of the `cells` largest cells (or all) of its channel, weighted by their values. A joint
    whose channel is 0 everywhere is invisible, at (-1, -1).

    Ties are common, since the stamp is symmetric. As in the released code they are left to `torch.topk`, here always on
    the CPU (the published numbers were made on a GPU).

    soft: float array or CPU tensor.
    """
    import torch

    soft_TNJ = torch.as_tensor(soft, dtype=torch.float32)[..., 1:].flatten(1, 2)
    h, w = np.shape(soft)[1:3]
    top = soft_TNJ.topk(min(cells, h * w), dim=1)
    weights, ids = top.values.numpy().astype(np.float64), top.indices.numpy()
    total = weights.sum(axis=1)
    visible = total > 0
    sums = np.stack([(weights * (ids % w)).sum(axis=1), (weights * (ids // w)).sum(axis=1)], axis=-1)
    keypoints = sums / np.where(visible, total, 1)[..., None] * (native_hw[1] / w, native_hw[0] / h)
    return np.where(visible[..., None], keypoints, -1).astype(np.float32), visible


def _stamp(centre: float, size: int) -> tuple[slice, np.ndarray]:
    """The cells of one axis that a joint's stamp covers, and the distance of each from the stamp's centre cell."""
    # int() truncates toward zero, also below zero: this shifts joints near the border.
    first, stop = int(centre - 3 * _SIGMA), int(centre + 3 * _SIGMA + 1)
    cells = np.arange(max(first, 0), max(min(stop, size), 0))
    return slice(max(first, 0), max(min(stop, size), 0)), cells - first - 2.0
