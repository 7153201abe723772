"""Metrics of the propagation tasks in NumPy: J and F (DAVIS), PCK (JHMDB), confusion matrix and mIoU (VIP).

J and F equal davisvideochallenge/davis2017-evaluation, `davis2017/metrics.py` (Perazzi et al., CVPR 2016), to the last
digits; F is faster because it is computed in the bounding box of the two masks.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike


def region_similarity(gt: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """J, float64 [T] in [0, 1]: intersection over union of the masks of each frame; 1 where both are empty.

    gt, pred: masks of one object, [T, H, W], bool or convertible (non-zero is object). Raises ValueError if their
    shapes differ.
    """
    gt, pred = _as_masks(gt, pred)
    intersection = _areas(gt & pred)
    union = _areas(gt) + _areas(pred) - intersection
    return np.where(union == 0, 1.0, intersection / np.maximum(union, 1))


def boundary_f_measure(gt: np.ndarray, pred: np.ndarray, *, tolerance: float = 0.008) -> np.ndarray:
    """F, float64 [T] in [0, 1]: harmonic mean of boundary precision and recall of each frame.

    A boundary pixel is matched if the other boundary is within ceil(tolerance * image diagonal) pixels, Euclidean.
    A frame with neither boundary scores 1, with only one of them 0. A mask that fills the image has no boundary.

    gt, pred: masks of one object, [T, H, W], bool or convertible. Raises ValueError if their shapes differ.
    """
    gt, pred = _as_masks(gt, pred)
    radius_px = math.ceil(tolerance * math.hypot(*gt.shape[1:]))
    offsets = np.arange(-radius_px, radius_px + 1) ** 2
    disc = (offsets[:, None] + offsets <= radius_px**2).astype(np.uint8)
    return np.array([_f_measure(g, p, disc) for g, p in zip(gt, pred, strict=True)], dtype=np.float64)


def confusion(gt: np.ndarray, pred: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrix: pixels by true class (row) and predicted class (column), int64 [classes, classes].

    gt, pred: class ids, integer, of one shape. Only pixels with 0 <= gt < classes count, so 255 is ignored. Matrices of
    several frames or videos add up. Raises ValueError if the shapes differ or the prediction of a pixel that counts is
    not a class. Source: HCPLab-SYSU/ATEN, `evaluate/test_parsing.py`.
    """
    gt, pred = np.asarray(gt), np.asarray(pred)
    if gt.shape != pred.shape:
        raise ValueError(f"labels must have one shape, got {gt.shape} and {pred.shape}")
    counted = (gt >= 0) & (gt < classes)
    rows, columns = gt[counted].astype(np.int64), pred[counted].astype(np.int64)
    wrong = columns[(columns < 0) | (columns >= classes)]
    if wrong.size:
        raise ValueError(f"{wrong[0]} is predicted, expected a class of 0..{classes - 1}")
    return np.bincount(classes * rows + columns, minlength=classes**2).reshape(classes, classes)


def mean_iou(confusion: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean intersection over union in [0, 1], and the IoU of every class, float64 [classes].

    A class that is neither in the truth nor predicted is NaN and not in the mean; the mean over no class is NaN.
    `confusion`: a matrix as `confusion` returns it.
    """
    hits = np.diagonal(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    seen = union > 0
    iou = np.where(seen, hits / np.maximum(union, 1), np.nan)
    return float(iou[seen].mean()) if seen.any() else float("nan"), iou


def _as_masks(gt: np.ndarray, pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    gt, pred = np.asarray(gt), np.asarray(pred)
    if gt.shape != pred.shape or gt.ndim != 3:
        raise ValueError(f"masks must both be [T, H, W] of one shape, got {gt.shape} and {pred.shape}")
    return gt.astype(bool, copy=False), pred.astype(bool, copy=False)


def _areas(masks: np.ndarray) -> np.ndarray:
    """Pixels [T] of each mask. Frame by frame: NumPy counts along axes several times more slowly."""
    return np.array([np.count_nonzero(mask) for mask in masks], dtype=np.int64)


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

    All boundary pixels are in it, so F is the same as in the whole image.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(None), slice(None)
    return slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)


def _boundary(mask: np.ndarray) -> np.ndarray:
    """uint8 map of the pixels that differ from their east, south or south-east neighbour.

    The last row is compared only with the east, the last column only with the south, the last corner with nothing.
    """
    east, south = mask[:, :-1] ^ mask[:, 1:], mask[:-1] ^ mask[1:]
    boundary = np.zeros(mask.shape, dtype=bool)
    boundary[:, :-1] |= east
    boundary[:-1] |= south
    boundary[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return boundary.view(np.uint8)


def pck(
    gt: Sequence[np.ndarray], pred: Sequence[np.ndarray], visible: Sequence[np.ndarray], thresholds: ArrayLike
) -> np.ndarray:
    """Percentage of correct keypoints over videos at each of `thresholds`, float64 [A], an unweighted mean over joints.

    If a joint is visible in no prediction, its percentage and the mean are NaN, as in the official code, which divides
    0 by 0. The arguments are lists with one element per video; see `pose_hits` for their shapes and for what counts.
    Source: the released RVM evaluation, after `eval_pck.py` of Liusifei/UVC.
    """
    videos = [pose_hits(*video, thresholds) for video in zip(gt, pred, visible, strict=True)]
    hits, counted = (np.sum(counts, axis=0) for counts in zip(*videos, strict=True))
    return np.where(np.all(counted > 0), mean_pck(hits, counted), np.nan)


def pose_hits(
    gt: np.ndarray, pred: np.ndarray, visible: np.ndarray, thresholds: ArrayLike, *, box_share: float = 0.6
) -> tuple[np.ndarray, np.ndarray]:
    """How often each joint was right at each threshold, int64 [A, J], and how often it counted, int64 [J].

    A prediction is right if its distance from the truth is at most threshold * `box_share` * the diagonal of the box
    around the true joints. In a frame only joints with a visible prediction count, and only their true positions make
    the box: a joint that was lost is not a miss. Frame 0 does not count. Where the box is a point, every prediction is
    wrong. Whether a true joint is occluded or outside the image does not matter. Counts of several videos add up.

    gt, pred: joints (x, y) in pixels, [T, J, 2]. visible: of the predictions, [T, J]. Raises ValueError if the shapes
    do not fit.
    """
    gt_TJ2, pred_TJ2 = np.asarray(gt, dtype=np.float64), np.asarray(pred, dtype=np.float64)
    visible_TJ = np.asarray(visible, dtype=bool)
    if gt_TJ2.shape != pred_TJ2.shape or gt_TJ2.shape != (*visible_TJ.shape, 2):
        shapes = f"{gt_TJ2.shape}, {pred_TJ2.shape} and {visible_TJ.shape}"
        raise ValueError(f"truth, prediction and visibility must be [T, J, 2], [T, J, 2] and [T, J], got {shapes}")
    gt_TJ2, pred_TJ2, visible_TJ = gt_TJ2[1:], pred_TJ2[1:], visible_TJ[1:]
    seen = visible_TJ[..., None]
    upper, lower = np.where(seen, gt_TJ2, -np.inf).max(axis=1), np.where(seen, gt_TJ2, np.inf).min(axis=1)
    sides_T2 = np.where(visible_TJ.any(axis=1, keepdims=True), upper - lower, 0)
    box_T1 = box_share * np.linalg.norm(sides_T2, axis=-1)[:, None]
    distance_TJ = np.full(visible_TJ.shape, np.inf)
    np.divide(np.linalg.norm(pred_TJ2 - gt_TJ2, axis=-1), box_T1, out=distance_TJ, where=visible_TJ & (box_T1 > 0))
    right_ATJ = distance_TJ <= np.asarray(thresholds, dtype=np.float64)[:, None, None]
    return right_ATJ.sum(axis=1), visible_TJ.sum(axis=0)


def joint_pck(hits: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Percentage of correct keypoints of every joint, float64 [A, J]; NaN for a joint that never counted.

    hits, counted: from `pose_hits`, summed over videos.
    """
    return np.where(counted > 0, 100.0 * hits / np.maximum(counted, 1), np.nan)


def mean_pck(hits: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Mean of `joint_pck` over the joints that ever counted, float64 [A]; 0 where none did."""
    if not counted.any():
        return np.zeros(len(hits))
    return np.array([percent[counted > 0].mean() for percent in joint_pck(hits, counted)])
