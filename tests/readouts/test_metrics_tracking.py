"""Metrics of point tracks and boxes: cases worked by hand, the released numbers, and what must not change them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readouts.metrics import THRESHOLDS_PX, box_iou, box_iou_sums, mean_box_iou, tapvid

MODES = ("first", "strided")
NAMES = ("query_points_tyx", "gt_occluded", "gt_tracks_xy", "pred_occluded", "pred_tracks_xy")


@pytest.fixture(scope="module")
def released(golden):
    """(arguments of the metrics by name, what the released code says of them by name)."""
    arrays = golden("tapvid.npz")
    arguments = {name: arrays[f"input_{name}"] for name in NAMES}
    return arguments, {name.removeprefix("output_"): arrays[name] for name in arrays if name.startswith("output_")}


def tracks(seed=0, videos=2, points=5, frames=8):
    """A video's arguments with predictions that are partly right."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 256, (videos, points, frames, 2))
    return {
        "query_points_tyx": np.concatenate([rng.integers(frames, size=(videos, points, 1)), truth[:, :, 0]], axis=-1),
        "gt_occluded": rng.random((videos, points, frames)) < 0.3,
        "gt_tracks_xy": truth,
        "pred_occluded": rng.random((videos, points, frames)) < 0.3,
        "pred_tracks_xy": truth + rng.normal(size=truth.shape) * rng.choice([0.3, 3, 10], (videos, points, 1, 1)),
    }


def seen_throughout(shift_px=0.0, *, occluded=False):
    """One video of three points that stay visible, followed `shift_px` to the right of where they are."""
    truth = np.random.default_rng(1).uniform(30, 200, (1, 3, 6, 2))
    return {
        "query_points_tyx": np.zeros((1, 3, 3)),
        "gt_occluded": np.zeros((1, 3, 6), bool),
        "gt_tracks_xy": np.round(truth),
        "pred_occluded": np.full((1, 3, 6), occluded),
        "pred_tracks_xy": np.add(np.round(truth), [shift_px, 0]),
    }


def kauldron_average_jaccard(
    query_points_tyx, gt_occluded, gt_tracks_xy, pred_occluded, pred_tracks_xy, mode="strided", *, query_mask=None
):
    """(average Jaccard float64 [B], whether the video counts bool [B]), as the authors' trainer has them.

    It differs from `tapvid` in two ways: the denominator has 1e-8 added, and a video without visible and without
    predicted points has 0 and does not count. With every query on frame 0 both modes are one.

    Source: `TapAverageJaccard`, kauldron, `contrib/metrics/point_tracking.py`.
    """
    query_frame, frames = np.round(query_points_tyx[..., :1]), np.arange(gt_occluded.shape[2])
    evaluated = frames > query_frame if mode == "first" else frames != query_frame
    if query_mask is not None:
        evaluated &= query_mask[..., None].astype(bool)
    visible, predicted = ~gt_occluded & evaluated, ~pred_occluded & evaluated
    squares = np.square(pred_tracks_xy.astype(np.float64) - gt_tracks_xy).sum(-1)
    true_positives = [((squares < px**2) & visible & predicted).sum((1, 2)) for px in THRESHOLDS_PX]
    both = visible.sum((1, 2)) + predicted.sum((1, 2))
    return np.mean([hits / (both - hits + 1e-8) for hits in true_positives], axis=0), both > 0


@pytest.mark.parametrize("mode", MODES)
def test_a_perfect_prediction_scores_one_everywhere(mode):
    arguments = tracks()
    arguments |= {"pred_tracks_xy": arguments["gt_tracks_xy"], "pred_occluded": arguments["gt_occluded"]}
    scores = tapvid(**arguments, mode=mode)
    assert len(scores) == 3 + 2 * len(THRESHOLDS_PX)
    assert all((score == 1).all() for score in scores.values())
    values, counts = kauldron_average_jaccard(**arguments, mode=mode)
    np.testing.assert_allclose(values, 1, atol=1e-8)
    assert counts.all()


@pytest.mark.parametrize("shift_px", [0.5, 1, 1.5, 2, 4, 8, 15.9, 16])
def test_a_shift_is_within_the_thresholds_above_it_and_not_within_its_own(shift_px):
    scores = tapvid(**seen_throughout(shift_px))
    for threshold in THRESHOLDS_PX:
        assert scores[f"pts_within_{threshold}"] == scores[f"jaccard_{threshold}"] == (shift_px < threshold)
    assert scores["average_jaccard"] == pytest.approx(np.mean([shift_px < t for t in THRESHOLDS_PX]))
    assert scores["occlusion_accuracy"] == 1


def test_a_point_called_occluded_is_found_but_not_followed():
    scores = tapvid(**seen_throughout(occluded=True))
    assert (scores["average_pts_within_thresh"], scores["average_jaccard"], scores["occlusion_accuracy"]) == (1, 0, 0)


def test_a_visible_point_found_elsewhere_is_missed_and_a_false_alarm():
    arguments = seen_throughout()
    arguments["pred_tracks_xy"][0, 0] += 100
    assert tapvid(**arguments)["jaccard_16"] == pytest.approx(10 / (15 + 5))


def test_frames_before_the_query_count_in_strided_mode_alone_and_that_of_the_query_in_neither():
    arguments = seen_throughout()
    arguments["query_points_tyx"][..., 0] = 2
    arguments["pred_tracks_xy"][:, :, 2] += 100
    assert [tapvid(**arguments, mode=mode)["jaccard_1"] for mode in MODES] == [1, 1]
    arguments["pred_tracks_xy"][:, :, 1] += 100
    assert [tapvid(**arguments, mode=mode)["pts_within_1"] for mode in MODES] == [1, 4 / 5]


def test_a_video_where_nothing_is_visible_has_no_jaccard_until_something_is_alleged():
    arguments = seen_throughout()
    arguments |= {"gt_occluded": np.ones((1, 3, 6), bool), "pred_occluded": np.ones((1, 3, 6), bool)}
    scores = tapvid(**arguments)
    assert np.isnan(scores["average_jaccard"]).all()
    assert np.isnan(scores["pts_within_4"]).all()
    assert scores["occlusion_accuracy"] == 1
    assert kauldron_average_jaccard(**arguments) == (0, False)
    arguments["pred_occluded"][0, 0, 3] = False
    assert tapvid(**arguments)["average_jaccard"] == 0
    assert kauldron_average_jaccard(**arguments) == (0, True)


@pytest.mark.parametrize("mode", MODES)
def test_the_numbers_are_those_of_tapnet(released, mode):
    arguments, expected = released
    scores = tapvid(**arguments, mode=mode)
    assert {f"tapnet_{mode}_{name}" for name in scores} == {name for name in expected if f"tapnet_{mode}_" in name}
    for name, score in scores.items():
        np.testing.assert_allclose(score, expected[f"tapnet_{mode}_{name}"], rtol=0, atol=1e-12)
    at_zero = arguments | {"query_points_tyx": arguments["query_points_tyx"] * [0, 1, 1]}
    found = tapvid(**at_zero, mode=mode)["average_jaccard"]
    np.testing.assert_allclose(found, expected[f"tapnet_query0_{mode}_average_jaccard"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", ["strided_q0", "first", "strided", "first_masked", "btqc", "video0_empty"])
def test_the_average_jaccard_is_kauldrons_where_a_video_counts(golden, released, case):
    arguments, expected = released
    if case in ("strided_q0", "btqc", "video0_empty"):
        arguments = arguments | {"query_points_tyx": np.zeros_like(arguments["query_points_tyx"])}
    if case == "video0_empty":
        arguments = {name: np.array(value) for name, value in arguments.items()}
        arguments["gt_occluded"][0] = arguments["pred_occluded"][0] = True
    mask = golden("tapvid.npz")["input_query_mask"] if case == "first_masked" else None
    mode = "first" if case.startswith("first") else "strided"
    values, counts = kauldron_average_jaccard(**arguments, mode=mode, query_mask=mask)
    scores = tapvid(**arguments, mode=mode, query_mask=mask)["average_jaccard"]
    np.testing.assert_allclose(scores[counts], values[counts], atol=1e-7)
    assert np.isnan(scores[~counts]).all()
    assert values[counts].mean() == pytest.approx(float(expected[f"metric_kauldron_aj_{case}"]), abs=1e-6)
    if f"metric_kauldron_aj_{case}_values" in expected:
        np.testing.assert_allclose(values, expected[f"metric_kauldron_aj_{case}_values"], atol=1e-6)
        assert counts.tolist() == expected[f"metric_kauldron_aj_{case}_masks"].astype(bool).tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(MODES))
def test_the_order_of_the_queries_and_queries_that_are_masked_change_nothing(seed, mode):
    arguments, rng = tracks(seed), np.random.default_rng(seed)
    order = rng.permutation(5)
    expected, trainers = tapvid(**arguments, mode=mode), kauldron_average_jaccard(**arguments, mode=mode)
    mixed = {name: value[:, order] for name, value in arguments.items()}
    padded = {name: np.concatenate([value, value[:, :2]], axis=1) for name, value in mixed.items()}
    padded["query_points_tyx"][:, 5:] = -1
    mask = np.arange(7) < np.full((2, 1), 5)
    for again, mask_or_none in ((mixed, None), (padded, mask)):
        scores = tapvid(**again, mode=mode, query_mask=mask_or_none)
        for name, score in scores.items():
            np.testing.assert_allclose(score, expected[name], rtol=1e-12)
        values = kauldron_average_jaccard(**again, mode=mode, query_mask=mask_or_none)
        np.testing.assert_allclose(values, trainers, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_scores_are_shares_that_grow_with_the_threshold(seed):
    scores = tapvid(**tracks(seed))
    assert all(((score >= 0) & (score <= 1)).all() for score in scores.values())
    for kind in ("jaccard", "pts_within"):
        steps = np.diff([scores[f"{kind}_{threshold}"] for threshold in THRESHOLDS_PX], axis=0)
        assert (steps >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_tracks_whose_shapes_do_not_fit_are_refused(name):
    arguments = tracks()
    with pytest.raises(ValueError, match=r"expected \[B, N, 3\]"):
        tapvid(**arguments | {name: arguments[name][:, :-1]})


def test_unknown_modes_frames_outside_the_video_and_masks_of_another_shape_are_refused():
    arguments = tracks()
    with pytest.raises(ValueError, match="mode is 'last'"):
        tapvid(**arguments, mode="last")
    for frame in (-1, 8, np.nan):
        queries = np.array(arguments["query_points_tyx"])
        queries[1, 2, 0] = frame
        with pytest.raises(ValueError, match=r"outside of 0\.\.7"):
            tapvid(**arguments | {"query_points_tyx": queries})
    with pytest.raises(ValueError, match=r"query_mask \(2, 4\); expected \(2, 5\)"):
        tapvid(**arguments, query_mask=np.ones((2, 4)))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),
        ((0, 0, 4, 4), (1, 1, 3, 3), 1 / 4),
        ((0, 0, 1, 1), (1, 0, 2, 1), 0),
        ((0, 0, 1, 1), (5, 5, 6, 6), 0),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0),
        ((2, 2, 0, 0), (0, 0, 2, 2), 0),
    ],
)
def test_the_overlap_of_boxes_is_what_one_counts_on_paper(one, other, expected):
    assert box_iou(one, other) == box_iou(other, one) == pytest.approx(expected)


boxes = st.lists(st.floats(-2, 2), min_size=4, max_size=4).map(np.array)


@settings(max_examples=100, deadline=None)
@given(boxes, boxes, st.floats(0.1, 10))
def test_overlap_is_symmetric_a_share_and_free_of_scale(one, other, scale):
    overlap = box_iou(one, other)
    assert overlap == box_iou(other, one)
    assert 0 <= overlap <= 1 + 1e-12
    assert box_iou(scale * one, scale * other) == pytest.approx(overlap, abs=1e-6)


def test_each_box_is_measured_with_its_own():
    ends = np.array([[0, 0, 2, 2], [0, 0, 4, 4]])
    assert box_iou(ends, [1, 1, 3, 3]).tolist() == pytest.approx([1 / 7, 1 / 4])


def test_the_mean_is_over_present_boxes_of_all_frames_but_the_first():
    target = np.broadcast_to([0.0, 0.0, 0.5, 0.5], (3, 2, 4)).copy()
    pred = target.copy()
    pred[0] = 0.9
    pred[1, 0] = [0, 0.25, 0.5, 0.75]
    target[2, 1] = np.nan
    present = np.array([[True, True], [True, True], [True, False]])
    assert mean_box_iou(pred, target, present) == pytest.approx((1 / 3 + 1 + 1) / 3)
    assert mean_box_iou(pred, target, present, first_frame=0) == pytest.approx((1 / 3 + 1 + 1) / 5)
    clips = (np.stack([pred, target]), np.stack([target, target]), np.stack([present, present]))
    total, count = box_iou_sums(*clips)
    assert (total, count) == (pytest.approx(1 / 3 + 5), 6)


def test_swapped_and_overhanging_predictions_are_put_in_order_and_cut():
    target = np.array([[[0.0, 0.2, 1.0, 0.6]]])
    pred = np.array([[[1.7, 0.6, -3.0, 0.2]]])
    assert mean_box_iou(pred, target, np.ones((1, 1)), first_frame=0) == pytest.approx(1)


def test_boxes_whose_shapes_do_not_fit_and_a_mean_of_none_are_refused():
    pred, present = np.zeros((2, 3, 4)), np.ones((2, 3))
    with pytest.raises(ValueError, match="no present box"):
        mean_box_iou(pred, pred, 0 * present)
    assert box_iou_sums(pred, pred, 0 * present) == (0, 0)
    for wrong in ((pred[0], pred, present), (pred, pred[:1], present), (pred, pred, present[0])):
        with pytest.raises(ValueError, match=r"expected \[..., T, Q, 4\]"):
            box_iou_sums(*wrong)
