"""One segment of the Waymo Open Dataset v1: camera frames and their boxes from a TFRecord of Frame messages.

A record is one frame of all sensors, most of it lidar range images. Fields that are not needed are skipped by seeking:
only name, time and camera labels are read, and for each image its offset in the file is noted. So only the checksums of
the record lengths are verified; `rvm_bench.formats.tfrecord.check_records` reads everything and verifies those of the
data too.

Fields, by number: Frame {1 context, 2 timestamp_micros, 4 images, 8 camera_labels}; Context {1 name};
CameraImage {1 name, 2 image}; CameraLabels {1 name, 2 labels}; Label {1 box, 3 type, 4 id};
Box {1 center_x, 2 center_y, 4 width, 5 length}. A box in an image has its extent along x in `length` and along y in
`width`, in pixels. `camera_labels` are human annotations; `projected_lidar_labels` (9) are not read.

Source: waymo-research/waymo-open-dataset, `src/waymo_open_dataset/dataset.proto` and `label.proto`.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from readouts.datasets.waymo.box_video import FRONT, BoxRows, BoxVideo, box_video
from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.formats.protobuf import Field, message_classes, parse, text, walk_fields
from rvm_bench.formats.tfrecord import HEADER_BYTES, record_index

CONTEXT, TIME, IMAGE, LABELS = 1, 2, 4, 8
IMAGE_CAMERA, IMAGE_JPEG = 1, 2


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CameraBoxes:
    """The annotated boxes of one image.

    Attributes:
        yxyx_px: float64 [n, 4], y0, x0, y1, x1 in pixels.
        ids: of the n objects; "" where there is none.
        types: int64 [n], keys of `readouts.datasets.waymo.box_video.TYPES`.
    """

    yxyx_px: np.ndarray
    ids: tuple[str, ...]
    types: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WaymoFrame:
    """One frame of a segment.

    Attributes:
        segment: name of the segment, as v2 calls it too.
        time_us: microseconds.
        jpegs: camera -> (offset in the file, length) of its JPEG, in bytes.
        boxes: camera -> its boxes; a camera without an entry was not labelled in this frame.
    """

    segment: str
    time_us: int
    jpegs: dict[int, tuple[int, int]]
    boxes: dict[int, CameraBoxes]


def read_frames(file: Path) -> Iterator[WaymoFrame]:
    """The frames of a segment, in the order of the file.

    Raises:
        UserError: a record's length is damaged, a record is no Frame, lacks a name or a time, or has a camera twice; or
            a box lacks a coordinate.
    """
    index = record_index(file)
    try:
        with file.open("rb") as opened:
            for i, (offset, length) in enumerate(index):
                start = offset + HEADER_BYTES
                yield _read_frame(opened, start, start + length, f"{file}, record {i}")
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error}); get the file again") from error


def open_segment_v1(file: Path, camera: int = FRONT) -> BoxVideo:
    """The frames of one camera of a segment and their boxes, ordered by time.

    Raises:
        UserError: as `read_frames`; frames of several segments; frames without a picture of the camera; no frame that
            is labelled; or what `box_video` refuses, as boxes without an id.
    """
    frames = sorted(read_frames(file), key=lambda frame: frame.time_us)
    if not frames:
        raise UserError(f"{file} has no frame; get the file again")
    if len({frame.segment for frame in frames}) > 1:
        raise UserError(f"{file} holds frames of more than one segment; get the file again")
    if missing := [frame.time_us for frame in frames if camera not in frame.jpegs]:
        raise UserError(f"{file} has no picture of camera {camera} at time {missing[0]}; get the file again")
    labelled = [(frame.time_us, frame.boxes[camera]) for frame in frames if camera in frame.boxes]
    if not labelled:
        raise UserError(f"{file} has no boxes of camera {camera}; expected a file *_with_camera_labels.tfrecord")
    rows = BoxRows(
        file=file,
        time_us=np.repeat([time for time, _ in labelled], [len(boxes.ids) for _, boxes in labelled]).astype(np.int64),
        ids=[label for _, boxes in labelled for label in boxes.ids],
        types=np.concatenate([boxes.types for _, boxes in labelled]),
        yxyx_px=np.concatenate([boxes.yxyx_px for _, boxes in labelled]),
    )
    pictures = RecordPictures(
        file=file,
        file_bytes=file.stat().st_size,
        offsets=np.array([frame.jpegs[camera] for frame in frames], np.int64),
    )
    return box_video(
        frames[0].segment,
        time_us=np.array([frame.time_us for frame in frames], np.int64),
        pictures=pictures,
        rows=rows,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RecordPictures:
    """JPEGs within the records of a file; a `readouts.datasets.waymo.box_video.Pictures`.

    Attributes:
        offsets: int64 [T, 2], offset in the file and length of each frame's JPEG, in bytes.
    """

    file: Path
    file_bytes: int
    offsets: np.ndarray

    def read(self, frames: Sequence[int]) -> list[bytes]:
        """The JPEGs of frames by number; nothing else of the file is read."""
        found = []
        try:
            with self.file.open("rb") as opened:
                for frame in frames:
                    start, length = self.offsets[frame].tolist()
                    opened.seek(start)
                    found.append(opened.read(length))
                    if len(found[-1]) < length:
                        raise DamagedFile(f"{self.file} has become shorter since it was opened; get the file again")
        except OSError as error:
            raise DamagedFile(f"{self.file} cannot be read ({error}); get the file again") from error
        return found


def _read_frame(file: BinaryIO, start: int, end: int, where: str) -> WaymoFrame:
    segment, time_us = "", None
    jpegs: dict[int, tuple[int, int]] = {}
    boxes: dict[int, CameraBoxes] = {}
    for field in walk_fields(file, start, end, where):
        if field.number == CONTEXT:
            context = parse(_messages()["Context"], _content(file, field), f"{where}, context")
            segment = text(context.name, f"{where}, context")
        elif field.number == TIME:
            time_us = field.value
        elif field.number == IMAGE:
            camera, jpeg = _find_jpeg(file, field, f"{where}, image")
            _add(jpegs, camera, jpeg, f"{where}: image")
        elif field.number == LABELS:
            labels = parse(_messages()["CameraLabels"], _content(file, field), f"{where}, camera labels")
            _add(boxes, labels.name, _boxes(labels.labels, f"{where}, camera {labels.name}"), f"{where}: labels")
    if not segment or time_us is None or time_us >= 1 << 63:
        raise UserError(f"{where}: no segment name or no time in it; is this a Waymo v1 frame?")
    return WaymoFrame(segment=segment, time_us=time_us, jpegs=jpegs, boxes=boxes)


def _find_jpeg(file: BinaryIO, image: Field, where: str) -> tuple[int, tuple[int, int]]:
    """The camera of an image, and (offset, length) of its JPEG."""
    found = {field.number: field for field in walk_fields(file, image.start, image.start + image.length, where)}
    camera, jpeg = found.get(IMAGE_CAMERA), found.get(IMAGE_JPEG)
    if camera is None or camera.value is None or jpeg is None or jpeg.value is not None:
        raise UserError(f"{where}: no camera name or no JPEG in it; get the file again")
    return camera.value, (jpeg.start, jpeg.length)


def _boxes(labels: Any, where: str) -> CameraBoxes:
    yxyx_px = np.empty((len(labels), 4))
    for i, label in enumerate(labels):
        box = label.box
        if not all(box.HasField(name) for name in ("center_x", "center_y", "length", "width")):
            raise UserError(f"{where}, label {i}: a box without its center or its size; get the file again")
        x, y, half_x, half_y = box.center_x, box.center_y, box.length / 2, box.width / 2
        yxyx_px[i] = y - half_y, x - half_x, y + half_y, x + half_x
    return CameraBoxes(
        yxyx_px=yxyx_px,
        ids=tuple(text(label.id, f"{where}, label {i}") for i, label in enumerate(labels)),
        types=np.array([label.type for label in labels], np.int64),
    )


def _add(found: dict[int, Any], camera: int, value: Any, what: str) -> None:
    if camera in found:
        raise UserError(f"{what} of camera {camera} twice; get the file again")
    found[camera] = value


def _content(file: BinaryIO, field: Field) -> bytes:
    file.seek(field.start)
    return file.read(field.length)


@functools.cache
def _messages() -> dict[str, Any]:
    return message_classes(
        "rvm_bench.waymo",
        {
            "Context": {"name": (1, "bytes")},
            "CameraLabels": {"name": (1, "int32"), "labels": (2, "repeated Label")},
            "Label": {"box": (1, "Box"), "type": (3, "int32"), "id": (4, "bytes")},
            "Box": {
                "center_x": (1, "double"),
                "center_y": (2, "double"),
                "width": (4, "double"),
                "length": (5, "double"),
            },
        },
    )
