"""Damaged or incomplete data is refused by file name before anything runs, or left out if that is allowed."""

import numpy as np
import pytest
from copies import VIP_FRAMES, VIP_HW, VIP_MASKS, VIP_STEMS, edit_mask, poses_file, truncate, write_poses
from PIL import Image
from scipy.io import savemat

from rvm_bench.errors import UserError


def write_mat(root, *, change=None, content=None):
    savemat(poses_file(root, "jump/alpha"), content or {"pos_img": change(np.full((2, 15, 4), 20.0))})


def with_nan(poses):
    poses[1, 3, 2] = np.nan
    return poses


def delete_frame_and_mask(root):
    for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (root / folder / f"480p/alpha/00002.{suffix}").unlink()


def flip_bit(file):
    """Inside the pixels: most decoders read on."""
    content = bytearray(file.read_bytes())
    content[content.index(b"IDAT") + 8] ^= 4
    file.write_bytes(content)


def write_masks(root, first, later):
    for file in sorted((root / MASKS).iterdir()):
        Image.fromarray(np.full((60, 110), later if file.stem != "00000" else first, np.uint8)).save(file)


FRAMES, MASKS = "JPEGImages/480p/alpha", "Annotations/480p/alpha"
DAVIS = {
    "a frame": (lambda d: (d / FRAMES / "00002.jpg").unlink(), "alpha/00002.jpg"),
    "a mask": (lambda d: (d / MASKS / "00003.png").unlink(), "alpha/00003.png"),
    "a frame and its mask": (delete_frame_and_mask, "alpha/00002.jpg"),
    "a truncated frame": (lambda d: truncate(d / FRAMES / "00001.jpg"), "alpha/00001.jpg"),
    "a truncated mask": (lambda d: truncate(d / MASKS / "00001.png"), "alpha/00001.png"),
    "a mask of another size": (lambda d: Image.new("L", (7, 7)).save(d / MASKS / "00004.png"), "alpha/00004.png"),
    "a frame of another size": (lambda d: Image.new("RGB", (7, 7)).save(d / FRAMES / "00004.jpg"), "alpha/00004.jpg"),
    "a mask with a flipped bit": (lambda d: flip_bit(d / MASKS / "00002.png"), "alpha/00002.png"),
    "no object in the first mask": (lambda d: write_masks(d, 0, 1), "alpha/00000.png holds no object"),
    "ids that no mask holds": (lambda d: write_masks(d, 9, 3), "7 ids below it occur in no mask (1, 2, 4, 5, 6, ...)"),
    "a mask in colours": (lambda d: Image.new("RGB", (110, 60)).save(d / MASKS / "00000.png"), "alpha/00000.png"),
}


def vip_file(root, folder, t):
    return root / folder / "videos7" / f"{VIP_STEMS[t]}.{'jpg' if folder == VIP_FRAMES else 'png'}"


VIP = {
    "a frame": (lambda d: vip_file(d, VIP_FRAMES, 2).unlink(), f"videos7/{VIP_STEMS[2]}.jpg is missing"),
    "a mask": (lambda d: vip_file(d, VIP_MASKS, 3).unlink(), f"videos7/{VIP_STEMS[3]}.png is missing"),
    "a truncated frame": (
        lambda d: truncate(vip_file(d, VIP_FRAMES, 1)),
        f"videos7/{VIP_STEMS[1]}.jpg cannot be read",
    ),
    "a truncated mask": (
        lambda d: truncate(vip_file(d, VIP_MASKS, 1)),
        f"videos7/{VIP_STEMS[1]}.png: a damaged image",
    ),
    "a mask of another size": (
        lambda d: Image.new("L", (7, 7)).save(vip_file(d, VIP_MASKS, 3)),
        f"videos7/{VIP_STEMS[3]}.png is 7x7 px",
    ),
    "a frame of another size": (
        lambda d: Image.new("RGB", (7, 7)).save(vip_file(d, VIP_FRAMES, 3)),
        f"videos7/{VIP_STEMS[3]}.jpg is 7x7 px",
    ),
    "a mask in colours": (
        lambda d: Image.new("RGB", VIP_HW[::-1]).save(vip_file(d, VIP_MASKS, 0)),
        f"videos7/{VIP_STEMS[0]}.png has mode RGB",
    ),
    "an id that is no class": (
        lambda d: edit_mask(d, 2, lambda mask: mask.__setitem__((0, 0), 20)),
        f"videos7/{VIP_STEMS[2]}.png holds id 20, expected 0..19 or 255",
    ),
    "a first mask without a class": (
        lambda d: edit_mask(d, 0, lambda mask: mask.fill(255)),
        f"videos7/{VIP_STEMS[0]}.png holds only 255",
    ),
}

IMAGES = "Rename_Images/jump/alpha"
JHMDB = {
    "no image": (lambda d: [file.unlink() for file in (d / IMAGES).iterdir()], "jump/alpha is missing or empty"),
    "a gap": (lambda d: (d / IMAGES / "00002.png").unlink(), "alpha/00002.png is missing"),
    "no first image": (lambda d: (d / IMAGES / "00001.png").unlink(), "alpha/00001.png is missing"),
    "no last image": (lambda d: (d / IMAGES / "00004.png").unlink(), "alpha ends at 00003.png, expected 4 images"),
    "an image too many": (
        lambda d: (d / IMAGES / "00000.png").write_bytes((d / IMAGES / "00001.png").read_bytes()),
        "alpha/00000.png is one too many",
    ),
    "a stray image": (
        lambda d: (d / IMAGES / "thumb.png").write_bytes((d / IMAGES / "00001.png").read_bytes()),
        "alpha/thumb.png is not named like 00001.png",
    ),
    "a truncated image": (lambda d: truncate(d / IMAGES / "00003.png"), "alpha/00003.png cannot be read"),
    "an image of another size": (lambda d: Image.new("RGB", (7, 7)).save(d / IMAGES / "00003.png"), "00003.png is 7x7"),
    "no poses": (lambda d: poses_file(d, "jump/alpha").unlink(), "alpha/joint_positions.mat is missing"),
    "truncated poses": (lambda d: truncate(poses_file(d, "jump/alpha")), "alpha/joint_positions.mat cannot be read"),
    "text for poses": (lambda d: poses_file(d, "jump/alpha").write_text("gone"), "joint_positions.mat cannot be read"),
    "no pos_img": (lambda d: write_mat(d, content={"pos_world": np.ones(3)}), "joint_positions.mat holds no pos_img"),
    "too few joints": (lambda d: write_mat(d, change=lambda p: p[:, :14]), "mat: pos_img is float64 (2, 14, 4)"),
    "axes in another order": (lambda d: write_mat(d, change=lambda p: p.T), "mat: pos_img is float64 (4, 15, 2)"),
    "words": (lambda d: write_mat(d, content={"pos_img": "none"}), "joint_positions.mat: pos_img is"),
    "a pose that is not finite": (lambda d: write_mat(d, change=with_nan), "pos_img holds values that are not finite"),
    "a single pose": (lambda d: write_mat(d, change=lambda p: p[..., :1]), "joint_positions.mat"),
}

UNDAMAGED = {
    "davis": ["beta", "gamma"],
    "vip": ["videos8", "videos30"],
    "jhmdb": ["jump/beta", "run/gamma"],
}
"""The videos of each copy that the damage above leaves usable."""
DAMAGE = [
    pytest.param(name, *case, id=f"{name}: {what}")
    for name, cases in (("davis", DAVIS), ("vip", VIP), ("jhmdb", JHMDB))
    for what, case in cases.items()
]


@pytest.fixture
def task_and_copy(request):
    """By the name of a task: the task at a small input, and a tiny copy of its data."""
    return lambda name: (request.getfixturevalue(name), request.getfixturevalue(f"{name}_copy"))


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE)
def test_damaged_data_is_refused_by_file_name_before_anything_runs(task_and_copy, name, damage, message):
    task, copy = task_and_copy(name)
    damage(copy)
    with pytest.raises(UserError) as error:
        task.open(copy)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert any(message in line for line in task.check(copy))


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE)
def test_allowed_damage_leaves_the_video_out_and_says_so(task_and_copy, name, damage, message):
    task, copy = task_and_copy(name)
    damage(copy)
    dataset = task.open(copy, allow_missing=True)
    assert [video.name for video in dataset.videos] == UNDAMAGED[name]
    assert dataset.coverage.partial
    assert message in dataset.coverage.missing[0]


def test_the_first_problem_is_named_with_the_number_of_others(davis, davis_copy):
    for name in ("beta", "gamma"):
        (davis_copy / f"JPEGImages/480p/{name}/00001.jpg").unlink()
    with pytest.raises(UserError, match=r"beta/00001.jpg is missing .*\(and 1 more\); `rvm-bench data check davis"):
        davis.open(davis_copy)
    for file in (davis_copy / "JPEGImages/480p/alpha").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="no video is usable"):
        davis.open(davis_copy, allow_missing=True)


@pytest.mark.parametrize(
    ("name", "split", "line", "message"),
    [
        ("davis", "ImageSets/2017/val.txt", "delta\n", r"delta is missing or empty"),
        ("vip", "lists/val_videos.txt", "videos99\n", r"videos99 is missing or empty"),
        ("jhmdb", "splits/run_test_split1.txt", "delta.avi 2\n", r"run/delta/joint_positions\.mat is missing"),
    ],
)
def test_a_video_that_is_listed_but_not_there_is_named(task_and_copy, name, split, line, message):
    task, copy = task_and_copy(name)
    with (copy / split).open("a") as file:
        file.write(line)
    with pytest.raises(UserError, match=message):
        task.open(copy)


@pytest.mark.parametrize(
    ("name", "file", "added"),
    [
        ("davis", "JPEGImages/480p/gamma/00003.jpg", b"\0"),
        ("vip", f"{VIP_FRAMES}/videos30/{VIP_STEMS[3]}.jpg", b"\0"),
        ("jhmdb", "Rename_Images/run/gamma/00003.png", b"\n"),
        ("jhmdb", "splits/run_test_split1.txt", b"\n"),
    ],
)
def test_the_manifest_follows_every_byte_of_the_data(task_and_copy, name, file, added):
    task, copy = task_and_copy(name)
    before = task.open(copy).manifest_sha256
    assert task.open(copy).manifest_sha256 == before
    (copy / file).write_bytes((copy / file).read_bytes() + added)
    assert task.open(copy).manifest_sha256 != before


def test_the_manifest_follows_the_poses(jhmdb, jhmdb_copy):
    before = jhmdb.open(jhmdb_copy).manifest_sha256
    write_poses(jhmdb_copy, "run/gamma", jhmdb.open(jhmdb_copy).videos[2].poses + 1)
    assert jhmdb.open(jhmdb_copy).manifest_sha256 != before
