"""Features as k clusters of all tokens of a video, numbered alike in several models.

Source: paper section 13 (k = 5, k-means++, tokens of the whole video together). Whether features were normalised
before, restarts, and how the colours of two models were made to agree is not published; these are ours.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from rvm_bench.errors import UserError, unknown_name

NORMALIZE = ("token", "channel", "none")
RESTARTS = 4
ITERATIONS = 100
"""At most; it ends before where no token changes its cluster."""


def normalized(maps: np.ndarray, how: str) -> np.ndarray:
    """float32 [T, h, w, D]: features as they are compared.

    Args:
        how: "token": each token has length 1, as in label propagation, so that distance is angle. "channel": each
            channel has mean 0 and variance 1 over the video. "none": as they are.

    Raises:
        UserError: another word.
    """
    if how == "token":
        return maps / np.maximum(np.linalg.norm(maps, axis=-1, keepdims=True), 1e-12)
    if how == "channel":
        mean, std = (f(axis=(0, 1, 2), dtype=np.float64).astype(np.float32) for f in (maps.mean, maps.std))
        return (maps - mean) / np.where(std > 0, std, 1)
    if how != "none":
        raise unknown_name("way to normalise", how, NORMALIZE)
    return maps


def kmeans(points_ND: np.ndarray, k: int, *, seed: int = 0, restarts: int = RESTARTS) -> tuple[np.ndarray, float]:
    """(labels int64 [N], sum of squared distances to the centres): the best of several runs of Lloyd's algorithm.

    Each starts from k-means++ centres. Clusters are numbered by their size, the largest 0. The same points, k and seed
    give the same labels.

    Raises:
        UserError: fewer different points than clusters, points that are not finite, or k below 1.
    """
    if k < 1 or not np.isfinite(points_ND).all():
        raise UserError(
            f"cannot find {k} clusters: " + ("k must be at least 1" if k < 1 else "features are not finite")
        )
    # Far from the origin the short form of a squared distance loses its digits.
    points = points_ND.astype(np.float32) - points_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
    squares = np.einsum("nd,nd->n", points, points)
    rng = np.random.default_rng(seed)
    runs = [_lloyd(points, squares, _spread_centres(points, squares, k, rng)) for _ in range(restarts)]
    labels, inertia = min(runs, key=lambda run: run[1])
    by_size = np.argsort(-np.bincount(labels, minlength=k), kind="stable")
    return np.argsort(by_size)[labels], inertia


def relabelling(labels: np.ndarray, reference: np.ndarray, k: int) -> np.ndarray:
    """int64 [k]: `relabelling[labels]` agrees with the reference in as many places as any renumbering does."""
    overlap_kk = np.bincount(labels.ravel() * k + reference.ravel(), minlength=k * k).reshape(k, k)
    return linear_sum_assignment(-overlap_kk)[1]


def _spread_centres(points: np.ndarray, squares: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """[k, D]: points drawn one after the other, by their squared distance from those drawn before (k-means++)."""
    chosen = [int(rng.integers(len(points)))]
    distance = np.full(len(points), np.inf)
    scale = float(squares.max())
    for _ in range(1, k):
        distance = np.minimum(distance, _distances(points, squares, points[chosen[-1:]])[:, 0])
        # What is left between equal points by rounding must not be drawn.
        weights = np.where(distance > 1e-6 * scale, distance, 0).astype(np.float64)
        if not weights.any():
            raise UserError(
                f"the features take only {len(chosen)} different values; {k} clusters need more: choose a smaller k, "
                "or another video"
            )
        chosen.append(int(rng.choice(len(points), p=weights / weights.sum())))
    return points[chosen]


def _lloyd(points: np.ndarray, squares: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, float]:
    k = len(centres)
    labels = np.full(len(points), -1)
    for _ in range(ITERATIONS):
        distances = _distances(points, squares, centres)
        before, labels = labels, distances.argmin(axis=1)
        if np.array_equal(before, labels):
            break
        members_Nk = (labels[:, None] == np.arange(k)).astype(np.float32)
        counts = members_Nk.sum(axis=0)
        centres = members_Nk.T @ points / np.maximum(counts, 1)[:, None]
        for empty in np.flatnonzero(counts == 0):
            furthest = distances.min(axis=1).argmax()
            centres[empty], distances[furthest] = points[furthest], 0
    return labels, float(_distances(points, squares, centres).min(axis=1).sum(dtype=np.float64))


def _distances(points: np.ndarray, squares: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared, float32 [N, k]."""
    return np.maximum(squares[:, None] - 2 * (points @ centres.T) + np.einsum("kd,kd->k", centres, centres), 0)
