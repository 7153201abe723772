"""J and F are the official evaluator's to the last digits."""

import math

import cv2
import numpy as np
import pytest

from propagation.metrics import boundary_f_measure, region_similarity


def square(top, left, size=20, shape=(60, 80)):
    mask = np.zeros((1, *shape), bool)
    mask[0, max(top, 0) : top + size, max(left, 0) : left + size] = True
    return mask


EMPTY = np.zeros((1, 60, 80), bool)


def boundary_by_definition(mask):
    """Pixel by pixel: differs from its east, south or south-east neighbour; the last row and column look one way."""
    h, w = mask.shape
    result = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            steps = [(0, 1), (1, 0), (1, 1)]
            if y == h - 1:
                steps = [(0, 1)]
            if x == w - 1:
                steps = [(1, 0)] if y < h - 1 else []
            result[y, x] = any(mask[y, x] != mask[y + dy, x + dx] for dy, dx in steps)
    return result


def f_by_definition(gt, pred, tolerance=0.008):
    """Distances between all pairs of boundary pixels."""
    radius_px = math.ceil(tolerance * math.sqrt(gt.shape[0] ** 2 + gt.shape[1] ** 2))
    g, p = (np.argwhere(boundary_by_definition(mask)) for mask in (gt, pred))
    if len(g) == 0 and len(p) == 0:
        precision = recall = 1.0
    elif len(p) == 0:
        precision, recall = 1.0, 0.0
    elif len(g) == 0:
        precision, recall = 0.0, 1.0
    else:
        near = ((p[:, None] - g[None]) ** 2).sum(-1) <= radius_px**2
        precision, recall = near.any(1).mean(), near.any(0).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def random_blobs(rng, shape):
    noise = cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), 3)
    return noise > np.quantile(noise, rng.uniform(0.5, 0.99))


def test_a_perfect_prediction_scores_one():
    mask = square(10, 10)
    assert region_similarity(mask, mask).tolist() == [1.0]
    assert boundary_f_measure(mask, mask).tolist() == [1.0]


@pytest.mark.parametrize("shift_px", [0, 1, 5, 19, 20, 30])
def test_a_square_shifted_by_k_pixels_has_the_overlap_of_two_rectangles(shift_px):
    overlap = 20 * max(20 - shift_px, 0)
    j = region_similarity(square(10, 10), square(10, 10 + shift_px))
    np.testing.assert_allclose(j, overlap / (800 - overlap), atol=1e-15)


def test_a_shift_within_the_tolerance_keeps_f_at_one_and_one_beyond_lowers_it():
    # 60 x 80 has diagonal 100: tolerances of 0.03 and 0.029 are both a disc of 3 pixels, 0.02 one of 2.
    for tolerance, whole in ((0.03, True), (0.029, True), (0.02, False)):
        f = boundary_f_measure(square(10, 10), square(10, 13), tolerance=tolerance)
        assert (f[0] == 1.0) == whole


def test_absent_objects():
    mask = square(10, 10)
    for gt, pred, score in ((EMPTY, EMPTY, 1.0), (mask, EMPTY, 0.0), (EMPTY, mask, 0.0)):
        assert region_similarity(gt, pred).tolist() == [score]
        assert boundary_f_measure(gt, pred).tolist() == [score]


def test_masks_that_fill_the_image_have_no_boundary():
    full = np.ones((1, 60, 80), bool)
    assert boundary_f_measure(full, full).tolist() == [1.0]
    assert boundary_f_measure(full, EMPTY).tolist() == [1.0]
    assert boundary_f_measure(full, square(10, 10)).tolist() == [0.0]


def test_objects_far_apart_score_zero():
    assert boundary_f_measure(square(0, 0), square(40, 60)).tolist() == [0.0]


@pytest.mark.parametrize(
    ("top", "left"), [(-5, 10), (50, 10), (10, -5), (10, 70), (-5, -5), (50, 70), (40, 60), (0, 0)]
)
def test_objects_on_the_border_follow_the_definition(top, left):
    gt, pred = square(top, left), square(top + 2, left - 3)
    f = boundary_f_measure(gt, pred)
    np.testing.assert_allclose(f, f_by_definition(gt[0], pred[0]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_random_blobs_follow_the_definition(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(20, 70, 2))
    gt, pred = (np.stack([random_blobs(rng, shape) for _ in range(2)]) for _ in range(2))
    tolerance = rng.choice([0.008, 0.03, 0.1])
    expected = [f_by_definition(g, p, tolerance) for g, p in zip(gt, pred, strict=True)]
    np.testing.assert_allclose(boundary_f_measure(gt, pred, tolerance=tolerance), expected, rtol=0, atol=1e-12)


def test_both_equal_the_official_evaluator(golden):
    arrays = golden("metrics.npz")
    for i, (j, f) in enumerate(zip(arrays["J"], arrays["F"], strict=True), 1):
        gt, pred = arrays["davis_gt"] == i, arrays["davis_pred"] == i
        np.testing.assert_allclose(region_similarity(gt, pred), j, rtol=0, atol=1e-9)
        np.testing.assert_allclose(boundary_f_measure(gt, pred), f, rtol=0, atol=1e-9)


def test_integers_count_as_masks():
    gt, pred = square(10, 10).astype(np.uint8) * 3, square(10, 12).astype(np.int64)
    assert region_similarity(gt, pred) == region_similarity(gt > 0, pred > 0)
    assert boundary_f_measure(gt, pred) == boundary_f_measure(gt > 0, pred > 0)


@pytest.mark.parametrize("measure", [region_similarity, boundary_f_measure])
def test_masks_of_different_shape_are_refused(measure):
    with pytest.raises(ValueError, match="one shape"):
        measure(EMPTY, EMPTY[:, :50])
    with pytest.raises(ValueError, match="one shape"):
        measure(EMPTY[0], EMPTY[0])


def test_no_frames_give_no_scores():
    assert region_similarity(EMPTY[:0], EMPTY[:0]).shape == (0,)
    assert boundary_f_measure(EMPTY[:0], EMPTY[:0]).shape == (0,)
