"""Tiny data sets in the official layouts of VIP and JHMDB, and how to edit them (that of DAVIS: tests/layouts.py)."""

import numpy as np
from PIL import Image
from scipy.io import savemat

from rvm_bench.media.images import read_labels

VIP_HW = (60, 110)
VIP_STEMS = [f"{1 + 25 * t:012d}" for t in range(4)]
VIP_MASKS, VIP_FRAMES = "Annotations/Category_ids", "Images"
JHMDB_HW = (48, 64)
JHMDB_CLIPS = {"jump/alpha": 4, "jump/beta": 3, "run/gamma": 5}
"""Frames of each test clip."""


def write_vip(root, names, frames=4):
    """Two squares of classes 4 and 13 that move over noise, three pixels a frame."""
    rng = np.random.default_rng(0)
    (root / "lists").mkdir(parents=True)
    (root / "lists/val_videos.txt").write_text("".join(f"{name}\n" for name in names))
    for number, name in enumerate(names):
        background = rng.integers(0, 256, (*VIP_HW, 3), dtype=np.uint8)
        squares = rng.integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
        for folder in (VIP_FRAMES, VIP_MASKS):
            (root / folder / name).mkdir(parents=True)
        for t, stem in enumerate(VIP_STEMS[:frames]):
            frame, mask = background.copy(), np.zeros(VIP_HW, np.uint8)
            for square, label, top in zip(squares, (4, 13), (8, 32), strict=True):
                left = 10 + 10 * (number % 5) + 3 * t
                frame[top : top + 20, left : left + 20], mask[top : top + 20, left : left + 20] = square, label
            Image.fromarray(frame).save(root / VIP_FRAMES / name / f"{stem}.jpg", quality=95)
            _write_mask(root / VIP_MASKS / name / f"{stem}.png", mask)
    return root


def edit_mask(copy, t, change, name="videos7"):
    """Rewrites a mask of a VIP copy by `change`, which edits it in place."""
    file = copy / VIP_MASKS / name / f"{VIP_STEMS[t]}.png"
    mask = read_labels(file).copy()
    change(mask)
    _write_mask(file, mask)


def _write_mask(file, mask):
    """As a gray PNG or as a palette PNG, by turns: both occur."""
    image = Image.fromarray(mask)
    if int(file.stem) % 2:
        image.putpalette([0, 0, 0] * 256)
    image.save(file)


def write_jhmdb(root):
    """A patch with 15 joints that moves over noise, 3 pixels a frame."""
    rng = np.random.default_rng(0)
    (root / "splits").mkdir(parents=True)
    (root / "splits/jump_test_split1.txt").write_text("alpha.avi 2\ntrained.avi 1\nbeta.avi 2 \n\n")
    (root / "splits/run_test_split1.txt").write_text("gamma.avi 2\n")
    (root / "splits/run_test_split2.txt").write_text("another.avi 2\n")
    for name, frames in JHMDB_CLIPS.items():
        (root / "Rename_Images" / name).mkdir(parents=True)
        (root / "joint_positions" / name).mkdir(parents=True)
        background = rng.integers(0, 256, (*JHMDB_HW, 3), dtype=np.uint8)
        patch = rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)
        pose = rng.uniform((8, 10), (26, 38), (15, 2))
        for t in range(frames):
            frame = background.copy()
            frame[9:39, 7 + 3 * t : 27 + 3 * t] = patch
            Image.fromarray(frame).save(root / "Rename_Images" / name / f"{t + 1:05d}.png")
        write_poses(root, name, [pose + np.array([3 * t, 0]) for t in range(frames)])
    return root


def poses_file(root, name):
    return root / "joint_positions" / name / "joint_positions.mat"


def write_poses(root, name, poses):
    """poses: [T, 15, 2], the centre of the top left pixel at (0, 0)."""
    savemat(poses_file(root, name), {"pos_img": np.asarray(poses).transpose(2, 1, 0) + 1, "scale": 1.0})


def truncate(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
