"""The splits of ScanNet v2: the scans that a copy's split files list, and which of them are complete.

    <root>/scannetv2_train.txt, scannetv2_val.txt      one scan a line; also looked for in splits/ and Tasks/Benchmark/

Source: ScanNet/ScanNet, `Tasks/Benchmark/`.
"""

import dataclasses
import hashlib
import re
from pathlib import Path

from readouts.datasets.opening import open_all, refuse_missing
from readouts.datasets.scannet.scans import SUBSAMPLED, Scan, open_scan
from rvm_bench.api.task import Coverage
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.formats.hashes import file_sha256

SPLITS = {"train": "scannetv2_train.txt", "val": "scannetv2_val.txt"}
SPLIT_FOLDERS = ("", "splits", "Tasks/Benchmark")
"""Folders below the root in which a split file is looked for, in this order; the last is that of ScanNet/ScanNet."""
OFFICIAL_SCANS = {"train": 1201, "val": 312}
OFFICIAL_ROOMS = 707
"""Rooms 0 to 706 are in train or val, each with all its scans; `VAL_ROOMS` lists those of val."""
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

_SCAN_NAME = re.compile(r"scene(\d{4})_\d{2}")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ScanSplit:
    """The scans of one split in a copy of the data.

    Attributes:
        split: "train" or "val".
        listed: number of scans in the split file.
        scans: those that are complete, in the order of the split file.
        problems: name of each other scan -> what is wrong with it.
        manifest_sha256: hash over the split file's content and every scan's name, frames and `Scan.identity`. It does
            not cover the pixels: reading terabytes before every run would cost more than the run.
    """

    split: str
    listed: int
    scans: tuple[Scan, ...]
    problems: dict[str, str]
    manifest_sha256: str

    @property
    def coverage(self) -> Coverage:
        """The part of the official split that the copy holds, in scans."""
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
            false; or no scan is complete. The message has the first problem and the number of problems.
    """
    file, names = read_split(root, split)
    _refuse_subsampled(root)

    def open_one(name: str) -> Scan:
        scan = open_scan(root, name)
        scan.colour(0), scan.depth(0)
        return scan

    scans, problems = open_all(names, open_one, doing=f"reading {split} scans", unit="scan")
    refuse_missing(
        list(problems.values()),
        listed=len(names),
        usable=len(scans),
        allow_missing=allow_missing,
        task="scannet",
        root=root,
        unit="scan",
    )
    lines = "".join(f"{scan.name} {scan.frames} {scan.identity()}\n" for scan in scans.values())
    manifest = hashlib.sha256(f"{split} {file_sha256(file)}\n{lines}".encode()).hexdigest()
    return ScanSplit(
        split=split, listed=len(names), scans=tuple(scans.values()), problems=problems, manifest_sha256=manifest
    )


def check_split(root: Path, split: str) -> list[str]:
    """All that is wrong with a copy of a split, one line each, after decoding every frame of every scan.

    Of a scan that is damaged in several places only the first is named. The official splits have 1201 and 312 scans.
    """
    _, names = read_split(root, split)
    _refuse_subsampled(root)

    def decode(name: str) -> None:
        scan = open_scan(root, name)
        for i in range(scan.frames):
            scan.colour(i), scan.depth(i)

    _, problems = open_all(names, decode, doing=f"decoding {split} scans", unit="scan")
    lines = [f"{name}: {problem}" for name, problem in problems.items()]
    lines += [f"{name}: not in the official {split} split" for name in names if not is_official(name, split)]
    official = sum(is_official(name, split) for name in names)
    if official < OFFICIAL_SCANS[split]:
        lines.append(f"{SPLITS[split]} names {official} of the {OFFICIAL_SCANS[split]} official scans")
    return lines


def read_split(root: Path, split: str) -> tuple[Path, list[str]]:
    """The split file, and the names of its scans.

    Raises:
        UserError: no such split, no such file, or a file that is empty, has a name twice, or one that is no scan's.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    paths = [root / folder / SPLITS[split] for folder in SPLIT_FOLDERS]
    file = next((path for path in paths if path.is_file()), None)
    if file is None:
        _refuse_subsampled(root)
        raise UserError(
            f"{paths[0]} is missing (and in {', '.join(SPLIT_FOLDERS[1:])}); take it from Tasks/Benchmark/ of "
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
    """Whether a scan's room belongs to the official split."""
    match = _SCAN_NAME.fullmatch(name)
    room = int(match[1]) if match else OFFICIAL_ROOMS
    return room < OFFICIAL_ROOMS and (room in VAL_ROOMS) == (split == "val")


def _refuse_subsampled(root: Path) -> None:
    if (root / "scans").is_dir():
        return
    if root.name == "scannet_frames_25k" or (root / "scannet_frames_25k").is_dir():
        raise UserError(f"{root}: {SUBSAMPLED}")
