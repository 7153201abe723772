"""The demo copy has the official layout of MOVi-E, and its worlds move as they should, with exact tracks."""

import numpy as np
import pytest

from readouts.datasets.movi.copy import open_movi
from rvm_bench.demo.movi import FRAMES, SENSOR_MM, draw_truth, write
from rvm_bench.errors import UserError
from rvm_bench.procedural.world import FOCAL, PAN, WINDOW, make_world

CLIPS, SHARDS, SIDE = 3, 2, 64


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "MOVi"
    calls = []
    write(
        folder,
        training=CLIPS,
        shards=SHARDS,
        side_px=SIDE,
        progress=lambda name, frames: calls.append((name, frames)),
    )
    assert calls == [(str(clip), FRAMES) for clip in range(CLIPS)]
    return folder


@pytest.fixture(scope="module")
def worlds():
    return [make_world((9, seed), frames=FRAMES) for seed in range(8)]


def displacements(world, *, stride, seed=0, points=40):
    """How far points that are seen in the first frame of a window are from there while they are seen, in pixels of a
    raster of 256."""
    tracks = world.tracks(points, seed, 96, 96)
    frames = np.arange(WINDOW) * stride
    chosen = tracks.visible[:, 0]
    xy, visible = tracks.xy[chosen][:, frames] * 256 / 96, tracks.visible[chosen][:, frames]
    return np.linalg.norm(xy - xy[:, :1], axis=-1)[:, 1:][visible[:, 1:]]


def test_the_copy_is_in_the_official_layout_and_the_reader_finds_nothing_wrong(copy):
    folder = copy / "movi_e/256x256/1.0.0"
    names = {f"movi_e-train.tfrecord-{shard:05d}-of-{SHARDS:05d}" for shard in range(SHARDS)}
    assert {path.name for path in folder.iterdir()} == names | {"dataset_info.json"}
    opened = open_movi(copy)
    assert (len(opened), opened.kind, opened.expected) == (CLIPS, "truth", (2, 1))
    assert opened.problems() == []


def test_what_is_read_is_what_was_drawn_to_the_last_bit_of_its_quantisation(copy):
    drawn = draw_truth(make_world((0, 2), frames=FRAMES), SIDE)
    clip = open_movi(copy).clip(2)
    truth = clip.truth
    assert truth.video.shape == (FRAMES, SIDE, SIDE, 3)
    np.testing.assert_array_equal(clip.frames, drawn["video"])
    np.testing.assert_array_equal(truth.segmentations, drawn["segmentations"])
    np.testing.assert_array_equal(truth.object_coordinates, drawn["object_coordinates"])
    np.testing.assert_array_equal(truth.normals, drawn["normal"])
    np.testing.assert_array_equal(truth.bboxes_3d, drawn["instances/bboxes_3d"])
    np.testing.assert_array_equal(truth.object_quaternions, drawn["instances/quaternions"])
    np.testing.assert_array_equal(truth.camera_positions, drawn["camera/positions"])
    np.testing.assert_array_equal(truth.camera_quaternions, drawn["camera/quaternions"])
    assert truth.focal_length / truth.sensor_width == pytest.approx(FOCAL)
    assert truth.sensor_width == SENSOR_MM
    np.testing.assert_allclose([truth.depth_m.min(), truth.depth_m.max()], drawn["metadata/depth_range"], rtol=1e-6)


def test_depth_segments_and_boxes_are_of_one_world(worlds):
    """From what is stored alone: an object's pixels, put into the world by depth and camera, lie in its box."""
    drawn = draw_truth(worlds[0], SIDE)
    low, high = drawn["metadata/depth_range"]
    t = 7
    depth = low + drawn["depth"][t] / 65535 * (high - low)
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2) / (FOCAL * SIDE)
    rays = np.stack([x, -y, -np.ones_like(x)], axis=-1)
    w, *xyz = drawn["camera/quaternions"][t]
    axis = np.array(xyz)
    turned = rays + 2 * np.cross(axis, np.cross(axis, rays) + w * rays)
    points = drawn["camera/positions"][t] + turned * (depth / np.linalg.norm(rays, axis=-1))[..., None]
    for index in range(len(drawn["instances/bboxes_3d"])):
        corners = drawn["instances/bboxes_3d"][index, t].astype(float)
        sides = np.stack([corners[4] - corners[0], corners[2] - corners[0], corners[1] - corners[0]])
        here = drawn["segmentations"][t] == index + 1
        assert here.sum() == drawn["instances/visibility"][index, t]
        shares = (points[here] - corners[0]) @ sides.T / (sides**2).sum(axis=1)
        assert ((shares > -0.002) & (shares < 1.002)).all()
        stored = drawn["object_coordinates"][t][here] / 65535
        np.testing.assert_allclose(shares, stored, atol=0.002)
    up = points[drawn["segmentations"][t] == 0][:, 2]
    assert up.min() == pytest.approx(-2.6, abs=0.01), "the floor, with z upwards"


def test_normals_face_the_camera_and_are_those_of_the_depth(worlds):
    world, t = worlds[1], 3
    room, camera = world.at(t), world.camera_at(t, SIDE, SIDE)
    hits, rays = room.look(camera)
    normals = room.normals_at(hits)
    assert ((normals * rays).sum(axis=-1) < 1e-3).all()
    points = hits.along[..., None] * rays
    same = (hits.surface[1:-1, :-2] == hits.surface[1:-1, 2:]) & (hits.surface[1:-1, 2:] == hits.surface[1:-1, 1:-1])
    along = (points[1:-1, 2:] - points[1:-1, :-2])[same]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    assert np.abs((along * normals[1:-1, 1:-1][same]).sum(axis=1)).max() < 0.25
    assert np.median(np.abs((along * normals[1:-1, 1:-1][same]).sum(axis=1))) < 1e-3


def test_a_track_is_on_the_surface_of_its_pixel_where_it_is_seen_and_behind_it_where_not(worlds):
    """But for pixels on an edge, whose centre shows another surface."""
    world = worlds[2]
    tracks = world.tracks(120, 0, 96, 96)
    assert tracks.visible[np.arange(120), tracks.frame].all()
    on_surface, behind = [], []
    for t in range(0, FRAMES, 3):
        hits, _ = world.at(t).look(world.camera_at(t, 96, 96))
        xy = tracks.xy[:, t]
        inside = ((xy >= 0) & (xy < 96)).all(axis=-1)
        seen = tracks.visible[:, t]
        assert not seen[~inside].any()
        column, row = np.floor(np.where(inside[:, None], xy, 0)).astype(int).T
        nearer = tracks.depth[:, t] - hits.along[row, column]
        same = hits.surface[row, column] == 6 * tracks.instance + tracks.part
        on_surface.extend((same & (np.abs(nearer) < 0.1))[seen])
        behind.extend(nearer[inside & ~seen] > 0)
    assert np.mean(on_surface) > 0.9
    assert len(behind) > 20
    assert np.mean(behind) > 0.75


def test_points_move_so_much_in_a_window_that_keeping_their_place_does_not_do(worlds):
    means = np.array([displacements(world, stride=1).mean() for world in worlds])
    assert (means > 9).all()
    assert (means < 45).all()
    assert 15 < means.mean() < 30


def test_a_window_of_every_second_frame_of_a_faster_video_holds_as_much_motion(worlds):
    slow = np.mean([displacements(world, stride=1).mean() for world in worlds])
    fast = [displacements(make_world((9, seed), frames=64, stride=2), stride=2).mean() for seed in range(8)]
    assert 0.75 < slow / np.mean(fast) < 1.33


def test_the_image_pans_one_way_by_the_share_of_its_width_that_is_said(worlds):
    """A point that stands still where the solids are, before the camera half way through the clip."""
    for world in worlds:
        first, last = (world.camera_at(t, 96, 96) for t in (4, 4 + WINDOW - 1))
        middle = (first.to_world + last.to_world)[:3] / 2
        xy = np.array([camera.project(middle[:, 3] + 4.5 * middle[:, 2])[0] for camera in (first, last)]) / 96
        # Beside the constant pan there is a little sway.
        assert PAN[0] - 0.04 < abs(xy[1, 0] - xy[0, 0]) < PAN[1] + 0.04
        assert abs(xy[1, 1] - xy[0, 1]) < 0.1


def test_some_solids_leave_the_image_and_return(worlds):
    returned = 0
    for world in worlds:
        counts = draw_counts(world)
        gone = (counts == 0) & (np.cumsum(counts > 20, axis=1) > 0)
        returned += ((counts > 20) & (np.cumsum(gone, axis=1) > 0)).any(axis=1).sum()
    assert returned >= 2


def draw_counts(world):
    """How many pixels of every solid are seen in every frame, [solids, T]."""
    counts = []
    for t in range(world.frames):
        hits, _ = world.at(t).look(world.camera_at(t, 64, 64))
        counts.append(np.bincount((hits.surface // 6).ravel(), minlength=len(world.paths) + 1)[1:])
    return np.array(counts).T


def test_a_point_to_follow_must_lie_in_the_image(worlds):
    with pytest.raises(ValueError, match="frame 3 has some that do not"):
        worlds[0].follow(3, np.array([[96.0, 5.0]]), 96, 96)
    with pytest.raises(IndexError, match="frame 24 of a world of 24 frames"):
        worlds[0].at(24)


def test_the_copy_is_the_same_every_time_and_changes_with_the_seed(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write(tmp_path / name, seed=seed, training=1, shards=1, side_px=32)
    one, two, three = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*") if path.is_file()}
        for name in ("one", "two", "three")
    )
    assert one == two
    shard = "movi_e-train.tfrecord-00000-of-00001"
    assert one[shard] != three[shard]


def test_an_existing_copy_is_never_overwritten(copy):
    with pytest.raises(UserError, match=r"1\.0\.0 exists; name an empty folder"):
        write(copy)
