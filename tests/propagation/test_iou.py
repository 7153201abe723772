"""The confusion matrix and mIoU are the official evaluator's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propagation.metrics import confusion, mean_iou


def test_both_equal_the_official_evaluator(golden):
    arrays = golden("metrics.npz")
    matrix = sum(confusion(gt, pred, 20) for gt, pred in zip(arrays["vip_gt"], arrays["vip_pred"], strict=True))
    np.testing.assert_array_equal(matrix, arrays["vip_hist"])
    miou, iou = mean_iou(matrix)
    np.testing.assert_allclose(miou, arrays["vip_miou"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(iou, arrays["vip_iou"], rtol=0, atol=1e-9)


def test_rows_are_the_truth_and_columns_the_prediction():
    matrix = confusion(np.array([[0, 0, 1], [2, 2, 2]]), np.array([[0, 1, 1], [2, 2, 0]]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert matrix.dtype == np.int64


def test_a_perfect_prediction_scores_one():
    labels = np.arange(20).reshape(4, 5).repeat(3, axis=0)
    miou, iou = mean_iou(confusion(labels, labels, 20))
    assert miou == 1
    assert (iou == 1).all()


@pytest.mark.parametrize("shift_px", [0, 1, 7, 20])
def test_a_square_shifted_by_k_pixels_has_the_overlap_of_two_rectangles(shift_px):
    gt, pred = np.zeros((2, 40, 80), np.uint8)
    gt[10:30, 10:30], pred[10:30, 10 + shift_px : 30 + shift_px] = 5, 5
    overlap, background = 20 * (20 - shift_px), 40 * 80 - 20 * (20 + shift_px)
    iou = mean_iou(confusion(gt, pred, 20))[1]
    assert iou[5] == pytest.approx(overlap / (800 - overlap))
    assert iou[0] == pytest.approx(background / (40 * 80 - overlap))


def test_an_absent_class_is_not_in_the_mean_and_one_that_is_only_predicted_has_iou_0():
    gt = np.array([0, 0, 0, 0])
    miou, iou = mean_iou(confusion(gt, np.array([0, 0, 0, 2]), 4))
    np.testing.assert_array_equal(iou, [0.75, np.nan, 0, np.nan])
    assert miou == pytest.approx(0.375)
    assert mean_iou(confusion(gt, gt, 4))[0] == 1


def test_pixels_of_255_count_nowhere_whatever_is_predicted_there():
    gt = np.full((6, 7), 255, np.uint8)
    assert confusion(gt, np.full_like(gt, 255), 20).sum() == 0
    gt[0] = 3
    pred = np.full_like(gt, 254)
    pred[0] = 3
    assert confusion(gt, pred, 20).nonzero() == (3, 3)
    assert confusion(gt, pred, 20).sum() == 7


def test_nothing_counted_has_no_score():
    miou, iou = mean_iou(np.zeros((20, 20), np.int64))
    assert np.isnan(miou)
    assert np.isnan(iou).all()


@pytest.mark.parametrize("wrong", [20, 255, -1])
def test_a_counted_pixel_must_be_predicted_as_a_class(wrong):
    with pytest.raises(ValueError, match=rf"{wrong} is predicted, expected a class of 0\.\.19"):
        confusion(np.array([3]), np.array([wrong]), 20)


def test_labels_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        confusion(np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8), 20)


@settings(deadline=None)
@given(st.integers(2, 20), st.integers(0, 2**32 - 1))
def test_any_labels_follow_the_definition(classes, seed):
    rng = np.random.default_rng(seed)
    gt, pred = rng.integers(0, classes, (2, 3, 8, 9)).astype(np.uint8)
    gt[rng.random(gt.shape) < 0.2] = 255
    matrix = confusion(gt, pred, classes)
    assert matrix.sum() == (gt != 255).sum()
    expected = []
    for c in range(classes):
        true, found = gt == c, (pred == c) & (gt != 255)
        expected.append((true & found).sum() / (true | found).sum() if (true | found).any() else np.nan)
    miou, iou = mean_iou(matrix)
    np.testing.assert_allclose(iou, expected, rtol=0, atol=1e-12)
    assert miou == pytest.approx(np.nanmean(expected))
