"""Metrics of readouts, in plain numpy."""

import numpy as np

EPSILON_M = 1e-6


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


def _valid(pred: np.ndarray, target: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth of the valid pixels, float64 [N]."""
    pred, target, mask = np.asarray(pred), np.asarray(target), np.asarray(mask, bool)
    if not pred.shape == target.shape == mask.shape:
        raise ValueError(f"pred {pred.shape}, target {target.shape} and mask {mask.shape} must have one shape")
    return pred[mask].astype(np.float64), target[mask].astype(np.float64)
