"""JHMDB human pose propagation: protocol, reader, measure and score.

    <root>/splits/<action>_test_split1.txt                         lines "<clip>.avi 2" (test) or "<clip>.avi 1" (train)
    <root>/joint_positions/<action>/<clip>/joint_positions.mat     pos_img [2, 15, T]: (x, y) in pixels, the first is 1
    <root>/Rename_Images/<action>/<clip>/00001.png                 RGB

The joints of frame 0 are propagated through the clip; PCK is the mean over the 15 joints of all clips.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from tqdm import tqdm

from propagation.labels import heat_to_pose, pose_to_heat
from propagation.metrics import mean_pck, pose_hits
from propagation.predictions import pose_file, pose_overlay, save_pose
from propagation.sequences import dataset_of, decode, holes, image_files
from propagation.tasks.protocol import NOTEBOOK, PropagationProtocol, seconds_per_frame, soft_labels
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.task import Dataset, DataSource, Metric, Overlay, Record, SavesPredictions, Task, constant
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class JhmdbProtocol(PropagationProtocol):
    """How the paper's JHMDB column is measured."""

    id: str = "jhmdb-split1/1"
    input_height_px: int = constant(320, "paper Table 8")
    input_width_px: int = constant(320, "paper Table 8; the aspect ratio is not kept")
    label_map: Literal["gaussian-sigma-0.5"] = constant(
        "gaussian-sigma-0.5", f"{NOTEBOOK}: stamps of 4x4 cells, and a background channel"
    )
    readout_cells: int = constant(5, f"{NOTEBOOK}: weighted mean of the 5 best cells (3 in videowalk)")
    thresholds: tuple[float, ...] = constant((0.1, 0.2, 0.3, 0.4, 0.5), f"{NOTEBOOK}; the paper prints 0.1")
    box_share: float = constant(0.6, "UVC eval_pck.py: of the diagonal of the box around the true joints")
    frames_scored: Literal["1..T-1"] = constant("1..T-1", "UVC eval_pck.py: all but the frame whose joints are given")
    joints_scored: Literal["predicted"] = constant("predicted", "UVC eval_pck.py: a joint that was lost is no miss")
    average: Literal["joints"] = constant(
        "joints", "UVC eval_pck.py: share over all frames of all clips, then plain mean over joints"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0.1 not in self.thresholds or min(self.thresholds) < 0:
            raise UserError(f"thresholds={self.thresholds}: expected shares of 0 or more, 0.1 (the score) among them")
        if self.readout_cells < 1 or not self.box_share > 0:
            raise UserError(
                f"readout_cells={self.readout_cells}, box_share={self.box_share}: expected at least 1, and above 0"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PoseClip:
    """A verified clip: every image can be read, all have one size, and every pose has its image.

    Attributes:
        name: action/clip.
        frames: files in time order; there may be more than poses, and the last are then encoded but not scored.
        poses_file: where the poses come from.
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


class JhmdbTask(SavesPredictions, Task[JhmdbProtocol]):
    """JHMDB test split 1, percentage of correct keypoints."""

    name: ClassVar[str] = "jhmdb"
    title: ClassVar[str] = "human pose propagation, JHMDB split 1, PCK@0.1"
    folder: ClassVar[str] = "jhmdb"
    metric: ClassVar[Metric] = Metric(key="PCK@0.1", label="JHMDB PCK@0.1", floor="first_pose PCK@0.1")
    source: ClassVar[DataSource | None] = DataSource(
        url="https://storage.googleapis.com/representations4d/datasets/jhmdb.zip",
        archive="jhmdb.zip",
        homepage="http://jhmdb.is.tue.mpg.de",
        licence="JHMDB (Jhuang et al., ICCV 2013) annotates clips of HMDB51 and is given for research; its page states "
        "the terms. This archive is the copy that the authors of RVM publish for their evaluation.",
        inside="jhmdb",
    )

    def __init__(self, protocol: JhmdbProtocol | None = None) -> None:
        self.protocol = protocol or JhmdbProtocol()

    def open(self, data: Path, *, allow_missing: bool = False) -> Dataset:
        splits, names = read_splits(data)
        clips, problems = verify_clips(data, names)
        return dataset_of(
            self,
            data,
            clips,
            [*splits, *(file for clip in clips for file in (*clip.frames, clip.poses_file))],
            listed=len(names),
            official=OFFICIAL_CLIPS,
            in_official=sum(_action(clip.name) in OFFICIAL_ACTIONS for clip in clips),
            problems=problems,
            allow_missing=allow_missing,
        )

    def check(self, data: Path) -> list[str]:
        _, names = read_splits(data)
        clips, problems = verify_clips(data, names)
        actions = {_action(name) for name in names}
        lines = [f"{name}: {problem}" for name, wrong in problems.items() for problem in wrong]
        lines += [
            f"{clip.name}: {clip.length} images, {len(clip.poses)} poses; the last images are encoded but not scored"
            for clip in clips
            if clip.length > len(clip.poses)
        ]
        lines += [f"{action}: not in {SPLITS}/*{SUFFIX}" for action in sorted(OFFICIAL_ACTIONS - actions)]
        lines += [f"{action}: not an official action" for action in sorted(actions - OFFICIAL_ACTIONS)]
        if len(names) != OFFICIAL_CLIPS:
            lines.append(f"{SPLITS} names {len(names)} test clips, the official split has {OFFICIAL_CLIPS}")
        return lines

    def measure(self, encoder: Encoder, video: PoseClip, tick: Callable[[], object] = lambda: None) -> Record:
        """How often each joint was right and counted, of the propagated joints and of the first pose held still.

        Frames are read, encoded, propagated and read out one after the other: memory does not grow with the clip. In
        the held pose every joint is visible.
        """
        heat = pose_to_heat(video.poses[0], encoder.grid(*self.protocol.input_hw), video.native_hw)
        keypoints, visible = [], []
        for soft in soft_labels(encoder, video.frames, heat, self.protocol):
            xy, seen = heat_to_pose(soft[None].cpu(), video.native_hw, cells=self.protocol.readout_cells)
            keypoints.append(xy[0])
            visible.append(seen[0])
            tick()
        if self.predictions is not None:
            save_pose(self.predictions, video.name, np.stack(keypoints), np.stack(visible))
        scored = len(video.poses)
        held = np.broadcast_to(video.poses[0], video.poses.shape)
        return {
            "frames": video.length,
            "poses": scored,
            **self._count(video.poses, np.stack(keypoints[:scored]), np.stack(visible[:scored])),
            "first_pose": self._count(video.poses, held, np.ones(held.shape[:2], dtype=bool)),
        }

    def score(self, records: Sequence[Record]) -> dict[str, float]:
        """Percent; `first_pose` is what holding the pose of frame 0 scores, with all its joints counted.

        The mean is over the joints that are visible in any prediction ("joints"): 15, but in a handful of clips it may
        be fewer, where the official code fails with 0/0.
        """
        counted = _total([record["counted"] for record in records])
        values = mean_pck(_total([record["hits"] for record in records]), counted)
        first = self.protocol.thresholds.index(0.1)
        held = mean_pck(
            _total([record["first_pose"]["hits"][first : first + 1] for record in records]),
            _total([record["first_pose"]["counted"] for record in records]),
        )
        by_threshold = zip(self.protocol.thresholds, values.tolist(), strict=True)
        return {
            **{f"PCK@{threshold:g}": value for threshold, value in by_threshold},
            "first_pose PCK@0.1": float(held[0]),
            "joints": int(np.count_nonzero(counted)),
            "clips": len(records),
        }

    def scene(self, video: str) -> str:
        """A clip's name without the number at its end, which counts the clips cut from one film."""
        film, _, number = video.rpartition("_")
        return film if number.isdecimal() else video

    def estimate_seconds(self, encoder: Encoder, dataset: Dataset) -> float:
        clip = dataset.videos[0]
        assert isinstance(clip, PoseClip)
        heat = pose_to_heat(clip.poses[0], encoder.grid(*self.protocol.input_hw), clip.native_hw)
        return dataset.frames * seconds_per_frame(encoder, clip.frames, heat, self.protocol)

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import jhmdb

        with tqdm(desc="writing demo data", unit="frame", leave=False, disable=None) as bar:
            jhmdb.write(folder, progress=lambda *_: bar.update())

    def lacks_predictions(self, video: PoseClip) -> bool:
        return self.predictions is not None and not pose_file(self.predictions, video.name).exists()

    def overlay(self, folder: Path, video: PoseClip, record: Record, most: int) -> Overlay:
        return pose_overlay(folder, video.name, video.frames[: len(video.poses)], video.poses, most)

    def _count(self, truth: np.ndarray, prediction: np.ndarray, visible: np.ndarray) -> dict[str, list]:
        hits, counted = pose_hits(
            truth, prediction, visible, self.protocol.thresholds, box_share=self.protocol.box_share
        )
        return {"hits": hits.tolist(), "counted": counted.tolist()}


def read_splits(data: Path) -> tuple[list[Path], list[str]]:
    """The split files, and the test clips that they name, as action/clip.

    Raises:
        UserError: there is no split file, one cannot be understood or names a clip twice, or no test clip is named.
    """
    files = image_files(data / SPLITS, SUFFIX)
    if not files:
        raise UserError(f"{data / SPLITS}/<action>{SUFFIX} is missing; expected the official layout: is --data right?")
    names: list[str] = []
    for file in files:
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
    if not names:
        raise UserError(f"{data / SPLITS} names no test clip (a line that ends in 2)")
    return files, names


def verify_clips(data: Path, names: Sequence[str]) -> tuple[list[PoseClip], dict[str, list[str]]]:
    """The clips that are whole, in the order of `names`, and for every other one all that is wrong with it.

    An action that has a folder but no split file counts as broken too. Every file is read, so that nothing fails hours
    later in the middle of a run.
    """
    clips: list[PoseClip] = []
    problems: dict[str, list[str]] = {}
    for action in sorted({folder.name for kind in (FRAMES, POSES) for folder in _folders(data / kind)}):
        if not (split := data / SPLITS / f"{action}{SUFFIX}").is_file():
            problems[action] = [f"{split} is missing (clips of that action are there)"]
    for name in tqdm(names, desc="reading data", unit="clip", leave=False, disable=None):
        frames = image_files(data / FRAMES / name, ".png")
        poses_file = data / POSES / name / "joint_positions.mat"
        poses, wrong = _read_poses(poses_file)
        wrong += _numbering(data / FRAMES / name, frames, len(poses))
        if not wrong:
            native_hw, _, wrong = decode(frames)
        if wrong:
            problems[name] = wrong
        else:
            clips.append(
                PoseClip(name=name, frames=tuple(frames), poses_file=poses_file, poses=poses, native_hw=native_hw)
            )
    return clips, problems


def _numbering(folder: Path, frames: Sequence[Path], poses: int) -> list[str]:
    """Holes in 00001.png, 00002.png, ... and images that end before the poses do: the released code fails there too."""
    if not frames:
        return [f"{folder} is missing or empty"]
    if odd := [file for file in frames if not (file.stem.isdecimal() and len(file.stem) == len(frames[0].stem))]:
        return [f"{odd[0]} is not named like 00001.png"]
    if int(frames[0].stem) == 0:
        return [f"{frames[0]} is one too many: images are numbered from 1"]
    wrong = [f"{file} is missing" for file in holes(frames, 1)]
    if not wrong and len(frames) < poses:
        wrong = [f"{folder} ends at {frames[-1].name}, expected {poses} images: there are {poses} poses"]
    return wrong


def _read_poses(file: Path) -> tuple[np.ndarray, list[str]]:
    """Joints float32 [T, 15, 2] with pixels counted from 0, or none of them and what is wrong with the file."""
    from scipy.io import loadmat

    none = np.zeros((0, JOINTS, 2), dtype=np.float32)
    if not file.is_file():
        return none, [f"{file} is missing"]
    try:
        positions = loadmat(file, variable_names=["pos_img"]).get("pos_img")
    # A damaged file can raise nearly anything: the reader follows offsets and types that the file itself names.
    except Exception as error:
        return none, [f"{file} cannot be read as a MATLAB file ({error or type(error).__name__}); get the file again"]
    if positions is None:
        return none, [f"{file} holds no pos_img; is this the joint_positions.mat of JHMDB?"]
    if positions.dtype.kind not in "fiu" or positions.ndim != 3 or positions.shape[:2] != (2, JOINTS):
        return none, [f"{file}: pos_img is {positions.dtype} {positions.shape}, expected numbers (2, {JOINTS}, T)"]
    if positions.shape[2] < 2:
        return none, [f"{file} holds {positions.shape[2]} pose; at least 2 are needed"]
    if not np.isfinite(positions).all():
        return none, [f"{file}: pos_img holds values that are not finite"]
    return (positions - 1.0).astype(np.float32).transpose(2, 1, 0), []


def _folders(folder: Path) -> list[Path]:
    """Folders inside a folder; not hidden ones (".AppleDouble"), which copies of JHMDB are known to hold."""
    return [found for found in folder.glob("*") if found.is_dir() and not found.name.startswith(".")]


def _action(name: str) -> str:
    return name.split("/")[0]


def _total(counts: Sequence[list]) -> np.ndarray:
    return np.array(counts).sum(axis=0)
