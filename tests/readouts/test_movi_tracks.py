"""Tracks follow surface points exactly, and say when they are seen."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readouts.datasets.movi.tracks import MoviTruth, TrackRules, make_tracks
from rvm_bench.demo.movi import draw_truth
from rvm_bench.errors import UserError
from rvm_bench.procedural.world import make_world

FRAMES, TRACKS = 24, 256


def as_truth(drawn):
    """What is stored of a demo world, decoded: all its quantisation is in it."""
    low, high = drawn["metadata/depth_range"]
    return MoviTruth(
        video=drawn["video"],
        segmentations=drawn["segmentations"],
        depth_m=low + drawn["depth"].astype(np.float32) * (high - low) / np.float32(65535),
        object_coordinates=drawn["object_coordinates"],
        normals=drawn["normal"],
        bboxes_3d=drawn["instances/bboxes_3d"],
        object_quaternions=drawn["instances/quaternions"],
        camera_positions=drawn["camera/positions"],
        camera_quaternions=drawn["camera/quaternions"],
        focal_length=float(drawn["camera/focal_length"][0]),
        sensor_width=float(drawn["camera/sensor_width"][0]),
    )


def exact_tracks(world, query_tyx, side):
    """xy [T, n, 2] in pixels and visibility [T, n] of the points that the world shows at the queries."""
    xy, visible = np.zeros((world.frames, len(query_tyx), 2)), np.zeros((world.frames, len(query_tyx)), bool)
    for t in np.unique(query_tyx[:, 0]):
        of_frame = query_tyx[:, 0] == t
        exact = world.follow(int(t), query_tyx[of_frame][:, [2, 1]].astype(float), side, side)
        xy[:, of_frame], visible[:, of_frame] = exact.xy.swapaxes(0, 1), exact.visible.T
    return xy, visible


@pytest.fixture(scope="module", params=[(0, 96), (1, 96), (2, 256)], ids=["a96", "b96", "c256"])
def clip(request):
    """Truth, its side in pixels, tracks of it, and the exact ones."""
    seed, side = request.param
    world = make_world((5, seed), frames=FRAMES)
    truth = as_truth(draw_truth(world, side))
    tracks = make_tracks(truth, np.random.default_rng(seed))
    return truth, side, tracks, *exact_tracks(world, tracks.query_tyx, side)


def wall(positions, *, hw=(24, 32), distance_m=4.0, focal=1.0):
    """An empty clip: a camera that looks squarely at a wall, level with the world's axes, from each of `positions`."""
    height, width = hw
    frames = len(positions)
    y, x = np.mgrid[:height, :width] + 0.5
    rays = np.stack([(x - width / 2) / (focal * width), (height / 2 - y) / (focal * width), np.full(hw, -1.0)], axis=-1)
    blank = np.zeros((frames, height, width, 3), np.uint16)
    return MoviTruth(
        video=blank.astype(np.uint8),
        segmentations=np.zeros((frames, height, width), np.uint8),
        depth_m=np.repeat((distance_m * np.linalg.norm(rays, axis=-1))[None], frames, axis=0).astype(np.float32),
        object_coordinates=blank,
        normals=blank + np.array([32767, 32767, 65535], np.uint16),
        bboxes_3d=np.zeros((0, frames, 8, 3), np.float32),
        object_quaternions=np.zeros((0, frames, 4), np.float32),
        camera_positions=np.array(positions, np.float32),
        camera_quaternions=np.tile(np.array([1, 0, 0, 0], np.float32), (frames, 1)),
        focal_length=35.0 * focal,
        sensor_width=35.0,
    )


def card(truth, columns, *, distance_m, turned=()):
    """The clip with a thin square card in it, 1 m wide, in these columns of every frame; it has its back to the camera
    in the frames `turned`."""
    frames, height, _ = truth.segmentations.shape
    segmentations, depth = truth.segmentations.copy(), truth.depth_m.copy()
    segmentations[:, :, columns], depth[:, :, columns] = 1, distance_m
    corners = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3, indexing="ij"), axis=-1).reshape(8, 3) * (1, 1, 0.001)
    centre = np.array([0, 0, -distance_m])
    boxes = np.repeat((corners + centre)[None, None], frames, axis=1)
    boxes[:, list(turned)] = corners * (-1, 1, -1) + centre
    own = truth.object_coordinates.copy()
    own[:, :, columns, 0] = np.linspace(20000, 45000, columns.stop - columns.start).astype(np.uint16)
    own[:, :, columns, 1] = np.linspace(45000, 20000, height).astype(np.uint16)[:, None]
    own[:, :, columns, 2] = 65535
    return dataclasses.replace(
        truth,
        segmentations=segmentations,
        depth_m=depth,
        object_coordinates=own,
        bboxes_3d=boxes.astype(np.float32),
        object_quaternions=np.tile(np.array([1, 0, 0, 0], np.float32), (1, frames, 1)),
    )


def rng(seed=0):
    return np.random.default_rng(seed)


def test_before_a_still_camera_the_background_stays_where_it_is_and_is_seen():
    tracks = make_tracks(wall([(0, 0, 0)] * 5), rng(), tracks=40)
    expected = tracks.query_tyx[:, [2, 1]] / (32, 24)
    np.testing.assert_allclose(tracks.xy, np.broadcast_to(expected, (5, 40, 2)), atol=1e-6)
    assert tracks.visible.all()
    assert (tracks.xy.dtype, tracks.query_tyx.dtype, tracks.visible.dtype) == (np.float32, np.float32, bool)


def test_a_camera_that_moves_moves_the_background_by_focal_length_times_way_over_distance():
    """To the right and up by 0.25 m, 4 m before the wall: 32 px * 0.25 / 4 = 2 px to the left and down."""
    tracks = make_tracks(wall([(0, 0, 0), (0.25, 0.25, 0)]), rng(), tracks=20, query_frame=0)
    moved = (tracks.xy[1] - tracks.xy[0]) * (32, 24)
    np.testing.assert_allclose(moved, np.broadcast_to((-2, 2), (20, 2)), atol=1e-5)
    inside = ((tracks.xy[1] >= 0) & (tracks.xy[1] < 1)).all(axis=-1)
    np.testing.assert_array_equal(tracks.visible[1], inside)
    assert 0 < inside.sum() < 20


def test_a_point_behind_the_camera_has_no_place():
    tracks = make_tracks(wall([(0, 0, 0), (0, 0, -5)]), rng(), tracks=10, query_frame=0)
    assert (tracks.xy[1] == -1).all()
    assert not tracks.visible[1].any()


def test_the_background_is_hidden_behind_an_object_and_seen_beside_it():
    truth = wall([(0, 0, 0)] * 2)
    covered = card(truth, slice(8, 16), distance_m=2.0)
    for name in ("segmentations", "depth_m"):
        getattr(covered, name)[0] = getattr(truth, name)[0]
    tracks = make_tracks(covered, rng(), tracks=48, query_frame=0)
    column = tracks.query_tyx[:, 2]
    np.testing.assert_array_equal(tracks.visible[1], (column < 8.5) | (column > 15.5))


def test_the_wall_is_hidden_behind_what_lies_flat_on_it_which_only_segments_tell():
    truth = wall([(0, 0, 0)] * 2)
    covered = card(truth, slice(8, 16), distance_m=4.0)
    covered.segmentations[0], covered.depth_m[:] = 0, truth.depth_m
    tracks = make_tracks(covered, rng(), tracks=48, query_frame=0)
    column = tracks.query_tyx[:, 2]
    np.testing.assert_array_equal(tracks.visible[1], (column < 8.5) | (column > 15.5))


@pytest.mark.parametrize(("share", "seen"), [(0.985, False), (0.995, True)])
def test_what_is_nearer_by_more_than_a_hundredth_of_the_distance_hides_a_point_of_its_own_segment(share, seen):
    """Of a narrow view, so that the four pixels around a point are as far as it is."""
    truth = wall([(0, 0, 0)] * 2, focal=20.0)
    truth.depth_m[1] *= share
    tracks = make_tracks(truth, rng(), tracks=20, query_frame=0)
    assert (tracks.visible[1] == seen).all()


def test_a_normal_that_is_turned_away_from_the_camera_that_sees_it_is_not_believed():
    truth = card(wall([(0, 0, 0)] * 3), slice(8, 24), distance_m=2.0)
    back = np.broadcast_to(np.array([32767, 32767, 0], np.uint16), truth.normals.shape)
    tracks = make_tracks(dataclasses.replace(truth, normals=back), rng(), tracks=40)
    assert (tracks.segments == 1).any()
    assert tracks.visible.all()


def test_a_card_that_turns_its_back_hides_its_front_which_only_normals_tell():
    truth = card(wall([(0, 0, 0)] * 4), slice(8, 24), distance_m=2.0, turned=(2,))
    choice = {"tracks": 40, "query_frame": 0}
    tracks = make_tracks(truth, rng(), **choice)
    on_card = tracks.segments == 1
    assert 3 <= on_card.sum() < 40
    assert not tracks.visible[2, on_card].any()
    assert tracks.visible[[0, 1, 3]].all()
    blind = make_tracks(truth, rng(), **choice, rules=TrackRules(smooth_cosine=2.0))
    assert blind.visible.all()


def test_tracks_are_those_of_the_world_to_a_hundredth_of_a_pixel(clip):
    """Of the picture and of a raster of 256; 0.5 px is what is asked for."""
    _, side, tracks, xy, _ = clip
    near = ((xy > -side) & (xy < 2 * side)).all(axis=-1)
    assert near.mean() > 0.9
    off = np.linalg.norm(tracks.xy * side - xy, axis=-1)[near]
    assert off.max() * max(1, 256 / side) < 0.01


def test_visibility_is_that_of_the_world_but_for_pixels_beside_an_edge(clip):
    """All points agree that are more than a pixel away from where two segments meet, and 19 in 20 of those that are
    not; an edge is any pixel beside another segment, 10% of the points or so are on one."""
    truth, side, tracks, xy, visible = clip
    distance, differ = [], []
    for t in range(FRAMES):
        segments = truth.segmentations[t].astype(int)
        edge = np.zeros(segments.shape, bool)
        across, down = np.diff(segments, axis=1) != 0, np.diff(segments, axis=0) != 0
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        edge[1:] |= down
        edge[:-1] |= down
        from_edge = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        inside = ((xy[t] >= 0) & (xy[t] < side)).all(axis=-1)
        assert not tracks.visible[t, ~inside].any()
        column, row = np.floor(xy[t, inside]).astype(int).T
        distance.append(from_edge[row, column])
        differ.append((tracks.visible[t] != visible[t])[inside])
    distance, differ = np.concatenate(distance), np.concatenate(differ)
    away = distance > 1
    assert 0.7 < away.mean() < 0.95
    assert differ[away].mean() <= 0.0005
    assert differ.mean() < 0.02
    assert visible.mean() < 0.95, "some points are hidden"


def test_points_are_hidden_and_some_return(clip):
    _, _, tracks, _, visible = clip
    lost = np.cumsum(np.diff(visible.astype(int), axis=0) == -1, axis=0) > 0
    assert lost.any(axis=0).sum() > 30
    assert (lost & visible[1:]).any(axis=0).sum() >= 2
    assert tracks.visible.any(axis=0).all()


def test_a_query_is_a_pixels_centre_where_its_track_is_and_is_seen(clip):
    truth, side, tracks, _, _ = clip
    t, n = tracks.query_tyx[:, 0].astype(int), np.arange(TRACKS)
    np.testing.assert_allclose(tracks.xy[t, n] * side, tracks.query_tyx[:, [2, 1]], atol=0.01)
    assert (tracks.query_tyx[:, 1:] % 1 == 0.5).all()
    assert tracks.visible[t, n].all()
    y, x = np.floor(tracks.query_tyx[:, 1:]).astype(int).T
    np.testing.assert_array_equal(truth.segmentations[t, y, x], tracks.segments)


def test_queries_lie_on_a_grid_are_all_different_and_as_even_over_segments_as_their_sizes_allow(clip):
    truth, _, tracks, _, _ = clip
    assert len(np.unique(tracks.query_tyx, axis=0)) == TRACKS
    assert (np.ptp(np.floor(tracks.query_tyx) % 4, axis=0) == 0).all()
    first = np.floor(tracks.query_tyx[0]).astype(int) % 4
    grid = truth.segmentations[first[0] :: 4, first[1] :: 4, first[2] :: 4]
    sizes = np.bincount(grid.ravel())
    counts = np.bincount(tracks.segments, minlength=len(sizes))
    limits = np.floor(sizes * 0.1)
    assert (counts <= limits).all()
    assert np.ptp(counts[limits > counts]) <= 1
    assert (counts[limits == counts] <= counts.max()).all()


def test_the_window_for_training_is_that_of_the_frames_alone(clip):
    truth, _, _, _, _ = clip
    window = make_tracks(truth, rng(3), tracks=64, query_frame=0, window=(5, 16))
    assert window.xy.shape == (16, 64, 2)
    assert (window.query_tyx[:, 0] == 0).all()
    assert window.visible[0].all()
    assert not window.visible.all()
    y, x = np.floor(window.query_tyx[:, 1:]).astype(int).T
    np.testing.assert_array_equal(truth.segmentations[5, y, x], window.segments)
    same = make_tracks(truth, rng(3), tracks=64, query_frame=5)
    np.testing.assert_allclose(same.xy[5:21], window.xy, atol=1e-6)
    np.testing.assert_array_equal(same.visible[5:21], window.visible)


def test_where_objects_are_too_small_for_their_share_the_rest_comes_from_the_whole_grid():
    tracks = make_tracks(wall([(0, 0, 0)] * 2), rng(), tracks=40, query_frame=1)
    assert len(np.unique(tracks.query_tyx, axis=0)) == 40, "the grid has 48 pixels, a tenth of them is 4"


def test_the_same_generator_makes_the_same_tracks_and_another_one_others(clip):
    truth, _, tracks, _, _ = clip
    seed = int(np.flatnonzero([np.array_equal(make_tracks(truth, rng(s)).xy, tracks.xy) for s in range(3)])[0])
    others = [make_tracks(truth, rng(s)).query_tyx for s in range(3) if s != seed]
    assert not any(np.array_equal(other, tracks.query_tyx) for other in others)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    stride=st.integers(1, 7),
    frames=st.integers(1, 6),
    column=st.integers(0, 24),
    data=st.data(),
)
def test_any_rules_give_as_many_different_queries_as_asked_for_all_seen(seed, stride, frames, column, data):
    truth = card(wall([(0, 0, 0)] * frames), slice(column, column + 8), distance_m=2.0)
    query_frame = data.draw(st.none() | st.integers(0, frames - 1))
    least = (24 // stride) * (32 // stride) * (1 if query_frame is not None else max(frames // stride, 1))
    wanted = data.draw(st.integers(1, least))
    tracks = make_tracks(truth, rng(seed), tracks=wanted, query_frame=query_frame, rules=TrackRules(stride=stride))
    assert tracks.xy.shape == (frames, wanted, 2)
    assert np.isfinite(tracks.xy).all()
    assert len(np.unique(tracks.query_tyx, axis=0)) == wanted
    background = tracks.segments == 0
    t = tracks.query_tyx[:, 0].astype(int)
    assert tracks.visible[t, np.arange(wanted)][background].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (2, 4)}, r"a window of 4 frames from frame 2 on; the clip has frames 0 to 4"),
        ({"window": (0, 0)}, r"a window of 0 frames"),
        ({"window": (-1, 3)}, r"from frame -1"),
        ({"query_frame": 5}, r"query frame 5; the window has frames 0 to 4"),
        ({"query_frame": 2, "window": (0, 2)}, r"query frame 2; the window has frames 0 to 1"),
        ({"query_frame": 0, "tracks": 49}, r"49 tracks from 48 pixels; ask for fewer tracks, or for a smaller stride"),
    ],
)
def test_what_a_clip_cannot_give_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_tracks(wall([(0, 0, 0)] * 5), rng(), **options)
