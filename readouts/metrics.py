"""Metrics of readouts, in plain numpy: of classes, of depth, of point tracks and of boxes."""

from collections.abc import Iterator

import numpy as np

EPSILON_M = 1e-6
THRESHOLDS_PX = (1, 2, 4, 8, 16)
"""Of TAP-Vid, in pixels of a picture of 256 x 256 (tapnet, `tapnet/tapvid/evaluation_datasets.py`)."""


def top1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples in 0..1 whose largest logit (or probability) is that of their label; ties go to the first.

    Args:
        logits: float [N, K].
        labels: int [N], in 0..K-1.

    Raises:
        ValueError: shapes that do not fit, or no example.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits {logits.shape} and labels {labels.shape}; expected [N, K] and [N], N >= 1")
    return float(np.mean(logits.argmax(1) == labels))


def abs_rel(pred: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean of |pred - target| / (target + 1e-6) over all valid pixels, of any shape, all in metres.

    One global mean: no mean per image, no scale alignment, no clipping. The paper prints ten times this number.
    Source: kauldron, `contrib/metrics/depth_estimation.py`.

    Raises:
        ValueError: shapes that differ, or no valid pixel.
    """
    total, count = abs_rel_sums(pred, target, mask)
    if not count:
        raise ValueError("no valid pixel")
    return total / count


def abs_rel_sums(pred: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[float, int]:
    """The sum over valid pixels, in float64, and their number; sums of videos add up."""
    found, truth = _valid(pred, target, mask)
    return float((np.abs(found - truth) / (truth + EPSILON_M)).sum()), len(truth)


def delta1_count(pred: np.ndarray, target: np.ndarray, mask: np.ndarray) -> int:
    """Valid pixels whose prediction and truth differ by a factor below 1.25; shapes as in `abs_rel`."""
    found, truth = _valid(pred, target, mask)
    found = np.maximum(found, EPSILON_M)
    return int((np.maximum(found / truth, truth / found) < 1.25).sum())


def tapvid(
    query_points_tyx: np.ndarray,
    gt_occluded: np.ndarray,
    gt_tracks_xy: np.ndarray,
    pred_occluded: np.ndarray,
    pred_tracks_xy: np.ndarray,
    mode: str = "first",
    *,
    query_mask: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The metrics of TAP-Vid, float64 [B] in 0..1 each, one number per video; a benchmark is their plain mean.

    `occlusion_accuracy`; for each of `THRESHOLDS_PX` k `pts_within_k` (share of the visible points that are found less
    than k px away) and `jaccard_k` (points found and said to be visible, over the visible ones and the false alarms);
    `average_pts_within_thresh` and `average_jaccard` over the thresholds. A share of nothing is NaN: the Jaccard of a
    video where no point is visible and none is said to be, `pts_within` where no point is visible.

    Args:
        query_points_tyx: [B, N, 3]; only the frame number is used, rounded.
        gt_occluded, pred_occluded: bool [B, N, T].
        gt_tracks_xy, pred_tracks_xy: [B, N, T, 2] in pixels of a picture of 256 x 256, whatever its own size.
        mode: "first" counts the frames after the query's; "strided" all but the query's.
        query_mask: [B, N], zero for queries that only fill the array up; None counts all.

    Raises:
        ValueError: shapes that do not fit, a query's frame outside the video, or an unknown mode.

    Source: `compute_tapvid_metrics`, tapnet, `tapnet/tapvid/evaluation_datasets.py`.
    """
    counted = _counted(query_points_tyx, gt_occluded, gt_tracks_xy, pred_occluded, pred_tracks_xy, mode, query_mask)
    visible, seen = ~np.asarray(gt_occluded, bool), ~np.asarray(pred_occluded, bool)
    positives = (visible & counted).sum((1, 2))
    scores = {"occlusion_accuracy": _share(((visible == seen) & counted).sum((1, 2)), counted.sum((1, 2)))}
    for threshold, within in _within(gt_tracks_xy, pred_tracks_xy):
        found = within & visible & counted
        false = (seen & counted & ~found).sum((1, 2))
        scores[f"pts_within_{threshold}"] = _share(found.sum((1, 2)), positives)
        scores[f"jaccard_{threshold}"] = _share((found & seen).sum((1, 2)), positives + false)
    for mean, part in (("average_jaccard", "jaccard"), ("average_pts_within_thresh", "pts_within")):
        scores[mean] = np.mean([scores[f"{part}_{threshold}"] for threshold in THRESHOLDS_PX], axis=0)
    return scores


def kauldron_average_jaccard(
    query_points_tyx: np.ndarray,
    gt_occluded: np.ndarray,
    gt_tracks_xy: np.ndarray,
    pred_occluded: np.ndarray,
    pred_tracks_xy: np.ndarray,
    mode: str = "strided",
    *,
    query_mask: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(average Jaccard float64 [B] in 0..1, whether the video counts bool [B]), as the group's trainer has them.

    Arguments and errors are those of `tapvid`. The denominator has 1e-8 added, and a video where no point is visible
    and none is said to be has 0 and does not count: the score is the mean over the videos that do. With every query on
    frame 0 (what the trainer takes where it is given no query frames) both modes are one.

    Source: `TapAverageJaccard`, kauldron, `contrib/metrics/point_tracking.py`.
    """
    counted = _counted(query_points_tyx, gt_occluded, gt_tracks_xy, pred_occluded, pred_tracks_xy, mode, query_mask)
    visible, seen = ~np.asarray(gt_occluded, bool) & counted, ~np.asarray(pred_occluded, bool) & counted
    found = [(within & visible & seen).sum((1, 2)) for _, within in _within(gt_tracks_xy, pred_tracks_xy)]
    positives, alarms = visible.sum((1, 2)), seen.sum((1, 2))
    return np.mean([hits / (positives + alarms - hits + 1e-8) for hits in found], axis=0), positives + alarms > 0


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union, float64 [...] in 0..1, of boxes [..., 4] (ymin, xmin, ymax, xmax), each with its own.

    A box whose extent is not positive is empty; two empty boxes have 0. The leading axes are broadcast.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    shared = np.concatenate([np.maximum(a, b)[..., :2], np.minimum(a, b)[..., 2:]], axis=-1)
    intersection = _area(shared)
    union = _area(a) + _area(b) - intersection
    return intersection / np.where(union > 0, union, 1)


def box_iou_sums(
    pred: np.ndarray, target: np.ndarray, present: np.ndarray, *, first_frame: int = 1
) -> tuple[float, int]:
    """The sum of `box_iou` over present boxes and their number; sums of videos add up.

    Args:
        pred: [..., T, Q, 4] (ymin, xmin, ymax, xmax) of a picture in [0, 1]; raw outputs of a head, so the two ends of
            a side are put in order and cut to the picture here.
        target: the same; boxes that are absent may hold anything.
        present: bool [..., T, Q].
        first_frame: the first that counts. The official rule is unknown; frame 0 is the query, so it is left out.

    Raises:
        ValueError: shapes that do not fit.
    """
    pred, target, present = np.asarray(pred), np.asarray(target), np.asarray(present, bool)
    if pred.ndim < 3 or pred.shape[-1] != 4 or not pred.shape == target.shape == (*present.shape, 4):
        raise ValueError(
            f"pred {pred.shape}, target {target.shape}, present {present.shape}; expected [..., T, Q, 4] twice and "
            "[..., T, Q]"
        )
    present = present[..., first_frame:, :]
    found, truth = pred[..., first_frame:, :, :][present], target[..., first_frame:, :, :][present]
    ends = np.sort(found.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    return float(box_iou(ends.clip(0, 1), truth).sum()), len(truth)


def mean_box_iou(pred: np.ndarray, target: np.ndarray, present: np.ndarray, *, first_frame: int = 1) -> float:
    """Mean IoU in 0..1 over all present boxes of all frames but the query's; arguments as in `box_iou_sums`.

    Source: the paper says "mean Intersection-over-Union"; that every box of every frame weighs the same is ours.

    Raises:
        ValueError: shapes that do not fit, or no present box.
    """
    total, count = box_iou_sums(pred, target, present, first_frame=first_frame)
    if not count:
        raise ValueError("no present box")
    return total / count


def _counted(
    query_points_tyx: np.ndarray,
    gt_occluded: np.ndarray,
    gt_tracks_xy: np.ndarray,
    pred_occluded: np.ndarray,
    pred_tracks_xy: np.ndarray,
    mode: str,
    query_mask: np.ndarray | None,
) -> np.ndarray:
    """Which points of which frames count, bool [B, N, T], once the shapes are found to fit."""
    shape = np.shape(gt_occluded)
    queries = np.asarray(query_points_tyx)
    fits = len(shape) == 3 and queries.shape == (*shape[:2], 3) and np.shape(pred_occluded) == shape
    if not fits or not np.shape(gt_tracks_xy) == np.shape(pred_tracks_xy) == (*shape, 2):
        raise ValueError(
            f"queries {queries.shape}, occluded {shape} and {np.shape(pred_occluded)}, tracks "
            f"{np.shape(gt_tracks_xy)} and {np.shape(pred_tracks_xy)}; expected [B, N, 3], [B, N, T], [B, N, T, 2]"
        )
    asked = np.ones(shape[:2], bool) if query_mask is None else np.asarray(query_mask).astype(bool)
    if asked.shape != shape[:2]:
        raise ValueError(f"query_mask {asked.shape}; expected {shape[:2]}")
    start = np.round(np.where(asked, queries[..., 0], 0))[..., None]
    if not ((start >= 0) & (start < shape[2])).all():
        raise ValueError(f"a query is on a frame outside of 0..{shape[2] - 1}")
    if mode not in ("first", "strided"):
        raise ValueError(f"mode is {mode!r}; expected 'first' or 'strided'")
    frames = np.arange(shape[2])
    return (frames > start if mode == "first" else frames != start) & asked[..., None]


def _within(gt_tracks_xy: np.ndarray, pred_tracks_xy: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each threshold in pixels with whether the points are closer than it."""
    squares = np.square(np.asarray(pred_tracks_xy, np.float64) - np.asarray(gt_tracks_xy, np.float64)).sum(-1)
    for threshold in THRESHOLDS_PX:
        yield threshold, squares < threshold**2


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def _valid(pred: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth of the valid pixels, float64 [N]."""
    pred, target, mask = np.asarray(pred), np.asarray(target), np.asarray(mask, bool)
    if not pred.shape == target.shape == mask.shape:
        raise ValueError(f"pred {pred.shape}, target {target.shape} and mask {mask.shape} must have one shape")
    return pred[mask].astype(np.float64), target[mask].astype(np.float64)
