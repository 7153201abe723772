"""Readout metrics: cases worked by hand, the group's own numbers, and agreement of the numpy and torch versions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from readouts import losses
from readouts.metrics import abs_rel, abs_rel_sums, delta1_count, top1


@pytest.fixture(scope="module")
def depth(golden):
    """The golden depths by batch: predictions, truth and mask, with what kauldron's metrics say of them."""
    arrays = golden("tapvid.npz")
    batches = {
        name: [arrays[f"input_depth_{kind}_{name}"] for kind in ("pred", "target", "mask")] for name in ("a", "b")
    }
    return batches, {key.removeprefix("output_metric_"): arrays[key] for key in arrays if key.startswith("output")}


def test_a_perfect_prediction_has_no_error_and_every_pixel_within_reach():
    truth = np.linspace(0.5, 9, 24).reshape(2, 3, 4)
    assert abs_rel(truth, truth, np.ones_like(truth, bool)) == 0
    assert delta1_count(truth, truth, np.ones_like(truth, bool)) == truth.size


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 2.0])
def test_depth_too_large_by_a_factor_is_off_by_that_factor_less_one(factor):
    truth = np.full((4, 5), 2.0)
    error = abs_rel(factor * truth, truth, np.ones_like(truth, bool))
    assert error == pytest.approx(abs(factor - 1), rel=1e-6)


def test_only_valid_pixels_count():
    truth = np.array([1.0, 2.0, 0.0, 4.0])
    found = np.array([1.5, 2.0, 99.0, 99.0])
    mask = np.array([True, True, False, False])
    assert abs_rel(found, truth, mask) == pytest.approx(0.25, rel=1e-5)
    assert delta1_count(found, truth, mask) == 1


def test_a_factor_of_a_quarter_is_just_out_of_reach_both_ways():
    truth = np.array([4.0, 4.0, 5.0, 5.0])
    found = np.array([4.99, 5.0, 4.01, 4.0])
    assert delta1_count(found, truth, np.ones(4, bool)) == 2


def test_a_depth_below_zero_is_wrong_and_no_warning():
    assert delta1_count(np.array([-1.0, 0.0]), np.array([1.0, 1.0]), np.ones(2, bool)) == 0


def test_the_mean_is_over_pixels_and_not_over_images():
    truth = np.ones((2, 4))
    found = np.array([[2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    mask = np.array([[True, False, False, False], [True, True, True, True]])
    assert abs_rel(found, truth, mask) == pytest.approx(1 / 5, rel=1e-5)


@pytest.mark.parametrize("name", ["a", "b"])
def test_depth_metrics_agree_with_kauldron(depth, name):
    batches, expected = depth
    pred, target, mask = batches[name]
    assert abs_rel(pred, target, mask) == pytest.approx(float(expected[f"absrel_{name}"]), rel=1e-5)
    delta1 = delta1_count(pred, target, mask) / mask.sum()
    assert delta1 == pytest.approx(float(expected[f"delta1_{name}"]), rel=1e-5)


def test_sums_of_two_batches_merge_as_kauldrons_states_do(depth):
    batches, expected = depth
    totals, counts = zip(*(abs_rel_sums(*batch) for batch in batches.values()), strict=True)
    assert sum(totals) / sum(counts) == pytest.approx(float(expected["absrel_merged"]), rel=1e-5)
    delta1 = sum(delta1_count(*batch) for batch in batches.values()) / sum(counts)
    assert delta1 == pytest.approx(float(expected["delta1_merged"]), rel=1e-5)


@pytest.mark.parametrize("wrong", [0, 1, 2])
@pytest.mark.parametrize("measure", [abs_rel, delta1_count])
def test_depths_of_different_shapes_are_refused(measure, wrong):
    arrays = [np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3), bool)]
    arrays[wrong] = arrays[wrong][:, :1]
    with pytest.raises(ValueError, match=r"\(2, 1\).*must have one shape"):
        measure(*arrays)


def test_a_mean_over_no_pixel_is_refused():
    with pytest.raises(ValueError, match="no valid pixel"):
        abs_rel(np.ones(3), np.ones(3), np.zeros(3, bool))
    assert abs_rel_sums(np.ones(3), np.ones(3), np.zeros(3, bool)) == (0.0, 0)


def test_top1_is_the_share_of_right_answers_and_a_tie_goes_to_the_first():
    logits = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, -2.0], [5.0, 5.0, 0.0], [5.0, 5.0, 0.0]])
    assert top1(logits, np.array([1, 1, 0, 1])) == 0.5
    assert top1(logits, np.array([1, 0, 0, 0])) == 1
    assert top1(logits, np.array([2, 2, 2, 2])) == 0


@pytest.mark.parametrize(
    ("logits", "labels"), [((2, 3), (3,)), ((2, 3), (2, 1)), ((3,), (3,)), ((2, 2, 3), (2,)), ((0, 3), (0,))]
)
def test_logits_and_labels_that_do_not_fit_are_refused(logits, labels):
    with pytest.raises(ValueError, match=r"expected \[N, K\] and \[N\]"):
        top1(np.zeros(logits), np.zeros(labels, int))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 6))
def test_the_torch_measures_are_the_numpy_ones_for_each_replica(seed, replicas, batch):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(replicas, batch, 5)), rng.integers(5, size=batch)
    hits, count = losses.top1(torch.from_numpy(logits), {"label": torch.from_numpy(labels)})
    assert (hits / count).tolist() == pytest.approx([top1(one, labels) for one in logits])

    truth = rng.uniform(0.2, 8, (batch, 2, 3, 4)).astype(np.float32)
    mask = rng.random(truth.shape) < 0.6
    mask.flat[0] = True
    logs = rng.normal(1, 0.7, (replicas, *truth.shape, 1)).astype(np.float32)
    target = {"depth": torch.from_numpy(np.where(mask, truth, 0)), "valid": torch.from_numpy(mask)}
    errors, pixels = losses.abs_rel(torch.from_numpy(logs), target)
    expected = [abs_rel(np.exp(one[..., 0]), truth, mask) for one in logs]
    assert (errors / pixels).tolist() == pytest.approx(expected, rel=1e-5)

    squares, pixels = losses.log_depth(torch.from_numpy(logs), target)
    expected = [((one[..., 0] - np.log(truth))[mask] ** 2).mean() for one in logs]
    assert (squares / pixels).tolist() == pytest.approx(expected, rel=1e-4)


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_classes():
    total, count = losses.cross_entropy(torch.zeros(2, 3, 7), {"label": torch.tensor([0, 3, 6])})
    assert (total / count).tolist() == pytest.approx([np.log(7)] * 2, rel=1e-6)
