"""A driving video with tracked boxes: the common representation of both versions of the Waymo data set.

Frames are those of one camera at 10 Hz, ordered by time. A box encloses the visible part of its object tightly
(waymo-open-dataset, docs/labeling_specifications.md), so a track has gaps where its object is occluded.
"""

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.media.resize import SizeRule
from rvm_bench.media.resize import resize as resize_frames

FRONT = 1
"""Number of the FRONT camera, the only one that is read (CameraName of dataset.proto in v1, of
v2/perception/camera_image.py in v2)."""
FRAMES, STRIDE = 16, 2
"""Frames of a clip, and camera frames from one to the next: 10 Hz become 5 Hz. The sources are in `WaymoProtocol`."""
RATE_HZ = 10
"""Of the camera (Sun et al., CVPR 2020)."""
RATE_TOLERANCE = 0.2
"""Relative tolerance of the median time between frames. A copy of every second frame would double all speeds, and is
refused."""
IRREGULAR = 0.5, 1.5
"""An interval between frames below or above these multiples of the median is a gap, which no clip may cross."""
FAR_PX = 1e6
"""A coordinate beyond this is damaged."""
TYPES = {0: "unknown", 1: "vehicle", 2: "pedestrian", 3: "sign", 4: "cyclist"}
"""Label.Type of label.proto, BoxType of v2/perception/box.py; signs have no boxes in the image."""

_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class Pictures(Protocol):
    """The encoded frames of a video. It is pickled with the video, so it holds a path and no open file.

    Attributes:
        file: the file that holds them.
        file_bytes: its size.
    """

    @property
    def file(self) -> Path: ...

    @property
    def file_bytes(self) -> int: ...

    def read(self, frames: Sequence[int]) -> list[bytes]:
        """The JPEGs of frames by number, in the given order. UserError where they cannot be read."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BoxRows:
    """Boxes as stored: one row per object and frame, in any order.

    Attributes:
        file: that they were read from, for messages.
        time_us: int64 [R], the time of the row's frame in microseconds.
        ids: R strings; an object has the same id in all frames.
        types: int [R], keys of `TYPES`.
        yxyx_px: float64 [R, 4], y0, x0, y1, x1 in pixels.
    """

    file: Path
    time_us: np.ndarray
    ids: Sequence[str]
    types: np.ndarray
    yxyx_px: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BoxVideo:
    """The frames of one camera in time order, and n tracks of boxes in them. Made by `box_video`.

    It holds rows of boxes, not arrays over all frames, so that a thousand videos fit in memory and can be pickled.

    Attributes:
        name: of the segment, unique in the data set.
        time_us: int64 [T], microseconds, increasing.
        size_hw: height and width of the frames in pixels.
        ids, types: of the n tracks, in the order of their first boxes; types int8 [n], keys of `TYPES`.
        row_frame, row_track: int32 [R], the frame and the track of each box, in order.
        row_yxyx_px: float32 [R, 4].
    """

    name: str
    time_us: np.ndarray
    size_hw: tuple[int, int]
    ids: tuple[str, ...]
    types: np.ndarray
    row_frame: np.ndarray
    row_track: np.ndarray
    row_yxyx_px: np.ndarray
    pictures: Pictures

    @property
    def length(self) -> int:
        return len(self.time_us)

    def tracks(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tracks in some frames, by frame number int [k].

        Returns:
            boxes float32 [k, n, 4] as y0, x0, y1, x1 in pixels, zeros where a track has no box; and whether it has one,
            bool [k, n].
        """
        boxes = np.zeros((len(frames), len(self.ids), 4), np.float32)
        present = np.zeros(boxes.shape[:2], bool)
        for i, frame in enumerate(frames):
            first, last = np.searchsorted(self.row_frame, (frame, frame + 1))
            boxes[i, self.row_track[first:last]] = self.row_yxyx_px[first:last]
            present[i, self.row_track[first:last]] = True
        return boxes, present

    def frames(self, indices: Sequence[int] | np.ndarray, *, resize: SizeRule | None = None) -> np.ndarray:
        """uint8 [k, H, W, 3] RGB of frames by number; only these are decoded, one at a time at full size.

        Args:
            resize: rule for the size of the result, such as `resize.short_side(256)`; None keeps the video's.

        Raises:
            UserError: a frame cannot be read, or has another size than the first.
        """
        numbers = [int(i) for i in indices]
        if not numbers or min(numbers) < 0 or max(numbers) >= self.length:
            raise UserError(f"{self.name} has frames 0 to {self.length - 1}, not {numbers}")
        size_hw = resize(self.size_hw) if resize else self.size_hw
        encoded = zip(numbers, self.pictures.read(numbers), strict=True)
        return np.concatenate([resize_frames(self._decode(i, jpeg)[None], size_hw) for i, jpeg in encoded])

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """First frame and number of frames of each stretch without a gap in time."""
        steps = np.diff(self.time_us)
        median = np.median(steps) if len(steps) else 0
        breaks = np.flatnonzero((steps < IRREGULAR[0] * median) | (steps > IRREGULAR[1] * median))
        firsts = [0, *(int(i) + 1 for i in breaks)]
        return [(first, last - first) for first, last in zip(firsts, [*firsts[1:], self.length], strict=True)]

    def identity(self) -> str:
        """A hash over all times, boxes, ids and types, and over the size of the file with the pictures; not over the
        pictures, which are two hundred gigabytes in all."""
        digest = hashlib.sha256(f"{self.name} {self.pictures.file_bytes} {self.size_hw} {self.ids}\n".encode())
        for array in (self.time_us, self.types, self.row_frame, self.row_track, self.row_yxyx_px):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _decode(self, i: int, jpeg: bytes) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
                if (image.height, image.width) != self.size_hw:
                    raise DamagedFile(
                        f"frame {i} of {self.pictures.file} is {image.width}x{image.height} px, the first is "
                        f"{self.size_hw[1]}x{self.size_hw[0]}; get the file again"
                    )
                return np.array(image.convert("RGB"))
        except _UNREADABLE as error:
            raise _not_a_picture(i, self.pictures, error) from error


def box_video(name: str, *, time_us: np.ndarray, pictures: Pictures, rows: BoxRows) -> BoxVideo:
    """A verified video. Of the pictures only the header of the first is read.

    Args:
        name: of the segment.
        time_us: int64 [T], times of the frames that `pictures` numbers, in order.
        pictures: the encoded frames.
        rows: the boxes.

    Raises:
        UserError: no frame; a frame twice; a frame rate other than 10 Hz; a box that belongs to no frame, is there
            twice, has no id, an unknown type, a coordinate that is not finite, or a negative side.
    """
    if not len(time_us):
        raise UserError(f"{pictures.file} has no frame of the FRONT camera; get the file again")
    if (np.diff(time_us) <= 0).any():
        twice = int(time_us[1:][np.diff(time_us) <= 0][0])
        raise UserError(f"{pictures.file} has the FRONT frame of time {twice} twice; get the file again")
    if len(time_us) > 1:
        step_s = float(np.median(np.diff(time_us))) / 1e6
        if abs(step_s * RATE_HZ - 1) > RATE_TOLERANCE:
            raise UserError(
                f"{pictures.file}: FRONT frames are {step_s:.3f} s apart, expected {1 / RATE_HZ} s; use the original "
                "data, not a subsampled copy"
            )
    frame = np.searchsorted(time_us, rows.time_us)
    frameless = time_us[np.minimum(frame, len(time_us) - 1)] != rows.time_us
    _refuse(rows, frameless, f"is at a time at which {pictures.file} has no FRONT frame")
    _refuse(rows, [not i for i in rows.ids], "has no object id")
    _refuse(rows, ~np.isin(rows.types, list(TYPES)), f"has a type that is none of {', '.join(map(str, TYPES))}")
    _refuse(rows, ~(np.abs(rows.yxyx_px) < FAR_PX).all(axis=1), "is not finite, or beyond a million pixels")
    sides = rows.yxyx_px[:, 2:] - rows.yxyx_px[:, :2]
    _refuse(rows, (sides < 0).any(axis=1), "has a negative side")
    labels, track = np.unique(np.asarray(rows.ids, object), return_inverse=True)
    # Tracks are ordered by their first frame, then by id, so that the order on disk does not matter.
    first_seen = np.full(len(labels), len(time_us))
    np.minimum.at(first_seen, track, frame)
    by_time = np.argsort(first_seen, kind="stable")
    track = np.argsort(by_time)[track]
    order = np.lexsort((track, frame))
    repeated = (np.diff(frame[order]) == 0) & (np.diff(track[order]) == 0)
    _refuse(rows, np.isin(np.arange(len(order)), order[1:][repeated]), "is in its frame twice")
    _, first_row = np.unique(track[order], return_index=True)
    return BoxVideo(
        name=name,
        time_us=time_us,
        size_hw=_first_size(pictures),
        ids=tuple(str(label) for label in labels[by_time]),
        types=rows.types[order][first_row].astype(np.int8),
        row_frame=frame[order].astype(np.int32),
        row_track=track[order].astype(np.int32),
        row_yxyx_px=rows.yxyx_px[order].astype(np.float32),
        pictures=pictures,
    )


def _refuse(rows: BoxRows, wrong: Sequence[bool] | np.ndarray, what: str) -> None:
    """Raises UserError for the first row that is wrong, bool [R]."""
    if np.any(wrong):
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"{rows.file}: the box of object {str(rows.ids[row])[:40]!r} at time {int(rows.time_us[row])} {what}; "
            "get the file again"
        )


def _first_size(pictures: Pictures) -> tuple[int, int]:
    (jpeg,) = pictures.read([0])
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            return image.height, image.width
    except _UNREADABLE as error:
        raise _not_a_picture(0, pictures, error) from error


def _not_a_picture(i: int, pictures: Pictures, error: Exception) -> DamagedFile:
    why = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
    return DamagedFile(f"frame {i} of {pictures.file} cannot be read as a JPEG ({why}); get the file again")


def window_starts(video: BoxVideo, *, frames: int = FRAMES, stride: int = STRIDE) -> np.ndarray:
    """int64: every frame at which a clip without a gap in time can start, in order."""
    span = (frames - 1) * stride + 1
    return np.concatenate([first + np.arange(max(0, count - span + 1)) for first, count in video.runs])
