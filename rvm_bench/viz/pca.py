"""Features as colours: three principal components, whitened, one for red, green and blue each.

The components are those of all tokens of a video together, so that a colour means the same in every frame. Source:
paper sections 4.4 and 13 ("across the entire video volume ... whitened and mapped to RGB color channels"). Where zero
and one lie, and how two models' colours are made to agree, is not published; both are ours.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

COMPONENTS = 3
SPREAD = 2.5
"""Standard deviations from the middle of a colour channel to its ends; what lies beyond is cut."""
_NEGLIGIBLE = 1e-9
"""A component with less than this share of the first one's variance is rounding, and is left at zero."""


def principal_scores(maps_ThwD: np.ndarray) -> np.ndarray:
    """float32 [T, h, w, 3]: every token's scores on the first three principal components, each with mean 0 and
    variance 1 over the video, the largest component first. Signs are arbitrary.

    A component that does not exist (fewer channels, or no variance) is 0 everywhere.
    """
    from sklearn.decomposition import PCA

    width = maps_ThwD.shape[-1]
    # Centred in double precision first: features far from the origin would lose digits in a float32 covariance.
    mean = maps_ThwD.reshape(-1, width).mean(axis=0, dtype=np.float64).astype(np.float32)
    tokens_ND = maps_ThwD.reshape(-1, width).astype(np.float32) - mean
    scores_NC = np.zeros((len(tokens_ND), COMPONENTS), np.float32)
    if not tokens_ND.any():
        return scores_NC.reshape(*maps_ThwD.shape[:3], COMPONENTS)
    count = min(COMPONENTS, *tokens_ND.shape)
    # An exact solver: the randomised one would give other signs and digits from call to call.
    found_NC = PCA(n_components=count, svd_solver="covariance_eigh").fit_transform(tokens_ND)
    variances = found_NC.var(axis=0, dtype=np.float64)
    present = variances > max(_NEGLIGIBLE * variances[0], np.finfo(np.float32).tiny)
    scores_NC[:, :count] = found_NC * np.where(present, 1 / np.sqrt(np.where(present, variances, 1)), 0)
    return scores_NC.reshape(*maps_ThwD.shape[:3], COMPONENTS)


def brightness_signs(scores_NC: np.ndarray, brightness_N: np.ndarray) -> np.ndarray:
    """[C] of -1 and 1: the signs with which each component grows with the brightness at the same N places."""
    return np.where(_correlation(scores_NC, brightness_N[:, None])[:, 0] < 0, -1, 1)


def matching(scores_NC: np.ndarray, reference_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(order, signs), [C] each: `scores[..., order] * signs` is, component by component, as like the reference as can
    be: the sum of the absolute correlations at the same N places is the largest that any order gives.
    """
    correlation_CC = _correlation(reference_NC, scores_NC)
    _, order = linear_sum_assignment(-np.abs(correlation_CC))
    return order, np.where(correlation_CC[np.arange(len(order)), order] < 0, -1, 1)


def to_rgb(scores: np.ndarray) -> np.ndarray:
    """uint8 [..., 3]: 0 becomes the middle grey, `SPREAD` standard deviations full colour."""
    return np.rint(np.clip(0.5 + scores / (2 * SPREAD), 0, 1) * 255).astype(np.uint8)


def _correlation(a_NA: np.ndarray, b_NB: np.ndarray) -> np.ndarray:
    """[A, B]; 0 for what does not vary."""
    standard = []
    for values in (a_NA, b_NB):
        centred = values - values.mean(axis=0, dtype=np.float64)
        size = np.sqrt((centred**2).sum(axis=0))
        standard.append(centred / np.where(size > 0, size, 1))
    return standard[0].T @ standard[1]
