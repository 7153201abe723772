"""Strict reader of the point tracks of Perception Test: annotations and videos.

    <root>/point_tracking_valid.json      {video id: {"metadata": {...}, "point_tracking": [track, ...]}, ...}
    <root>/videos/<video id>.mp4          some 30 frames a second, up to 35 s

The JSON file is in point_tracking_valid_annotations.zip. That of all tasks (all_valid.json, in valid_annotations.zip)
is read as well, and either may be in `annotations/`; entries of another split and entries without a track, which belong
to other tasks, are skipped, as in the official loader. The training split has "train" instead of "valid" in the name;
the labels of the test split are withheld.

A track is {"id": 0, "frame_ids": [N numbers], "points": [[N times y], [N times x]], ...}, y and x as fractions of the
frame's height and width. The official README gives `points` the shape [N, 2], but the notebooks read [2][N], as we do.
In a frame that is not in `frame_ids` the point is not visible, and its position is unknown.

Source: google-deepmind/perception_test, README.md, `baselines/single_point_tracking.ipynb`, `data_visualisation.ipynb`.
"""

import dataclasses
import hashlib
import itertools
import math
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from readouts.datasets.json_strict import read_annotations
from readouts.datasets.opening import refuse_missing
from readouts.datasets.video_lists import first_existing
from rvm_bench.api.task import Coverage, Dataset, Task
from rvm_bench.errors import DamagedFile, UserError, unknown_name
from rvm_bench.formats.hashes import manifest_sha256
from rvm_bench.media.video.reader import count_frames

VIDEOS = "videos"
TASK_KEY = "point_tracking"
OFFICIAL = {"train": (28, 1758), "valid": (73, 4362)}
"""Videos and tracks of each split: Pătrăucean et al., arXiv:2305.13786. With the 44 and 2527 of the test split they add
up to the 145 and 8647 of the official README, which does not give them by split."""
MAX_FRAMES = 10_000
"""A video is up to 35 s long (arXiv:2312.13090); a larger number of frames is damage, and no memory is allocated."""
MARGIN = 0.5
"""How far outside of the frame, as a fraction of its size, a point may be; beyond are pixel coordinates, or damage."""

_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
_KINDS = {
    "a string": (str,),
    "a whole number": (int,),
    "a number": (int, float),
    "a list": (list,),
    "an object": (dict,),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrackVideo:
    """A video and its annotated point tracks.

    Attributes:
        name: its id, such as video_1234.
        length: number of frames according to the annotation.
        frame_rate: frames per second according to the annotation.
        tracks_xy: float32 [n, T, 2], (x, y) as fractions of width and height, (0, 0) being the top left corner; NaN
            where the point is not visible. A point may be slightly outside 0..1: it is not clipped, as in the official
            evaluation.
        visible: bool [n, T].
    """

    name: str
    file: Path
    length: int
    frame_rate: float
    tracks_xy: np.ndarray = dataclasses.field(repr=False)
    visible: np.ndarray = dataclasses.field(repr=False)

    def check_length(self) -> None:
        """Counts the frames of the file, without decoding them where its codec allows that.

        Raises:
            DamagedFile: the file is damaged, or its number of frames is not that of the annotation, so that frame
                numbers of the annotation would not be those of the file.
        """
        frames = count_frames(self.file)
        if frames != self.length:
            raise DamagedFile(
                f"{self.file} has {frames} frames, its annotation {self.length}; get the official file again, at its "
                "original frame rate"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PerceptionCopy:
    """One split of a copy of the data.

    Attributes:
        annotation: the JSON file.
        videos: those that exist and have a valid annotation, in the order of the JSON file.
        sizes: of their files in bytes.
        missing: one line for each of the others.
    """

    root: Path
    split: str
    annotation: Path
    videos: tuple[TrackVideo, ...]
    sizes: tuple[int, ...]
    missing: tuple[str, ...]

    @property
    def listed(self) -> int:
        return len(self.videos) + len(self.missing)

    @property
    def track_count(self) -> int:
        return sum(len(video.visible) for video in self.videos)

    def manifest_sha256(self) -> str:
        """Hash over the annotation file, and over name and size, not content, of every video."""
        name = self.annotation.relative_to(self.root).as_posix()
        digest = hashlib.sha256(f"{self.split} {manifest_sha256([(name, self.annotation)])}\n".encode())
        for video, size in zip(self.videos, self.sizes, strict=True):
            digest.update(f"{video.name} {size}\n".encode())
        return digest.hexdigest()

    def problems(self) -> list[str]:
        """All that is wrong with the copy, one line each; every video's frames are counted. Empty for the official set.

        Of a video with several problems only the first is named.
        """
        lines = list(self.missing)
        videos, tracks = OFFICIAL[self.split]
        if self.listed != videos:
            lines.append(
                f"{self.annotation} lists {self.listed} videos with tracks, the {self.split} split has {videos}"
            )
        elif not self.missing and self.track_count != tracks:
            lines.append(f"{self.annotation} holds {self.track_count:,} tracks, the {self.split} split has {tracks:,}")
        for video in self.videos:
            try:
                video.check_length()
            except UserError as error:
                lines.append(str(error))
        return lines

    def dataset(self, task: Task[Any], *, allow_missing: bool) -> Dataset:
        """The split as a data set. Videos count as official where as many are listed as in the official split.

        Args:
            task: for messages.
            allow_missing: whether videos that are missing, or whose annotation is invalid, may be left out; the
                coverage names them.

        Raises:
            UserError: there are such videos and `allow_missing` is false, or there are no others.
        """
        refuse_missing(
            self.missing,
            listed=self.listed,
            usable=len(self.videos),
            allow_missing=allow_missing,
            task=task.name,
            root=self.root,
            unit="video",
        )
        official = OFFICIAL[self.split][0]
        return Dataset(
            root=self.root,
            videos=self.videos,
            manifest_sha256=self.manifest_sha256(),
            coverage=Coverage(
                listed=self.listed,
                usable=len(self.videos),
                official=official,
                in_official=len(self.videos) if self.listed == official else 0,
                missing=self.missing,
            ),
        )


def open_perception(root: Path, split: str = "valid") -> PerceptionCopy:
    """One split of the copy under `root`. No video is opened before `TrackVideo.check_length`.

    Raises:
        UserError: there is no such split, no annotation file or no folder of videos; or the file is not JSON, or has no
            video of the split with tracks. A missing video, or one with an invalid annotation, is no error: it is
            listed in the copy.
    """
    if split not in OFFICIAL:
        raise unknown_name("split", split, OFFICIAL)
    names = [f"{parent}{stem}_{split}.json" for stem in (TASK_KEY, "all") for parent in ("", "annotations/")]
    file = first_existing(root, names, "an annotation file")
    folder = root / VIDEOS
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; expected a folder of <video id>.mp4 videos: is --data right?")
    videos, sizes, missing = [], [], []
    for name, entry in _read_entries(file).items():
        try:
            found = _read_video(file, split, name, entry, folder)
        except UserError as error:
            missing.append(str(error))
            continue
        if found is not None:
            videos.append(found)
            sizes.append(found.file.stat().st_size)
    if not videos and not missing:
        raise UserError(
            f"{file} lists no video of the {split} split with point tracks; expected {TASK_KEY}_{split}.json"
        )
    return PerceptionCopy(
        root=root, split=split, annotation=file, videos=tuple(videos), sizes=tuple(sizes), missing=tuple(missing)
    )


def _read_video(file: Path, split: str, name: str, entry: Any, folder: Path) -> TrackVideo | None:
    """The video of an entry; None where the entry belongs to another split or to another task."""
    where = f"{file}: video {_short(name)}"
    if not isinstance(entry, dict):
        raise UserError(f"{where} is {_short(entry)}, expected an object with metadata and {TASK_KEY}")
    metadata = _field(entry, "metadata", "an object", where)
    if _field(metadata, "split", "a string", where) != split:
        return None
    tracks = _field(entry, TASK_KEY, "a list", where)
    if not tracks:
        return None
    video_id = _field(metadata, "video_id", "a string", where)
    if video_id != name or not _VIDEO_ID.fullmatch(name):
        raise UserError(f"{where} has the video_id {_short(video_id)}; expected its own name, such as video_1234")
    length = _field(metadata, "num_frames", "a whole number", where)
    if not 1 <= length <= MAX_FRAMES:
        raise UserError(f"{where} has {_short(length)} as its num_frames; expected 1 to {MAX_FRAMES}")
    rate = _field(metadata, "frame_rate", "a number", where)
    if not 0 < rate <= 1000:
        raise UserError(f"{where} has {_short(rate)} as its frame_rate; expected frames per second")
    tracks_xy = np.full((len(tracks), length, 2), math.nan, np.float32)
    seen: set[int] = set()
    for number, track in enumerate(tracks):
        where_track = f"{where}, track {number + 1} of {len(tracks)}"
        if not isinstance(track, dict):
            raise UserError(f"{where_track} is {_short(track)}, expected an object with frame_ids and points")
        track_id = _field(track, "id", "a whole number", where_track)
        if track_id in seen:
            raise UserError(f"{where_track} has the id {_short(track_id)} of an earlier track; ids are unique")
        seen.add(track_id)
        frame_ids, yx = _read_track(track, length, where_track)
        tracks_xy[number, frame_ids] = yx.T[:, ::-1]
    path = folder / f"{name}.mp4"
    if not path.is_file() or not path.stat().st_size:
        raise UserError(f"{path} is {'empty' if path.is_file() else 'missing'}")
    return TrackVideo(
        name=name,
        file=path,
        length=length,
        frame_rate=float(rate),
        tracks_xy=tracks_xy,
        visible=~np.isnan(tracks_xy[..., 0]),
    )


def _read_track(track: Mapping[str, Any], length: int, where: str) -> tuple[list[int], np.ndarray]:
    """The frame numbers [N] and float64 [2, N] y, x of a track, N >= 1."""
    frame_ids = _field(track, "frame_ids", "a list", where)
    if not frame_ids:
        raise UserError(f"{where} has no frame_ids; expected the numbers of at least one frame")
    if wrong := [i for i in frame_ids if type(i) is not int or not 0 <= i < length]:
        raise UserError(f"{where} has the frame {_short(wrong[0])}; the video has frames 0 to {length - 1}")
    if wrong := [b for a, b in itertools.pairwise(frame_ids) if b <= a]:
        raise UserError(f"{where} has frame {wrong[0]} twice or out of order; frame_ids must increase")
    rows = _field(track, "points", "a list", where)
    if not all(isinstance(row, list) for row in rows):
        raise UserError(f"{where} has points that are not lists of coordinates; expected [[y, ...], [x, ...]]")
    if len(rows) != 2:
        pairs = len(rows) == len(frame_ids) and all(len(row) == 2 for row in rows)
        what = f"points of the shape [{len(rows)}][2]" if pairs else f"{len(rows)} lists of points"
        raise UserError(f"{where} has {what}; expected [2][{len(frame_ids)}], all y and then all x: transpose them")
    for axis, row in zip("yx", rows, strict=True):
        if len(row) != len(frame_ids):
            raise UserError(f"{where} has {len(row)} values of {axis} and {len(frame_ids)} frame_ids; expected as many")
        if wrong := [v for v in row if type(v) not in (int, float) or not -MARGIN <= v <= 1 + MARGIN]:
            raise UserError(f"{where} has {_short(wrong[0])} as {axis}; expected a fraction of the frame, 0 to 1")
    return frame_ids, np.array(rows, np.float64)


def _field(mapping: Mapping[str, Any], key: str, kind: str, where: str) -> Any:
    """The value of a key, which must be of one of the kinds in `_KINDS`; true and false are no numbers."""
    if key not in mapping:
        raise UserError(f"{where} has no {key}; expected {kind}")
    if type(mapping[key]) not in _KINDS[kind]:
        raise UserError(f"{where} has {_short(mapping[key])} as its {key}; expected {kind}")
    return mapping[key]


def _short(value: Any) -> str:
    """A JSON value, shortened for a message, however long or deeply nested."""
    return f"{reprlib.repr(value):.60}"


def _read_entries(file: Path) -> dict[str, Any]:
    content = read_annotations(file)
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no object of videos; expected {{video id: {{metadata, {TASK_KEY}}}, ...}}")
    return content
