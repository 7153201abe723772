"""JHMDB on disk, in the official layout.

<root>/splits/<action>_test_split1.txt                         lines "<clip>.avi 2" (test) or "<clip>.avi 1" (train)
<root>/joint_positions/<action>/<clip>/joint_positions.mat     pos_img [2, 15, T]: (x, y) in pixels, the first is 1
<root>/Rename_Images/<action>/<clip>/00001.png                 RGB
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from propagation.datasets.sequences import Problems, decode, image_files, missing_files
from propagation.datasets.split import VerifiedSplit
from rvm_bench.errors import UserError

SPLITS, SUFFIX, FRAMES, POSES = "splits", "_test_split1.txt", "Rename_Images", "joint_positions"
JOINTS = 15
OFFICIAL_CLIPS = 268
"""Test clips of split 1 over all actions. Which clips they are is known from the split files alone."""
OFFICIAL_ACTIONS = frozenset(
    (
        "brush_hair", "catch", "clap", "climb_stairs", "golf", "jump", "kick_ball",
        "pick", "pour", "pullup", "push", "run", "shoot_ball", "shoot_bow",
        "shoot_gun", "sit", "stand", "swing_baseball", "throw", "walk", "wave",
    )
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PoseClip:
    """A verified clip: every image can be decoded, all have one size, and every pose has its image.

    Attributes:
        name: action/clip.
        frames: files in time order. Frames after the last pose are encoded but not scored.
        poses_file: the poses on disk.
        poses: joints float32 [T, 15, 2] as (x, y) in pixels, the centre of the top left pixel at (0, 0).
        native_hw: height and width in pixels.
    """

    name: str
    frames: tuple[Path, ...]
    poses_file: Path
    poses: np.ndarray
    native_hw: tuple[int, int]

    @property
    def length(self) -> int:
        return len(self.frames)

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.frames, self.poses_file)


def read_jhmdb(root: Path) -> VerifiedSplit:
    """The test clips of split 1 of the copy under `root`.

    Raises:
        UserError: there is no split file, one cannot be parsed or names a clip twice, or no test clip is named.
    """
    lists = image_files(root / SPLITS, SUFFIX)
    if not lists:
        raise UserError(f"{root / SPLITS}/<action>{SUFFIX} is missing; expected the official layout: is --data right?")
    names = [name for file in lists for name in _test_clips(file)]
    if not names:
        raise UserError(f"{root / SPLITS} names no test clip (a line that ends in 2)")
    clips, problems = _verify_clips(root, names)
    return VerifiedSplit(
        root=root,
        lists=lists,
        listed=names,
        videos=clips,
        problems={**_actions_without_split(root), **problems},
        official=OFFICIAL_CLIPS,
        in_official=sum(_action(clip.name) in OFFICIAL_ACTIONS for clip in clips),
        remarks=_remarks(names, clips),
    )


def _test_clips(file: Path) -> list[str]:
    """The test clips that a split file names, as action/clip."""
    names: list[str] = []
    listed: set[str] = set()
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if not line.strip():
            continue
        movie, use = [*line.rsplit(maxsplit=1), ""][:2]
        if use not in ("0", "1", "2"):
            raise UserError(f'{file} line {number} is "{line}", expected "<clip>.avi 1" (train) or 2 (test)')
        clip = movie.strip().split(".")[0]
        if clip in listed:
            raise UserError(f"{file} names {clip} more than once")
        listed.add(clip)
        if use == "2":
            names.append(f"{file.name.removesuffix(SUFFIX)}/{clip}")
    return names


def _verify_clips(root: Path, names: Sequence[str]) -> tuple[list[PoseClip], Problems]:
    """The usable clips in the order of `names`, and the problems of the others; every file is read."""
    clips: list[PoseClip] = []
    problems: Problems = {}
    for name in tqdm(names, desc="reading data", unit="clip", leave=False, disable=None):
        frames = image_files(root / FRAMES / name, ".png")
        poses_file = root / POSES / name / "joint_positions.mat"
        poses, wrong = _read_poses(poses_file)
        wrong += _numbering(root / FRAMES / name, frames, len(poses))
        if not wrong:
            native_hw, _, wrong = decode(frames)
        if wrong:
            problems[name] = wrong
        else:
            clips.append(
                PoseClip(name=name, frames=tuple(frames), poses_file=poses_file, poses=poses, native_hw=native_hw)
            )
    return clips, problems


def _actions_without_split(root: Path) -> Problems:
    """A problem for every action that has a folder of clips but no split file."""
    actions = {folder.name for kind in (FRAMES, POSES) for folder in _folders(root / kind)}
    splits = {action: root / SPLITS / f"{action}{SUFFIX}" for action in sorted(actions)}
    return {
        action: [f"{split} is missing (clips of that action are there)"]
        for action, split in splits.items()
        if not split.is_file()
    }


def _remarks(names: Sequence[str], clips: Sequence[PoseClip]) -> list[str]:
    actions = {_action(name) for name in names}
    lines = [
        f"{clip.name}: {clip.length} images, {len(clip.poses)} poses; the last images are encoded but not scored"
        for clip in clips
        if clip.length > len(clip.poses)
    ]
    lines += [f"{action}: not in {SPLITS}/*{SUFFIX}" for action in sorted(OFFICIAL_ACTIONS - actions)]
    lines += [f"{action}: not an official action" for action in sorted(actions - OFFICIAL_ACTIONS)]
    if len(names) != OFFICIAL_CLIPS:
        lines.append(f"{SPLITS} names {len(names)} test clips, the official split has {OFFICIAL_CLIPS}")
    return lines


def _numbering(folder: Path, frames: Sequence[Path], poses: int) -> list[str]:
    """Gaps in 00001.png, 00002.png, ..., or fewer images than poses, where the released code fails too."""
    if not frames:
        return [f"{folder} is missing or empty"]
    if odd := [file for file in frames if not (file.stem.isdecimal() and len(file.stem) == len(frames[0].stem))]:
        return [f"{odd[0]} is not named like 00001.png"]
    if int(frames[0].stem) == 0:
        return [f"{frames[0]} is one too many: images are numbered from 1"]
    wrong = [f"{file} is missing" for file in missing_files(frames, 1)]
    if not wrong and len(frames) < poses:
        wrong = [f"{folder} ends at {frames[-1].name}, expected {poses} images: there are {poses} poses"]
    return wrong


def _read_poses(file: Path) -> tuple[np.ndarray, list[str]]:
    """Joints float32 [T, 15, 2] with pixels counted from 0; where the file is damaged T = 0, and why."""
    from scipy.io import loadmat

    no_poses = np.zeros((0, JOINTS, 2), dtype=np.float32)
    if not file.is_file():
        return no_poses, [f"{file} is missing"]
    try:
        positions = loadmat(file, variable_names=["pos_img"]).get("pos_img")
    # SciPy follows offsets and types given in the file, so a damaged one can raise nearly any exception.
    except Exception as error:
        return no_poses, [
            f"{file} cannot be read as a MATLAB file ({error or type(error).__name__}); get the file again"
        ]
    if positions is None:
        return no_poses, [f"{file} holds no pos_img; is this the joint_positions.mat of JHMDB?"]
    if positions.dtype.kind not in "fiu" or positions.ndim != 3 or positions.shape[:2] != (2, JOINTS):
        return no_poses, [f"{file}: pos_img is {positions.dtype} {positions.shape}, expected numbers (2, {JOINTS}, T)"]
    if positions.shape[2] < 2:
        return no_poses, [f"{file} holds {positions.shape[2]} pose; at least 2 are needed"]
    if not np.isfinite(positions).all():
        return no_poses, [f"{file}: pos_img holds values that are not finite"]
    return (positions - 1.0).astype(np.float32).transpose(2, 1, 0), []


def _folders(folder: Path) -> list[Path]:
    """Folders inside a folder, without hidden ones: copies of JHMDB are known to hold ".AppleDouble"."""
    return [found for found in folder.glob("*") if found.is_dir() and not found.name.startswith(".")]


def _action(name: str) -> str:
    return name.split("/")[0]
