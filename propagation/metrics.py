"""The two DAVIS measures: region similarity J and boundary F, per frame, as the official evaluator computes them.

Source: davisvideochallenge/davis2017-evaluation, `davis2017/metrics.py` (Perazzi et al., CVPR 2016). Same digits; the
boundary measure is cheaper because it looks only at the box around the two masks.
"""

import math

import cv2
import numpy as np


def region_similarity(gt: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """J, float64 [T] in [0, 1]: intersection over union of the masks of each frame; 1 where both are empty.

    gt, pred: masks of one object, [T, H, W], bool or convertible (non-zero is object). Raises ValueError if their
    shapes differ.
    """
    gt, pred = _as_masks(gt, pred)
    intersection = np.count_nonzero(gt & pred, axis=(1, 2))
    union = np.count_nonzero(gt | pred, axis=(1, 2))
    return np.where(union == 0, 1.0, intersection / np.maximum(union, 1))


def boundary_f_measure(gt: np.ndarray, pred: np.ndarray, *, tolerance: float = 0.008) -> np.ndarray:
    """F, float64 [T] in [0, 1]: harmonic mean of boundary precision and recall of each frame.

    A boundary pixel is matched if the other boundary comes within a disc of radius ceil(tolerance * diagonal) pixels.
    A frame with neither boundary scores 1, with just one of them 0. A mask that fills the image has no boundary.

    gt, pred: masks of one object, [T, H, W], bool or convertible. Raises ValueError if their shapes differ.
    """
    gt, pred = _as_masks(gt, pred)
    radius_px = math.ceil(tolerance * math.hypot(*gt.shape[1:]))
    offsets = np.arange(-radius_px, radius_px + 1) ** 2
    disc = (offsets[:, None] + offsets <= radius_px**2).astype(np.uint8)
    return np.array([_f_measure(g, p, disc) for g, p in zip(gt, pred, strict=True)], dtype=np.float64)


def _as_masks(gt: np.ndarray, pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    gt, pred = np.asarray(gt), np.asarray(pred)
    if gt.shape != pred.shape or gt.ndim != 3:
        raise ValueError(f"masks must both be [T, H, W] of one shape, got {gt.shape} and {pred.shape}")
    return gt.astype(bool, copy=False), pred.astype(bool, copy=False)


def _f_measure(gt: np.ndarray, pred: np.ndarray, disc: np.ndarray) -> float:
    box = _box_around(gt | pred)
    gt_boundary, pred_boundary = _boundary(gt[box]), _boundary(pred[box])
    n_gt, n_pred = np.count_nonzero(gt_boundary), np.count_nonzero(pred_boundary)
    if n_gt == 0 or n_pred == 0:
        return float(n_gt == n_pred)
    precision = np.count_nonzero(pred_boundary & cv2.dilate(gt_boundary, disc)) / n_pred
    recall = np.count_nonzero(gt_boundary & cv2.dilate(pred_boundary, disc)) / n_gt
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def _box_around(mask: np.ndarray) -> tuple[slice, slice]:
    """The mask's bounding box with a margin of one pixel, within the image; the whole image if the mask is empty.

    The margin holds every boundary pixel, and matching looks only at boundary pixels, so nothing outside the box
    counts.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(None), slice(None)
    return slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)


def _boundary(mask: np.ndarray) -> np.ndarray:
    """uint8 map of the pixels that differ from their east, south or south-east neighbour, where there is one.

    On the last row only the east one is looked at, on the last column only the south one, in the last corner none.
    """
    east, south = mask[:, :-1] ^ mask[:, 1:], mask[:-1] ^ mask[1:]
    boundary = np.zeros(mask.shape, dtype=bool)
    boundary[:, :-1] |= east
    boundary[:-1] |= south
    boundary[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return boundary.view(np.uint8)
