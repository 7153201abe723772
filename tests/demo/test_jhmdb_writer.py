"""The demo copy has the layout of JHMDB, and its joints are where the figures are."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from rvm_bench.demo import jhmdb
from rvm_bench.demo.jhmdb import CLIPS, HEIGHT_PX, MARGIN_PX, WIDTH_PX, clear_scene, write
from rvm_bench.errors import UserError

SHORT = tuple(replace(clip, frames=4) for clip in CLIPS)
NAMES = [f"{clip.action}/{clip.name}" for clip in CLIPS]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "jhmdb"
    calls = []
    write(folder, clips=SHORT, progress=lambda name, done: calls.append((name, done)))
    assert calls == [(clip.name, done + 1) for clip in SHORT for done in range(4)]
    return folder


def read_poses(folder, name):
    return loadmat(folder / "joint_positions" / name / "joint_positions.mat")["pos_img"]


def test_splits_name_every_clip_as_test_and_one_more_as_train(copy):
    lines = {}
    for file in (copy / "splits").iterdir():
        lines[file.name.removesuffix("_test_split1.txt")] = [line.split() for line in file.read_text().splitlines()]
    assert lines.keys() == {clip.action for clip in CLIPS}
    tests = {f"{action}/{clip}" for action, listed in lines.items() for clip, use in listed if use == "2"}
    assert tests == {f"{name}.avi" for name in NAMES}
    assert all([use for _, use in listed].count("1") == 1 for listed in lines.values())


def test_nothing_is_written_but_splits_images_and_poses(copy):
    files = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    expected = {f"splits/{clip.action}_test_split1.txt" for clip in CLIPS}
    expected |= {f"joint_positions/{name}/joint_positions.mat" for name in NAMES}
    assert files == expected | {f"Rename_Images/{name}/{t:05d}.png" for name in NAMES for t in range(1, 5)}


def test_images_are_rgb_at_the_size_of_hmdb(copy):
    for file in copy.glob("Rename_Images/*/*/*.png"):
        with Image.open(file) as image:
            assert (image.size, image.mode, image.format) == ((320, 240), "RGB", "PNG")


def test_clips_outlast_the_context_of_the_protocol():
    assert all(25 <= clip.frames <= 32 for clip in CLIPS)
    assert len({clip.name for clip in CLIPS}) == len(CLIPS)


def test_a_pixel_centre_is_a_whole_number_and_the_first_is_one(copy):
    for number, (name, clip) in enumerate(zip(NAMES, SHORT, strict=True)):
        scene = clear_scene((0, number), replace(clip.scene, frames=4))
        poses = read_poses(copy, name)
        assert poses.shape == (2, 15, 4)
        assert poses.dtype == np.float64
        for t in range(4):
            np.testing.assert_allclose(poses[..., t].T, scene.joints(t)[0][0] + 0.5, atol=1e-12)


def test_joints_lie_on_the_figure_in_the_first_frame(copy):
    """By the masks of the scene: all but what is hidden."""
    for number, (name, clip) in enumerate(zip(NAMES, SHORT, strict=True)):
        instances = clear_scene((0, number), replace(clip.scene, frames=4)).render(0).instances
        column, row = np.rint(read_poses(copy, name)[..., 0]).astype(int) - 1
        assert (instances[row, column] == 1).sum() >= 13


def test_every_joint_starts_well_inside_and_the_pose_changes(copy):
    for name in NAMES:
        poses = read_poses(copy, name).transpose(2, 1, 0) - 1
        assert (poses[0] >= MARGIN_PX - 0.5).all()
        assert (poses[0] <= (WIDTH_PX - MARGIN_PX, HEIGHT_PX - MARGIN_PX)).all()
        size = np.linalg.norm(np.ptp(poses[0], axis=0))
        assert size > HEIGHT_PX / 2
        assert np.linalg.norm(poses[1:] - poses[0], axis=-1).mean() > size / 8


def test_the_copy_is_the_same_every_time_and_changes_with_the_seed(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write(tmp_path / name, seed=seed, clips=(replace(CLIPS[0], frames=2),))
    one, two, three = (
        [path.read_bytes() for path in sorted((tmp_path / name).rglob("*")) if path.suffix in (".png", ".mat")]
        for name in ("one", "two", "three")
    )
    assert len(one) == 3
    assert one == two
    assert all(ours != theirs for ours, theirs in zip(one, three, strict=True))


def test_the_pose_file_holds_no_date(copy):
    head = (copy / "joint_positions" / NAMES[0] / "joint_positions.mat").read_bytes()[:116]
    assert head.split() == [b"MATLAB", b"5.0", b"MAT-file"]


def test_an_existing_copy_is_never_overwritten(copy):
    with pytest.raises(UserError, match="splits exists"):
        write(copy, clips=SHORT)


def test_a_scene_that_cannot_be_clear_is_told(monkeypatch):
    monkeypatch.setattr(jhmdb, "_TRIES", 3)
    still = replace(CLIPS[0].scene, motions=("still",), camera_motion=0.0, strides=0.0, frames=2)
    with pytest.raises(UserError, match="no clear scene in 3 tries"):
        clear_scene((0,), still)
