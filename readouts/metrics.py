"""Metrics of readouts, in plain numpy: of classes, of depth, of point tracks and of boxes."""

import numpy as np

EPSILON_M = 1e-6
THRESHOLDS_PX = (1, 2, 4, 8, 16)
"""Of TAP-Vid, in pixels of a frame of 256 x 256 (tapnet, `tapnet/tapvid/evaluation_datasets.py`)."""


def top1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of examples, 0..1, whose largest logit (or probability) is that of the label; the first of equal ones.

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

    One mean over all pixels: no mean per image, no scale alignment, no clipping. The paper prints ten times the value.
    Source: kauldron, `contrib/metrics/depth_estimation.py`.

    Raises:
        ValueError: shapes that differ, or no valid pixel.
    """
    total, count = abs_rel_sums(pred, target, mask)
    if not count:
        raise ValueError("no valid pixel")
    return total / count


def abs_rel_sums(pred: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[float, int]:
    """The sum over valid pixels, in float64, and their number; both are additive over videos."""
    predicted, truth = _valid(pred, target, mask)
    return float((np.abs(predicted - truth) / (truth + EPSILON_M)).sum()), len(truth)


def delta1_count(pred: np.ndarray, target: np.ndarray, mask: np.ndarray) -> int:
    """Number of valid pixels whose prediction and truth differ by a factor below 1.25; shapes as in `abs_rel`."""
    predicted, truth = _valid(pred, target, mask)
    predicted = np.maximum(predicted, EPSILON_M)
    return int((np.maximum(predicted / truth, truth / predicted) < 1.25).sum())


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
    """The metrics of TAP-Vid, float64 [B] in 0..1 each, one number per video; a benchmark reports their mean.

    `occlusion_accuracy`; for each k of `THRESHOLDS_PX`, `pts_within_k` (fraction of visible points predicted less than
    k px away) and `jaccard_k` (true positives over true positives, false positives and false negatives);
    `average_pts_within_thresh` and `average_jaccard` over the thresholds. A ratio with denominator 0 is NaN: the
    Jaccard of a video without visible and without predicted points, `pts_within` where no point is visible.

    Args:
        query_points_tyx: [B, N, 3]; only the frame number is used, rounded.
        gt_occluded, pred_occluded: bool [B, N, T].
        gt_tracks_xy, pred_tracks_xy: [B, N, T, 2] in pixels of a frame rescaled to 256 x 256.
        mode: "first" evaluates the frames after the query's; "strided" all but the query's.
        query_mask: [B, N], zero for padding; None evaluates all queries.

    Raises:
        ValueError: shapes that do not fit, a query's frame outside the video, or an unknown mode.

    Source: `compute_tapvid_metrics`, tapnet, `tapnet/tapvid/evaluation_datasets.py`.
    """
    evaluated = _evaluated(query_points_tyx, gt_occluded, gt_tracks_xy, pred_occluded, pred_tracks_xy, mode, query_mask)
    visible, predicted = ~np.asarray(gt_occluded, bool), ~np.asarray(pred_occluded, bool)
    positives = (visible & evaluated).sum((1, 2))
    scores = {"occlusion_accuracy": _ratio(((visible == predicted) & evaluated).sum((1, 2)), evaluated.sum((1, 2)))}
    squares = np.square(np.asarray(pred_tracks_xy, np.float64) - np.asarray(gt_tracks_xy, np.float64)).sum(-1)
    for threshold in THRESHOLDS_PX:
        within = (squares < threshold**2) & visible & evaluated
        # A visible point predicted too far away is both missed and a false positive.
        false_positives = (predicted & evaluated & ~within).sum((1, 2))
        scores[f"pts_within_{threshold}"] = _ratio(within.sum((1, 2)), positives)
        scores[f"jaccard_{threshold}"] = _ratio((within & predicted).sum((1, 2)), positives + false_positives)
    for mean, part in (("average_jaccard", "jaccard"), ("average_pts_within_thresh", "pts_within")):
        scores[mean] = np.mean([scores[f"{part}_{threshold}"] for threshold in THRESHOLDS_PX], axis=0)
    return scores


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union, float64 [...] in 0..1, of corresponding boxes [..., 4] (ymin, xmin, ymax, xmax).

    A box whose extent is not positive is empty; the IoU of two empty boxes is 0. Leading axes are broadcast.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    intersection = _area(np.concatenate([np.maximum(a, b)[..., :2], np.minimum(a, b)[..., 2:]], axis=-1))
    union = _area(a) + _area(b) - intersection
    return intersection / np.where(union > 0, union, 1)


def box_iou_sums(
    pred: np.ndarray, target: np.ndarray, present: np.ndarray, *, first_frame: int = 1
) -> tuple[float, int]:
    """The sum of `box_iou` over present boxes and their number; both are additive over videos.

    Args:
        pred: [..., T, Q, 4] (ymin, xmin, ymax, xmax) of a frame in [0, 1]: raw outputs of a head, whose sides are
            sorted and clipped to the frame here.
        target: the same; absent boxes may hold anything.
        present: bool [..., T, Q].
        first_frame: the first frame that is evaluated. The official rule is not published; frame 0 is the query.

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
    predicted, truth = pred[..., first_frame:, :, :][present], target[..., first_frame:, :, :][present]
    ordered = np.sort(predicted.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    return float(box_iou(ordered.clip(0, 1), truth).sum()), len(truth)


def mean_box_iou(pred: np.ndarray, target: np.ndarray, present: np.ndarray, *, first_frame: int = 1) -> float:
    """Mean IoU in 0..1 over all present boxes of all frames but the query's; arguments as in `box_iou_sums`.

    Source: the paper says "mean Intersection-over-Union"; equal weight of every box of every frame is our reading.

    Raises:
        ValueError: shapes that do not fit, or no present box.
    """
    total, count = box_iou_sums(pred, target, present, first_frame=first_frame)
    if not count:
        raise ValueError("no present box")
    return total / count


def _evaluated(
    query_points_tyx: np.ndarray,
    gt_occluded: np.ndarray,
    gt_tracks_xy: np.ndarray,
    pred_occluded: np.ndarray,
    pred_tracks_xy: np.ndarray,
    mode: str,
    query_mask: np.ndarray | None,
) -> np.ndarray:
    """Which points of which frames are evaluated, bool [B, N, T]; ValueError where shapes do not fit."""
    shape = np.shape(gt_occluded)
    queries = np.asarray(query_points_tyx)
    fits = len(shape) == 3 and queries.shape == (*shape[:2], 3) and np.shape(pred_occluded) == shape
    if not fits or not np.shape(gt_tracks_xy) == np.shape(pred_tracks_xy) == (*shape, 2):
        raise ValueError(
            f"queries {queries.shape}, occluded {shape} and {np.shape(pred_occluded)}, tracks "
            f"{np.shape(gt_tracks_xy)} and {np.shape(pred_tracks_xy)}; expected [B, N, 3], [B, N, T], [B, N, T, 2]"
        )
    valid = np.ones(shape[:2], bool) if query_mask is None else np.asarray(query_mask).astype(bool)
    if valid.shape != shape[:2]:
        raise ValueError(f"query_mask {valid.shape}; expected {shape[:2]}")
    start = np.round(np.where(valid, queries[..., 0], 0))[..., None]
    if not ((start >= 0) & (start < shape[2])).all():
        raise ValueError(f"a query is on a frame outside of 0..{shape[2] - 1}")
    if mode not in ("first", "strided"):
        raise ValueError(f"mode is {mode!r}; expected 'first' or 'strided'")
    frames = np.arange(shape[2])
    return (frames > start if mode == "first" else frames != start) & valid[..., None]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def _valid(pred: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth of the valid pixels, float64 [N]."""
    pred, target, mask = np.asarray(pred), np.asarray(target), np.asarray(mask, bool)
    if not pred.shape == target.shape == mask.shape:
        raise ValueError(f"pred {pred.shape}, target {target.shape} and mask {mask.shape} must have one shape")
    return pred[mask].astype(np.float64), target[mask].astype(np.float64)
