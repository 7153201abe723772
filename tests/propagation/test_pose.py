"""Poses become label maps, label maps poses, and poses a score exactly as in the released evaluation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from propagation.knn.propagator import propagate
from propagation.labels import heat_to_pose, pose_to_heat
from propagation.metrics import joint_pck, mean_pck, pck, pose_hits

GRID = (20, 20)
CLIPS = (0, 1)
TAIL = math.exp(-2)
"""Value of the stamp one cell from its centre."""


def heat_of(x, y, grid_hw=GRID):
    """The label maps of a single joint at (x, y) cells."""
    h, w = grid_hw
    return pose_to_heat(np.array([[16 * x, 16 * y]]), grid_hw, (16 * h, 16 * w))  # by 16, so that no bit is lost


def centre(heat):
    row, column = np.unravel_index(heat[..., 1].argmax(), heat.shape[:2])
    return int(column), int(row)


def clips(arrays, *names):
    return [[arrays[f"{name}{n}"] for n in CLIPS] for name in names]


def test_a_joint_is_a_gaussian_in_a_stamp_of_four_cells():
    heat = heat_of(7.2, 9.6)
    assert heat.dtype == np.float32
    steps = np.array([-2, -1, 0, 1])
    expected = np.zeros(GRID)
    expected[8:12, 5:9] = np.exp(-2 * (steps[:, None] ** 2 + steps**2))
    np.testing.assert_allclose(heat[..., 1], expected, atol=1e-7)
    np.testing.assert_array_equal(heat[..., 0], expected == 0)


def test_background_is_where_no_joint_leaves_anything_at_all():
    heat = pose_to_heat(np.array([[80.0, 60], [96, 60]]), GRID, (240, 320))
    assert heat[3, 3, 1] == np.float32(math.exp(-16)) > 0
    np.testing.assert_array_equal(heat[..., 0] == 1, heat[..., 1:].sum(-1) == 0)
    assert set(np.unique(heat[..., 0])) == {0, 1}


@given(st.floats(1.5, 18.49), st.floats(1.5, 18.49))
def test_away_from_the_border_the_peak_is_the_nearest_cell(x, y):
    heat = heat_of(x, y)
    assert centre(heat) == (int(x + 0.5), int(y + 0.5))
    assert heat[..., 1].max() == 1


@given(st.floats(0.001, 1.499).filter(lambda p: p != 0.5), st.floats(3, 16))
def test_near_the_left_and_the_upper_border_the_peak_is_one_cell_further_in(p, q):
    shifted, straight = int(p + 0.5) + 1, int(q + 0.5)
    assert centre(heat_of(p, q)) == (shifted, straight)
    assert centre(heat_of(q, p)) == (straight, shifted)


def test_half_a_cell_from_the_border_truncation_changes_nothing():
    assert centre(heat_of(0.5, 9)) == (1, 9)


@given(st.floats(19.5, 20.49), st.floats(2, 17))
def test_just_outside_the_far_border_only_the_tail_is_left(p, q):
    for heat in (heat_of(p, q), heat_of(q, p)):
        assert heat[..., 1].max() == np.float32(TAIL)
    assert heat_of(p, q)[..., :19, 1].max() < TAIL


@given(
    st.one_of(st.floats(-1000, -2.5), st.floats(21.5, 1000)),
    st.floats(-1000, 1000),
    st.booleans(),
)
def test_far_outside_there_is_nothing(out, anywhere, swap):
    x, y = (anywhere, out) if swap else (out, anywhere)
    heat = heat_of(x, y)
    assert not heat[..., 1].any()
    assert (heat[..., 0] == 1).all()


@given(st.floats(-3, 23), st.floats(-3, 23))
def test_every_stamp_follows_the_release_cell_by_cell(x, y):
    """The definition in plain words: corners truncated, a 4 x 4 Gaussian around its own cell (2, 2), pasted."""
    left, top = int(x - 1.5), int(y - 1.5)
    right, bottom = int(x + 2.5), int(y + 2.5)
    expected = np.zeros(GRID)
    for row in range(max(top, 0), min(bottom, 20)):
        for column in range(max(left, 0), min(right, 20)):
            expected[row, column] = math.exp(-2 * ((row - top - 2) ** 2 + (column - left - 2) ** 2))
    np.testing.assert_allclose(heat_of(x, y)[..., 1], expected, rtol=1e-6)


def test_a_joint_outside_the_first_frame_is_invisible_for_the_whole_clip():
    heat = torch.from_numpy(pose_to_heat(np.array([[160.0, 120], [400, 120]]), (8, 8), (240, 320)))
    features = torch.nn.functional.normalize(
        torch.randn(5, 8, 8, 6, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    soft = propagate(features, heat, topk=7, radius=20, n_context=20, temperature=0.7)
    keypoints, visible = heat_to_pose(soft, (240, 320))
    assert visible.tolist() == [[True, False]] * 5
    assert (keypoints[:, 1] == -1).all()


def test_a_pose_comes_back_to_the_pixel_of_its_cell():
    keypoints, visible = heat_to_pose(pose_to_heat(np.array([[112, 108]]), GRID, (240, 320))[None], (240, 320))
    assert keypoints.dtype == np.float32
    assert visible.all()
    np.testing.assert_allclose(keypoints, [[[112, 108]]], atol=1e-4)


def test_the_read_out_is_the_mean_of_the_five_best_cells_by_their_weight():
    soft = np.zeros((1, 4, 6, 2), np.float32)
    for value, (row, column) in zip(
        [5, 4, 3, 2, 1, 0.5], [(0, 0), (1, 2), (3, 5), (2, 2), (0, 4), (3, 0)], strict=True
    ):
        soft[0, row, column, 1] = value
    keypoints, _ = heat_to_pose(soft, (40, 120))
    np.testing.assert_allclose(keypoints[0, 0], [(8 + 15 + 4 + 4) / 15 * 20, (4 + 9 + 4) / 15 * 10], rtol=1e-6)
    two, _ = heat_to_pose(soft, (40, 120), cells=2)
    np.testing.assert_allclose(two[0, 0], [8 / 9 * 20, 4 / 9 * 10], rtol=1e-6)


def test_arrays_and_tensors_clips_and_frames_read_out_the_same():
    soft = np.random.default_rng(0).random((4, 5, 6, 16)).astype(np.float32)
    keypoints, visible = heat_to_pose(soft, (240, 320))
    assert (keypoints.shape, visible.shape, visible.dtype) == ((4, 15, 2), (4, 15), bool)
    for t in range(4):
        frame, _ = heat_to_pose(torch.from_numpy(soft[t : t + 1]), (240, 320))
        np.testing.assert_array_equal(frame[0], keypoints[t])


@pytest.mark.parametrize("n", CLIPS)
def test_label_maps_equal_those_of_the_released_code(golden, n):
    arrays = golden("propagation_pose.npz")
    heat = pose_to_heat(arrays[f"pose0_{n}"], GRID, tuple(arrays["native_hw"].tolist()))
    np.testing.assert_array_equal(heat, arrays[f"heat{n}"])


@pytest.mark.parametrize("n", CLIPS)
def test_propagated_poses_equal_those_of_the_released_code(golden, n):
    arrays = golden("propagation_pose.npz")
    options = {key: arrays[key].item() for key in ("topk", "radius", "n_context", "temperature")}
    soft = propagate(torch.from_numpy(arrays[f"features{n}"]), torch.from_numpy(arrays[f"heat{n}"]), **options)
    np.testing.assert_allclose(soft.numpy(), arrays[f"soft_labels{n}"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("n", CLIPS)
def test_keypoints_and_visibility_equal_those_of_the_released_code(golden, n):
    arrays = golden("propagation_pose.npz")
    keypoints, visible = heat_to_pose(arrays[f"soft_labels{n}"], tuple(arrays["native_hw"].tolist()))
    np.testing.assert_allclose(keypoints, arrays[f"keypoints{n}"], rtol=0, atol=1e-3)
    np.testing.assert_array_equal(visible, arrays[f"visible{n}"] == 1)


def test_pck_equals_that_of_the_released_code(golden):
    arrays = golden("propagation_pose.npz")
    thresholds = arrays["pck_thresholds"]
    gt, pred, visible = clips(arrays, "gt", "keypoints", "visible")
    np.testing.assert_allclose(pck(gt, pred, visible, thresholds), arrays["pck"], rtol=0, atol=1e-9)
    hits, counted = (
        sum(c) for c in zip(*(pose_hits(*v, thresholds) for v in zip(gt, pred, visible, strict=True)), strict=True)
    )
    np.testing.assert_allclose(joint_pck(hits, counted), arrays["pck_per_joint"], rtol=0, atol=1e-9)


def square_pose(frames=4):
    """Truth whose box is 60 x 80 px, diagonal 100: a threshold of 0.1 is 6 px. [T, 15, 2]"""
    pose = np.tile(np.linspace((0, 0), (60, 80), 15), (frames, 1, 1))
    return pose, np.ones((frames, 15), bool)


def test_a_perfect_prediction_scores_100_and_one_far_off_0():
    truth, seen = square_pose()
    assert pck([truth], [truth], [seen], [0.1, 0.5]).tolist() == [100, 100]
    assert pck([truth], [truth + 1000], [seen], [0.1, 0.5]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("shift_px", "score"), [(5.99, [100, 100]), (6.01, [0, 100]), (11.99, [0, 100]), (12.01, [0, 0])]
)
def test_a_prediction_is_right_within_a_share_of_six_tenths_of_the_diagonal(shift_px, score):
    truth, seen = square_pose()
    assert pck([truth], [truth + np.array([shift_px, 0])], [seen], [0.1, 0.2]).tolist() == score
    assert pck([truth], [truth - np.array([0, shift_px])], [seen], [0.1, 0.2]).tolist() == score


def test_the_first_frame_does_not_count():
    truth, seen = square_pose()
    wrong_at_first = truth.copy()
    wrong_at_first[0] += 1000
    assert pck([truth], [wrong_at_first], [seen], [0.1]).tolist() == [100]
    _, counted = pose_hits(truth, truth, seen, [0.1])
    assert counted.tolist() == [3] * 15


def test_a_lost_joint_is_not_a_miss_and_shrinks_the_box():
    truth, seen = square_pose()
    seen[2:, 14] = False  # the corner (60, 80): what is left spans 13/14 of the box
    pred = truth.copy()
    pred[:, 14] = -1
    pred[1, 14] = truth[1, 14]
    hits, counted = pose_hits(truth, pred, seen, [0.1])
    assert counted.tolist() == [3] * 14 + [1]
    assert hits.tolist() == [counted.tolist()]
    just_inside = truth + np.array([0, 5.8])  # 6 px were right with the whole box, 5.57 px are with what is left
    hits, _ = pose_hits(truth, just_inside, seen, [0.1])
    assert hits.tolist() == [[1] * 15]


def test_a_joint_that_is_never_visible_has_no_percentage():
    truth, seen = square_pose()
    seen[:, 3] = False
    assert np.isnan(pck([truth], [truth], [seen], [0.1, 0.2])).all(), "as the official code"
    hits, counted = pose_hits(truth, truth, seen, [0.1])
    assert np.isnan(joint_pck(hits, counted)[0]).tolist() == [joint == 3 for joint in range(15)]
    assert mean_pck(hits, counted).tolist() == [100]
    other, all_seen = square_pose()
    assert pck([truth, other], [truth, other + 1000], [seen, all_seen], [0.1]) == pytest.approx(14 * 50 / 15)


def test_without_a_visible_joint_pck_is_0():
    truth, seen = square_pose()
    hits, counted = pose_hits(truth, truth, ~seen, [0.1])
    assert not counted.any()
    assert mean_pck(hits, counted).tolist() == [0]


def test_a_box_that_is_a_point_counts_as_wrong_even_if_the_prediction_is_exact():
    truth, seen = square_pose()
    seen[1:, 1:] = False
    hits, counted = pose_hits(truth, truth, seen, [0.1, 0.5])
    assert counted[0] == 3
    assert not hits.any()


def test_joints_weigh_the_same_however_often_they_are_seen():
    truth, seen = square_pose(frames=11)
    pred = truth.copy()
    pred[:, 0] += 1000
    seen[2:, 1:14] = False
    assert pck([truth], [pred], [seen], [0.1]) == pytest.approx(100 * 14 / 15)


def test_clips_are_pooled_over_frames_not_averaged():
    (short, short_seen), (long, long_seen) = square_pose(2), square_pose(4)
    score = pck([short, long], [short + 1000, long], [short_seen, long_seen], [0.1])
    assert score == pytest.approx(75)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_counts_summed_over_clips_follow_the_definition(seed, videos):
    rng = np.random.default_rng(seed)
    truth = [rng.uniform(0, 40, (rng.integers(1, 6), 15, 2)) for _ in range(videos)]
    pred = [t + rng.normal(0, 4, t.shape) for t in truth]
    seen = [rng.random(t.shape[:2]) < 0.6 for t in truth]
    thresholds = [0.1, 0.3]
    right, counted = np.zeros((2, 15)), np.zeros(15)
    for gt, p, v in zip(truth, pred, seen, strict=True):
        for t in range(1, len(gt)):
            points = gt[t][v[t]]
            for j in np.flatnonzero(v[t]):
                box = 0.6 * math.dist(points.max(0), points.min(0))
                counted[j] += 1
                right[:, j] += [box > 0 and math.dist(gt[t, j], p[t, j]) / box <= a for a in thresholds]
    counts = [pose_hits(*video, thresholds) for video in zip(truth, pred, seen, strict=True)]
    np.testing.assert_array_equal(sum(c[0] for c in counts), right)
    np.testing.assert_array_equal(sum(c[1] for c in counts), counted)


def test_arrays_that_do_not_fit_are_refused():
    truth, seen = square_pose()
    with pytest.raises(ValueError, match=r"must be \[T, J, 2\]"):
        pose_hits(truth, truth[1:], seen, [0.1])
    with pytest.raises(ValueError, match=r"must be \[T, J, 2\]"):
        pose_hits(truth, truth, seen[:, :14], [0.1])
