"""Features as k clusters of all tokens of a video, numbered alike in several models.

Source: paper section 13 (k = 5, k-means++, tokens of the whole video together). Whether features were normalised
before, restarts, and how the colours of two models were made to agree is not published; these are ours.
"""

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment

from rvm_bench.errors import UserError, unknown_name

NORMALIZE = ("token", "channel", "none")
RESTARTS = 4
ITERATIONS = 100
"""At most; scikit-learn stops earlier, once the centres move by less than 1e-4 of the variance."""


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
    """(labels int64 [N], sum of squared distances to the centres): k-means by scikit-learn, as the authors' notebook.

    The best of several runs of Lloyd's algorithm, each from k-means++ centres. Clusters are numbered by their size, the
    largest 0. The same points, k and seed give the same labels.

    Raises:
        UserError: fewer different points than clusters, points that are not finite, or k below 1.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if k < 1 or not np.isfinite(points_ND).all():
        raise UserError(
            f"cannot find {k} clusters: " + ("k must be at least 1" if k < 1 else "features are not finite")
        )
    if len(points_ND) < k:
        raise UserError(f"cannot find {k} clusters in {len(points_ND)} tokens; choose a smaller k, or another video")
    # Far from the origin the short form of a squared distance loses its digits.
    points = points_ND.astype(np.float32) - points_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
    estimator = KMeans(k, init="k-means++", n_init=restarts, max_iter=ITERATIONS, random_state=seed, algorithm="lloyd")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        estimator.fit(points)
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        different = len(np.unique(points, axis=0))
        raise UserError(
            f"the features take only {different} different values; {k} clusters need more: choose a smaller k, or "
            "another video"
        )
    labels = estimator.labels_.astype(np.int64)
    by_size = np.argsort(-np.bincount(labels, minlength=k), kind="stable")
    return np.argsort(by_size)[labels], float(estimator.inertia_)


def relabelling(labels: np.ndarray, reference: np.ndarray, k: int) -> np.ndarray:
    """int64 [k]: `relabelling[labels]` agrees with the reference in as many places as any renumbering does."""
    overlap_kk = np.bincount(labels.ravel() * k + reference.ravel(), minlength=k * k).reshape(k, k)
    return linear_sum_assignment(-overlap_kk)[1]
