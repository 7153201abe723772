"""The demo copy has the layouts of ScanNet, and its depth is that of the picture."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from readouts.datasets.scannet.scans import ExtractedScan, SensScan, load_clip
from readouts.datasets.scannet.splits import open_split
from rvm_bench.demo.scannet import (
    BASELINE_M,
    COLOUR_HW,
    DEPTH_HW,
    FAR_M,
    NEAR_M,
    SCANS,
    DemoScan,
    sense_depth,
    write,
)
from rvm_bench.errors import UserError
from rvm_bench.procedural.room import CLEARANCE_M, STROLL_M, Block, make_room

FRAMES = 16
FEW = (
    DemoScan(room=9000),
    DemoScan(room=9000, number=1, sens=True),
    DemoScan(room=9001, sens=True),
    DemoScan(room=9100, split="val"),
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "ScanNet"
    calls = []
    write(folder, scans=FEW, frames=FRAMES, progress=lambda name, done: calls.append((name, done)))
    assert calls == [(scan.name, t + 1) for scan in FEW for t in range(FRAMES)]
    return folder


def empty_room(half=(2.0, 1.3, 3.0), *blocks):
    """A room with these half sides and blocks, and a still camera in its middle that looks along z."""
    room = make_room(0)
    still = replace(room.path, middle=np.zeros(7), drift=np.zeros(7), sway=np.zeros(7))
    at = np.zeros((6 * (1 + len(blocks)), 2))
    return replace(room, half=np.array(half), blocks=blocks, texture_at=at, path=still)


def test_depth_is_the_cameras_z_on_a_wall_it_faces_and_on_one_it_does_not():
    room = empty_room((1.0, 0.6, 3.0))
    hits, _ = room.look(room.camera_at(0, 96, 128))
    wall = hits.surface == 5
    assert wall[48, 64]
    np.testing.assert_allclose(hits.along[wall], 3.0, rtol=1e-5)
    # The right wall, x = 1: z = 1 f / (x - cx).
    row, column = np.argwhere(hits.surface == 1)[0]
    assert hits.along[row, column] == pytest.approx(0.9 * 128 / (column + 0.5 - 64), rel=1e-5)
    # The ground, y = 0.6.
    row, column = np.argwhere(hits.surface == 3)[0]
    assert hits.along[row, column] == pytest.approx(0.6 * 0.9 * 128 / (row + 0.5 - 48), rel=1e-5)


def test_a_block_covers_the_pixels_and_has_the_depth_that_projection_says():
    block = Block(centre=np.array([0.0, 0.0, 2.2]), half=np.array([0.5, 0.25, 0.2]), yaw=0.0, texture=3)
    room = empty_room((2.0, 1.3, 3.0), block)
    camera = room.camera_at(0, 96, 128)
    hits, _ = room.look(camera)
    front = hits.surface == 6 + 4
    np.testing.assert_allclose(hits.along[front], 2.0, rtol=1e-5)
    rows, columns = np.nonzero(front)
    half_width, half_height = 0.5 * 0.9 * 128 / 2, 0.25 * 0.9 * 128 / 2
    assert (columns.min(), columns.max() + 1) == (round(64 - half_width), round(64 + half_width))
    assert (rows.min(), rows.max() + 1) == (round(48 - half_height), round(48 + half_height))
    np.testing.assert_array_equal(hits.surface[~front] < 6, True)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_looking_only_where_blocks_are_finds_what_looking_everywhere_finds(seed):
    room = make_room(seed)
    for tau in np.linspace(0, 1, 5):
        camera = room.camera_at(tau, 48, 64)
        quick, rays = room.look(camera)
        whole = room.cast(camera.to_world[:3, 3], rays)
        np.testing.assert_array_equal(quick.surface, whole.surface)
        np.testing.assert_allclose(quick.along, whole.along)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_point_seen_in_two_frames_is_the_same_place_on_the_same_surface(seed):
    """Depth and pose of frame i put a pixel into frame j, where the ray meets what was left, unless it is hidden."""
    room = make_room(seed)
    one, two = room.camera_at(0.4, 96, 128), room.camera_at(0.5, 96, 128)
    hits, rays = room.look(one)
    points = one.to_world[:3, 3] + hits.along[..., None] * rays
    np.testing.assert_allclose(one.project(points)[0][10, 20], (20.5, 10.5), atol=1e-3)
    xy, depth = two.project(points)
    inside = two.holds(xy) & (depth > 0)
    assert inside.mean() > 0.3
    again = room.cast(two.to_world[:3, 3], (points - two.to_world[:3, 3]))
    first = inside & (again.along > 1 - 1e-3)
    assert first.sum() > 0.7 * inside.sum()
    np.testing.assert_array_equal(again.surface[first], hits.surface[first])
    np.testing.assert_allclose(again.u[first], hits.u[first], atol=1e-3)
    np.testing.assert_allclose(again.v[first], hits.v[first], atol=1e-3)
    assert (again.along[inside & ~first] < 1).all(), "what is not met first is behind something"


def test_written_depth_and_poses_carry_a_picture_onto_the_next(copy):
    """From files alone: colours of frame 3, moved by depth and poses, are nearer to frame 4 than if nothing moved."""
    scan = next(scan for scan in open_split(copy, "train").scans if isinstance(scan, SensScan))
    depth_k, colour_k = scan.file.header.depth_intrinsics, scan.file.header.colour_intrinsics
    depth = scan.depth(3) / 1000
    rows, columns = np.nonzero(depth)
    z = depth[rows, columns]
    in_camera = np.stack([(columns - depth_k[0, 2]) * z / depth_k[0, 0], (rows - depth_k[1, 2]) * z / depth_k[1, 1], z])
    moved = np.linalg.inv(scan.pose(4)) @ scan.pose(3) @ np.vstack([in_camera, np.ones_like(z)])

    def colours(frame, points):
        x, y = (colour_k[k, k] * points[k] / points[2] + colour_k[k, 2] for k in (0, 1))
        inside = (x > 0) & (y > 0) & (x < COLOUR_HW[1] - 1) & (y < COLOUR_HW[0] - 1)
        picture = scan.colour(frame).astype(float)
        return picture[np.rint(y[inside]).astype(int), np.rint(x[inside]).astype(int)], inside

    here, seen = colours(3, in_camera)
    there, still_seen = colours(4, moved)
    both = seen & still_seen
    carried = np.abs(here[both[seen]] - there[both[still_seen]]).mean()
    unmoved, _ = colours(4, in_camera)
    assert both.mean() > 0.5
    assert carried < 0.5 * np.abs(here - unmoved).mean()


def test_depth_is_missing_in_the_shadow_of_the_projector_and_out_of_reach_only():
    block = Block(centre=np.array([0.0, 0.0, 1.0]), half=np.array([0.2, 0.2, 0.1]), yaw=0.0, texture=3)
    room = empty_room((2.0, 1.3, 3.0), block)
    depth = sense_depth(room, room.camera_at(0, 96, 128))
    middle = depth[48]
    assert (middle[middle > 0] == np.rint(room.look(room.camera_at(0, 96, 128))[0].along[48][middle > 0] * 1000)).all()
    holes = np.flatnonzero(middle == 0)
    # The projector is to the right, so the wall to the left of the block is in its shadow: b f (1 / near - 1 / far) px.
    edge = 64 - round(0.2 * 0.9 * 128 / 0.9)
    width = BASELINE_M * 0.9 * 128 * (1 / 0.9 - 1 / 3.0)
    assert holes.max() == edge - 1
    assert len(holes) == pytest.approx(width, abs=1.5)
    assert (sense_depth(empty_room((2.0, 1.3, 7.0)), room.camera_at(0, 96, 128))[48, 64]) == 0


def test_the_layout_is_that_of_scannet_in_both_forms(copy):
    assert (copy / "scannetv2_train.txt").read_text().split() == ["scene9000_00", "scene9000_01", "scene9001_00"]
    assert (copy / "scannetv2_val.txt").read_text().split() == ["scene9100_00"]
    folder = copy / "scans/scene9000_00"
    expected = {f"{kind}/{t}.{end}" for kind, end in (("color", "jpg"), ("depth", "png"), ("pose", "txt"))
                for t in range(FRAMES)}  # fmt: skip
    expected |= {f"intrinsic/{what}_{kind}.txt" for what in ("intrinsic", "extrinsic") for kind in ("color", "depth")}
    assert {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} == expected
    with Image.open(folder / "color/0.jpg") as image:
        assert (image.size, image.mode, image.format) == (COLOUR_HW[::-1], "RGB", "JPEG")
    with Image.open(folder / "depth/0.png") as image:
        assert (image.size, image.format) == (DEPTH_HW[::-1], "PNG")
        assert image.mode.startswith("I")
    np.testing.assert_allclose(np.loadtxt(folder / "pose/0.txt")[3], [0, 0, 0, 1])
    assert np.loadtxt(folder / "intrinsic/intrinsic_depth.txt")[0, 2] == DEPTH_HW[1] / 2 - 0.5
    assert {type(scan) for scan in open_split(copy, "train").scans} == {ExtractedScan, SensScan}
    assert not open_split(copy, "val").coverage.in_official


def test_the_camera_is_upright_in_a_world_whose_z_is_up(copy):
    for scan in open_split(copy, "train").scans:
        pose = scan.pose(0)
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-5)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1, abs=1e-5)
        assert pose[2, 1] < -0.8, "what is down in the picture is down in the world"


def test_depth_varies_so_that_no_constant_does_well(copy):
    depths = np.concatenate([load_clip(scan, range(0, FRAMES, 5), 56)[1] for split in ("train", "val")
                             for scan in open_split(copy, split).scans])  # fmt: skip
    valid = depths[depths > 0]
    assert valid.min() >= NEAR_M - 1e-3
    assert valid.max() <= FAR_M + 1e-3
    assert 0.002 < (depths == 0).mean() < 0.1
    best = min((np.abs(constant - valid) / valid).mean() for constant in np.linspace(0.4, 6, 100))
    assert best > 0.25
    assert np.percentile(valid, 95) > 3 * np.percentile(valid, 5)


@pytest.mark.parametrize("seed", range(4))
def test_the_camera_stays_clear_of_all_blocks(seed):
    room = make_room(seed, seed)
    assert min(block.distance_on_ground() for block in room.blocks) > STROLL_M + CLEARANCE_M
    for tau in np.linspace(0, 1, 20):
        assert np.linalg.norm(room.path.state(tau)[[0, 2]]) <= STROLL_M


def test_near_is_brighter_than_far():
    """The lamp that the camera carries makes one material darker with distance."""
    near, far = (empty_room((2.0, 1.3, z)).photograph(empty_room().camera_at(0, 48, 64)) for z in (1.0, 5.0))
    middle = np.s_[20:28, 28:36]
    assert near[middle].mean() > 1.3 * far[middle].mean()


def test_the_copy_is_the_same_every_time_and_changes_with_the_seed_the_room_and_the_scan(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write(tmp_path / name, seed=seed, scans=FEW[:3], frames=2)
    one, two, three = (
        [
            path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*.*"))
            if path.suffix in (".jpg", ".png", ".sens")
        ]
        for name in ("one", "two", "three")
    )
    assert len(one) == 2 + 2 + 2
    assert one == two
    assert all(ours != theirs for ours, theirs in zip(one, three, strict=True))
    assert len(set(one)) == len(one)


def test_an_existing_copy_is_never_overwritten(copy):
    with pytest.raises(UserError, match=r"scannetv2_train\.txt exists"):
        write(copy, frames=1)


def test_the_default_copy_has_both_splits_both_forms_a_rescan_and_no_official_room():
    for split in ("train", "val"):
        assert {scan.sens for scan in SCANS if scan.split == split} == {True, False}
    assert len({scan.name for scan in SCANS}) == len(SCANS)
    assert not {s.room for s in SCANS if s.split == "train"} & {s.room for s in SCANS if s.split == "val"}
    assert any(scan.number for scan in SCANS)
    assert min(scan.room for scan in SCANS) > 806, "the last official room"
