"""ScanNet v2 on disk: which scans a split names, each scan in either of its forms, and clips of colour and depth.

    <root>/scannetv2_train.txt, scannetv2_val.txt      one scan a line; also looked for in splits/ and Tasks/Benchmark/
    <root>/scans/scene0000_00/scene0000_00.sens        a scan as it is shipped (see `readouts.sens`), or
    <root>/scans/scene0000_00/color/0.jpg              the same scan extracted, by the exporter of ScanNet/ScanNet:
                              depth/0.png              16-bit gray, millimetres, 0 where there is no depth
                              pose/0.txt               4x4, camera to world; not read for the depth task

Where a scan has both forms the `.sens` file is read: the exporter compresses colour a second time.

Source: ScanNet/ScanNet, `SensReader/python/SensorData.py` and `Tasks/Benchmark/`.
"""

import abc
import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from readouts.sens import MILLIMETRES, SensFile
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.fingerprint import file_sha256
from rvm_bench.images import read_rgb
from rvm_bench.resize import resize
from rvm_bench.task import Coverage

SPLITS = {"train": "scannetv2_train.txt", "val": "scannetv2_val.txt"}
SPLIT_FOLDERS = ("", "splits", "Tasks/Benchmark")
"""Where below the root a split file is looked for, in this order; the last is its place in ScanNet/ScanNet."""
OFFICIAL_SCANS = {"train": 1201, "val": 312}
OFFICIAL_ROOMS = 707
"""Rooms 0 to 706 are in train or val, with all their scans in one of the two; `VAL_ROOMS` lists those of val."""
# fmt: off
VAL_ROOMS = frozenset((
    11, 15, 19, 25, 30, 46, 50, 63, 64, 77, 81, 84, 86, 88, 95, 100, 131, 139, 144, 146, 149, 153, 164, 169, 187,
    193, 196, 203, 207, 208, 217, 221, 222, 231, 246, 249, 251, 256, 257, 277, 278, 300, 304, 307, 314, 316, 328,
    329, 334, 338, 342, 343, 351, 353, 354, 355, 356, 357, 377, 378, 382, 389, 406, 412, 414, 423, 426, 427, 430,
    432, 435, 441, 458, 461, 462, 474, 488, 490, 494, 496, 500, 518, 527, 535, 549, 550, 552, 553, 558, 559, 565,
    568, 574, 575, 578, 580, 583, 591, 593, 595, 598, 599, 606, 607, 608, 609, 616, 618, 621, 629, 633, 643, 644,
    645, 647, 648, 651, 652, 653, 655, 658, 660, 663, 664, 665, 670, 671, 678, 684, 685, 686, 689, 690, 693, 695,
    696, 697, 699, 700, 701, 702, 704,
))
# fmt: on
CLIP_FRAMES = 16

_SCAN_NAME = re.compile(r"scene(\d{4})_\d{2}")
_SUBSAMPLED = (
    "scannet_frames_25k, every 100th frame, has no neighbouring frames to make clips of; download the .sens files"
)
_THREADS = min(16, 2 * (os.cpu_count() or 1))


class Scan(abc.ABC):
    """One scan. Frames are counted from 0 and read when they are asked for.

    Attributes:
        name: such as scene0000_00.
        frames: number of frames, each with colour and depth.
    """

    name: str

    @property
    @abc.abstractmethod
    def frames(self) -> int: ...

    @property
    def length(self) -> int:
        return self.frames

    @abc.abstractmethod
    def colour(self, i: int) -> np.ndarray:
        """uint8 [H, W, 3] RGB of frame `i`; UserError where it cannot be decoded."""

    @abc.abstractmethod
    def depth(self, i: int) -> np.ndarray:
        """uint16 [h, w] of frame `i`: millimetres along the camera's axis, 0 where there is none. Its size is not that
        of colour. UserError where it cannot be decoded."""

    @abc.abstractmethod
    def pose(self, i: int) -> np.ndarray:
        """Camera to world of frame `i`, float32 [4, 4] in metres; -inf throughout where tracking was lost."""

    @abc.abstractmethod
    def identity(self) -> str:
        """A hash that changes with the names, number and sizes of the files (or payloads); not one of their content."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SensScan(Scan):
    """A scan in one `.sens` file."""

    name: str
    file: SensFile

    @property
    def frames(self) -> int:
        return self.file.frames

    def colour(self, i: int) -> np.ndarray:
        return self.file.colour(i)

    def depth(self, i: int) -> np.ndarray:
        return self.file.depth(i)

    def pose(self, i: int) -> np.ndarray:
        return self.file.pose(i)

    def identity(self) -> str:
        return self.file.identity()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ExtractedScan(Scan):
    """A scan as folders of files. `colour_files` and `depth_files` hold name and size in bytes, in frame order."""

    name: str
    folder: Path
    colour_files: tuple[tuple[str, int], ...]
    depth_files: tuple[tuple[str, int], ...]

    @property
    def frames(self) -> int:
        return len(self.colour_files)

    def colour(self, i: int) -> np.ndarray:
        return read_rgb(self.folder / "color" / self.colour_files[i][0])

    def depth(self, i: int) -> np.ndarray:
        return read_depth(self.folder / "depth" / self.depth_files[i][0])

    def pose(self, i: int) -> np.ndarray:
        file = self.folder / "pose" / f"{Path(self.colour_files[i][0]).stem}.txt"
        try:
            return np.loadtxt(file, dtype=np.float32).reshape(4, 4)
        except (OSError, ValueError) as error:
            raise UserError(f"{file} cannot be read as a 4x4 matrix ({error}); extract the scan again") from error

    def identity(self) -> str:
        lines = (f"{name} {size}\n" for name, size in (*self.colour_files, *self.depth_files))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ScanSplit:
    """The scans of one split in a copy of the data.

    Attributes:
        split: "train" or "val".
        listed: number of scans that the split file names.
        scans: those that are whole, in the order of the split file.
        problems: of each of the others, by name, what is wrong.
        manifest_sha256: hash over the split file's content and every scan's name, frames and `Scan.identity`. Content
            of images is not in it: reading terabytes before every run would cost more than the run.
    """

    split: str
    listed: int
    scans: tuple[Scan, ...]
    problems: dict[str, str]
    manifest_sha256: str

    @property
    def coverage(self) -> Coverage:
        """How much of the official split is there, in scans."""
        return Coverage(
            listed=self.listed,
            usable=len(self.scans),
            official=OFFICIAL_SCANS[self.split],
            in_official=sum(is_official(scan.name, self.split) for scan in self.scans),
            missing=tuple(f"{name}: {problem}" for name, problem in self.problems.items()),
        )


def open_split(root: Path, split: str, *, allow_missing: bool = False) -> ScanSplit:
    """The scans of a split, each with its files listed and its first frame decoded.

    Every file's size is looked up (of a `.sens` file every frame's header is read), several scans at a time.

    Raises:
        UserError: no split file; the copy is scannet_frames_25k; a scan is missing or damaged and `allow_missing` is
            false; or none is whole. It tells the first problem and how many there are.
    """
    file, names = read_split(root, split)
    _refuse_subsampled(root)
    scans, problems = _examined(names, lambda name: _with_first_frame(open_scan(root, name)), f"reading {split} scans")
    if problems and not (allow_missing and scans):
        first, *others = problems.values()
        mend = "no scan is whole" if allow_missing else "--allow-missing leaves the scan out, the score is then partial"
        more = f" (and {len(others)} more)" if others else ""
        raise UserError(f"{first}{more}; `rvm-bench data check scannet --data {root}` lists everything; {mend}")
    lines = "".join(f"{scan.name} {scan.frames} {scan.identity()}\n" for scan in scans)
    manifest = hashlib.sha256(f"{split} {file_sha256(file)}\n{lines}".encode()).hexdigest()
    return ScanSplit(split=split, listed=len(names), scans=tuple(scans), problems=problems, manifest_sha256=manifest)


def check_split(root: Path, split: str) -> list[str]:
    """All that is wrong with a copy of a split, one line each, after decoding every frame of every scan.

    A scan that is damaged in several places tells the first. The official split is 1201 train and 312 val scans.
    """
    _, names = read_split(root, split)
    _refuse_subsampled(root)
    _, problems = _examined(names, lambda name: _with_every_frame(open_scan(root, name)), f"decoding {split} scans")
    lines = [f"{name}: {problem}" for name, problem in problems.items()]
    lines += [f"{name}: not in the official {split} split" for name in names if not is_official(name, split)]
    official = sum(is_official(name, split) for name in names)
    if official < OFFICIAL_SCANS[split]:
        lines.append(f"{SPLITS[split]} names {official} of the {OFFICIAL_SCANS[split]} official scans")
    return lines


def read_split(root: Path, split: str) -> tuple[Path, list[str]]:
    """The split file, and the scans it names.

    Raises:
        UserError: no such split, no such file, or it names nothing, something twice, or what is no scan.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    places = [root / folder / SPLITS[split] for folder in SPLIT_FOLDERS]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        _refuse_subsampled(root)
        raise UserError(
            f"{places[0]} is missing (and in {', '.join(SPLIT_FOLDERS[1:])}); take it from Tasks/Benchmark/ of "
            "https://github.com/ScanNet/ScanNet: is --data right?"
        )
    names = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
    if not names:
        raise UserError(f"{file} names no scan")
    if wrong := [name for name in names if not _SCAN_NAME.fullmatch(name)]:
        raise UserError(f"{file} names {wrong[0][:40]!r}; expected scans such as scene0000_00, one a line")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{file} names {', '.join(twice)} more than once")
    return file, names


def is_official(name: str, split: str) -> bool:
    """Whether a scan's room belongs to this official split."""
    match = _SCAN_NAME.fullmatch(name)
    room = int(match[1]) if match else OFFICIAL_ROOMS
    return room < OFFICIAL_ROOMS and (room in VAL_ROOMS) == (split == "val")


def open_scan(root: Path, name: str) -> Scan:
    """A scan below `root`, in whichever form it is there, its files listed but not decoded.

    Raises:
        UserError: it is missing, truncated, empty, has holes in its numbering, or frames without a depth map.
    """
    folder = root / "scans" / name
    sens = folder / f"{name}.sens"
    if sens.is_file():
        scan: Scan = SensScan(name=name, file=SensFile(sens))
    elif (folder / "color").is_dir() or (folder / "depth").is_dir():
        scan = _open_extracted(folder, name)
    else:
        raise UserError(f"{folder} is missing or empty; expected {name}.sens, or color/ and depth/ extracted from it")
    if scan.frames < CLIP_FRAMES:
        raise UserError(f"{folder} has {scan.frames} frames; a clip has {CLIP_FRAMES}")
    return scan


def read_depth(file: Path) -> np.ndarray:
    """uint16 [H, W] of a depth PNG, as stored. UserError where it cannot be read in full or has not 16 bits."""
    try:
        with Image.open(file, formats=["PNG"]) as image:
            # Pillow calls 16-bit gray I;16, and before version 11 also I.
            if not image.mode.startswith("I"):
                raise UserError(
                    f"{file} has mode {image.mode}, expected a 16-bit gray PNG in millimetres; extract the scan again "
                    "with an exporter that keeps 16 bits"
                )
            return np.asarray(image).astype(np.uint16)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{file} cannot be read as a depth image ({error}); extract the scan again") from error


def eval_windows(frames: int, *, length: int = CLIP_FRAMES, stride: int = 1) -> list[np.ndarray]:
    """Frame indices int64 [length] of clips that follow one another without overlap, from the first frame on.

    Frames that do not fill another clip are left out. Neither the number nor the stride of the official clips is
    published (RVM and 4DS give 16 frames); we take every native frame of the scan, and `stride` is there to try others.
    Clips to train on come from `rvm_bench.clips.random_clip`.

    Raises:
        UserError: a stride below 1.
    """
    if stride < 1:
        raise UserError(f"stride is {stride}; it must be at least 1")
    span = (length - 1) * stride + 1
    return [start + stride * np.arange(length) for start in range(0, frames - span + 1, length * stride)]


def load_clip(scan: Scan, indices: Sequence[int] | np.ndarray, side: int = 224) -> tuple[np.ndarray, np.ndarray]:
    """Colour uint8 [T, side, side, 3] and depth float32 [T, side, side] in metres, 0 where there is none.

    Both are squashed to the square, so that one place in the picture keeps one place in the depth map; ScanNet's two
    cameras share a view to about 1 % of the width and are not registered any further. Colour is resized by an
    antialiased bilinear filter, depth by taking the pixel whose area holds the new pixel's centre, so that no depth is
    ever a mean over an edge or over invalid pixels.
    """
    colour = np.stack([resize(np.array(scan.colour(int(i)))[None], (side, side))[0] for i in indices])
    depth = np.stack([resize_depth(scan.depth(int(i)), (side, side)) for i in indices])
    return colour, (depth / np.float32(MILLIMETRES)).astype(np.float32)


def resize_depth(depth: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """[H, W] -> [h, w] by nearest neighbour between pixel centres: row i takes row floor((i + 1/2) H / h)."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size_hw, depth.shape, strict=True))
    return depth[rows[:, None], columns]


def _open_extracted(folder: Path, name: str) -> ExtractedScan:
    colour, depth = _numbered(folder / "color", ".jpg"), _numbered(folder / "depth", ".png")
    for kind, other, there, wanted in (("depth", "color", depth, colour), ("color", "depth", colour, depth)):
        if lacks := sorted(wanted.keys() - there.keys()):
            raise UserError(f"{folder / kind} lacks {_listed(lacks)} of {len(wanted)} frames in {other}/")
    numbers = sorted(colour)
    if not numbers:
        raise UserError(f"{folder} has no frames in color/ and depth/")
    step = int(np.gcd.reduce(numbers))
    if step > 1:
        why = f"; this looks like {_SUBSAMPLED}" if step == 100 else "; extract every frame"
        raise UserError(f"{folder} holds only every {step}th frame{why}")
    if holes := sorted(set(range(numbers[-1] + 1)) - set(numbers)):
        raise UserError(f"{folder} lacks {_listed(holes)} in color/ and depth/; extract the scan again")
    for kind, files in (("color", colour), ("depth", depth)):
        if empty := [file for file, size in files.values() if size == 0]:
            raise UserError(f"{folder / kind / empty[0]} is empty; extract the scan again")
    return ExtractedScan(
        name=name,
        folder=folder,
        colour_files=tuple(colour[number] for number in numbers),
        depth_files=tuple(depth[number] for number in numbers),
    )


def _numbered(folder: Path, suffix: str) -> dict[int, tuple[str, int]]:
    """Frame number -> name and size of the files that are named by one, in no order."""
    found: dict[int, tuple[str, int]] = {}
    if not folder.is_dir():
        return found
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, dot = os.path.splitext(entry.name)
            if dot.lower() != suffix or not (stem.isascii() and stem.isdecimal()):
                continue
            if int(stem) in found:
                raise UserError(f"{folder} holds frame {int(stem)} twice: {found[int(stem)][0]} and {entry.name}")
            found[int(stem)] = entry.name, entry.stat().st_size
    return found


def _with_first_frame(scan: Scan) -> Scan:
    scan.colour(0), scan.depth(0)
    return scan


def _with_every_frame(scan: Scan) -> Scan:
    for i in range(scan.frames):
        scan.colour(i), scan.depth(i)
    return scan


def _examined(names: Sequence[str], examine: Callable[[str], Scan], doing: str) -> tuple[list[Scan], dict[str, str]]:
    """The scans that `examine` returns, and what it found wrong with the others; several at a time."""

    def one(name: str) -> Scan | str:
        try:
            return examine(name)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(one, names)
        bar = tqdm(results, desc=doing, total=len(names), unit="scan", leave=False, disable=None)
        found = dict(zip(names, bar, strict=True))
    scans = [scan for scan in found.values() if isinstance(scan, Scan)]
    return scans, {name: scan for name, scan in found.items() if isinstance(scan, str)}


def _refuse_subsampled(root: Path) -> None:
    if (root / "scans").is_dir():
        return
    if root.name == "scannet_frames_25k" or (root / "scannet_frames_25k").is_dir():
        raise UserError(f"{root}: {_SUBSAMPLED}")


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:3])
    return (
        f"frame {shown}"
        if len(numbers) == 1
        else f"frames {shown}{', ...' if len(numbers) > 3 else ''} ({len(numbers)})"
    )
