"""The Waymo Open Dataset (perception) on disk: the segments of its two splits that have boxes in the image.

    <root>/training/camera_image/<segment>.parquet      v2, see `v2.py`; also validation/
    <root>/training/camera_box/<segment>.parquet

    <root>/training/segment-<segment>_with_camera_labels.tfrecord      v1, see `v1.py`; also validation/

There are no lists of segments: a split is the files in its folder. So a segment of which every file is missing cannot
be named; only the number of segments is compared with the official one.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from readouts.datasets.opening import open_all, refuse_missing
from readouts.datasets.waymo.box_video import FRAMES, STRIDE, BoxVideo, window_starts
from readouts.datasets.waymo.v1 import open_segment_v1
from readouts.datasets.waymo.v2 import BOXES, IMAGES, open_segment_v2
from rvm_bench.api.task import Coverage
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.formats.tfrecord import check_records

OFFICIAL_SEGMENTS = {"training": 798, "validation": 202}
"""Segments of each split in the v2 bucket; Sun et al., CVPR 2020, give their sum. Those of testing have no boxes."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WaymoSplit:
    """The segments of one split in a copy of the data.

    Attributes:
        split: "training" or "validation".
        listed: number of segments with any file in the split's folder.
        videos: those that can be used, in the order of their names.
        problems: name of each other segment -> what is wrong with it.
        manifest_sha256: hash over every segment's name and `BoxVideo.identity`.
    """

    split: str
    listed: int
    videos: tuple[BoxVideo, ...]
    problems: dict[str, str]
    manifest_sha256: str

    @property
    def breaks(self) -> list[str]:
        """One line for each segment with gaps in time, which no clip crosses."""
        return [
            f"{self.split}: {video.name} has {video.length} frames with gaps in time before frame "
            f"{', '.join(str(first) for first, _ in video.runs[1:4])}; no clip crosses one"
            for video in self.videos
            if len(video.runs) > 1
        ]

    @property
    def coverage(self) -> Coverage:
        """The part of the official split that the copy holds, in segments. There is no list of the official segments:
        all count as official where their number is the official one."""
        official = OFFICIAL_SEGMENTS[self.split]
        return Coverage(
            listed=self.listed,
            usable=len(self.videos),
            official=official,
            in_official=len(self.videos) if self.listed == official else 0,
            missing=tuple(f"{self.split}: {name}: {problem}" for name, problem in self.problems.items()),
        )


def open_waymo(root: Path, split: str, *, allow_missing: bool = False) -> WaymoSplit:
    """The segments of a split, each with its keys, boxes and frame size; its frames are not decoded.

    Raises:
        UserError: no folder of the split, or none of its files; a segment is incomplete, damaged or too short for a
            clip and `allow_missing` is false; or none can be used. The message has the first problem and the number of
            problems.
    """
    segments = _segments(root, split)
    videos, problems = _open_segments(segments, doing=f"reading {split} segments")
    refuse_missing(
        list(problems.values()),
        listed=len(segments),
        usable=len(videos),
        allow_missing=allow_missing,
        task="waymo",
        root=root,
        unit="segment",
    )
    digest = hashlib.sha256(f"{split}\n".encode())
    for video in videos:
        digest.update(f"{video.name} {video.identity()}\n".encode())
    return WaymoSplit(
        split=split,
        listed=len(segments),
        videos=tuple(videos),
        problems=problems,
        manifest_sha256=digest.hexdigest(),
    )


def check_waymo(root: Path, split: str) -> list[str]:
    """All that is wrong with a copy of a split, one line each, after decoding every frame of every segment: segments
    that cannot be used, gaps in time, and another number of segments than the official one."""
    segments = _segments(root, split)
    videos, problems = _open_segments(segments, doing=f"decoding {split} segments", check=_decode_all)
    found = WaymoSplit(split=split, listed=len(segments), videos=tuple(videos), problems=problems, manifest_sha256="")
    lines = [*found.coverage.missing, *found.breaks]
    if found.listed != found.coverage.official:
        lines.append(f"{split}: {found.listed} segments, the Waymo Open Dataset has {found.coverage.official}")
    return lines


def _segments(root: Path, split: str) -> dict[str, Callable[[], BoxVideo]]:
    """Name of each segment of a split -> a function that opens it; ordered by name."""
    if split not in OFFICIAL_SEGMENTS:
        raise unknown_name("split", split, OFFICIAL_SEGMENTS)
    folder = root / split
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; expected training/ and validation/ of the Waymo data: is --data right?")
    names = {file.stem for kind in (IMAGES, BOXES) for file in _files(folder / kind, ".parquet")}
    records = _files(folder, ".tfrecord")
    if names and records:
        raise UserError(f"{folder} holds both v2 (*.parquet) and v1 (*.tfrecord) of the data; keep one of them")
    if records:
        return {file.stem: partial(open_segment_v1, file) for file in records}
    if not names:
        raise UserError(
            f"{folder} has no segment; expected {IMAGES}/<segment>.parquet and {BOXES}/<segment>.parquet (v2), or "
            "*.tfrecord (v1)"
        )
    return {name: partial(open_segment_v2, folder, name) for name in sorted(names)}


def _files(folder: Path, suffix: str) -> list[Path]:
    """The files of a folder with a suffix, without hidden ones, sorted; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix == suffix and not file.name.startswith("."))


def _open_segments(
    segments: dict[str, Callable[[], BoxVideo]], *, doing: str, check: Callable[[BoxVideo], object] = lambda video: None
) -> tuple[list[BoxVideo], dict[str, str]]:
    """The segments that can be used, and what is wrong with the others."""

    def open_one(name: str) -> BoxVideo:
        video = segments[name]()
        if not len(window_starts(video)):
            span = (FRAMES - 1) * STRIDE + 1
            raise UserError(f"{video.pictures.file} has {video.length} frames; a clip takes {span} without a gap")
        check(video)
        return video

    opened, problems = open_all(segments, open_one, doing=doing, unit="segment")
    videos: dict[str, BoxVideo] = {}
    for name, video in opened.items():
        # The name of a v1 segment is in its file, and two files may hold the same one.
        if videos.setdefault(video.name, video) is not video:
            problems[name] = f"{video.pictures.file} holds segment {video.name} again; delete one of the two files"
    return list(videos.values()), problems


def _decode_all(video: BoxVideo) -> None:
    if video.pictures.file.suffix == ".tfrecord":
        check_records(video.pictures.file)
    for part in np.array_split(np.arange(video.length), -(-video.length // FRAMES)):
        video.frames(part)
