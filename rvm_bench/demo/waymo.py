"""Writes demo drives in the official layout of the Waymo Open Dataset v2: what a car's FRONT camera sees on a road.

    training/camera_image/<segment>.parquet      one row a frame: the JPEG and the pose of the car
    training/camera_box/<segment>.parquet        one row a box, tight around what is visible of an object
    validation/camera_image/, camera_box/        the same

Vehicles come nearer, fall behind and cross, people walk, and the camera drives and turns; posts and other bodies hide
what is behind them. A track has no row where its object is hidden or outside. Ten frames a second, with the small
jitter that real times have. Every column of the two components is there with its official type; what a drawn camera
does not have (velocity, rolling shutter, difficulty) is null.

Source of the layout: waymo-research/waymo-open-dataset, `src/waymo_open_dataset/v2/perception/{camera_image,box}.py`.
"""

import io
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rvm_bench.errors import UserError, optional_packages
from rvm_bench.procedural.render import Frame
from rvm_bench.procedural.road import draw_road
from rvm_bench.procedural.scene import Scene

if TYPE_CHECKING:
    from pyarrow import Schema

FRAMES = (48, 64)
"""Fewest and most frames of a training segment; those of validation have the most, two clips of 16 at 5 a second."""
JPEG_QUALITY = 88
FRONT, VEHICLE, PEDESTRIAN = 1, 1, 2
LEAST_VISIBLE_PX = 12
"""A body of which fewer pixels are seen has no box, as no person would draw one."""
ROAD, BODY = 0.5, 1.15
"""Brightness of the scenery and of the bodies, as factors: what is hard should be the motion, and not the finding."""

_ROWS_IN_GROUP = 16
# Waymo's axes are x ahead, y to the left, z up; the engine's are x to the right, y down, z ahead.
_AXES = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def write(
    folder: Path,
    *,
    seed: int = 0,
    training: int = 100,
    validation: int = 12,
    progress: Callable[[str, int], object] | None = None,
) -> None:
    """Writes `training` and `validation` segments under `folder`; the defaults take some 40 s and 50 MB.

    The files are the same bytes for the same arguments and library versions. After each segment, `progress` is called
    with its name and the number of its frames.

    Raises UserError where the folder already has a split, so that no real copy is ever overwritten; and where pyarrow
    is not installed.
    """
    with optional_packages("parquet files need", "tracking"):
        import pyarrow as pa
        from pyarrow import parquet as pq

    for split in ("training", "validation"):
        if (folder / split).exists():
            raise UserError(f"{folder / split} exists; name an empty folder for the demo copy, or remove that one")
    for number, (split, count) in enumerate((("training", training), ("validation", validation))):
        for component in ("camera_image", "camera_box"):
            (folder / split / component).mkdir(parents=True)
        for segment in range(count):
            drawn_from = (seed, number, segment)
            name, scene = draw_segment(drawn_from, split)
            images, boxes = _record(scene, name, np.random.default_rng([*drawn_from, 1]))
            for component, rows, schema in (
                ("camera_image", images, image_schema()),
                ("camera_box", boxes, box_schema()),
            ):
                pq.write_table(
                    pa.Table.from_pylist(rows, schema=schema),
                    folder / split / component / f"{name}.parquet",
                    row_group_size=_ROWS_IN_GROUP if component == "camera_image" else None,
                    use_dictionary=False,
                    write_page_checksum=True,
                )
            if progress is not None:
                progress(name, scene.frames)


def draw_segment(seed: tuple[int, ...], split: str) -> tuple[str, Scene]:
    """Name and road of the segment that a seed draws for a split."""
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(FRAMES[0], FRAMES[1] + 1)) if split == "training" else FRAMES[1]
    return _segment_name(rng), draw_road(rng, frames)


def _record(scene: Scene, name: str, rng: np.random.Generator) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of both components."""
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    ids = [_object_id(rng) for _ in scene.bodies]
    time_us = 1_500_000_000_000_000 + int(rng.integers(10**13))
    for t in range(scene.frames):
        frame = scene.render(t)
        now_us = time_us + t * 100_000 + int(rng.integers(-300, 301))
        key = {
            "key.segment_context_name": name,
            "key.frame_timestamp_micros": now_us,
            "key.camera_name": FRONT,
        }
        images.append(
            {
                **key,
                "[CameraImageComponent].image": _picture(frame),
                "[CameraImageComponent].pose.transform": (_AXES @ scene.camera_at(t).to_world @ _AXES.T).ravel(),
                "[CameraImageComponent].pose_timestamp": now_us / 1e6,
            }
        )
        for body, (x0, y0, x1, y1) in visible_boxes(scene, frame):
            boxes.append(
                {
                    **key,
                    "key.camera_object_id": ids[body],
                    "[CameraBoxComponent].box.center.x": (x0 + x1) / 2,
                    "[CameraBoxComponent].box.center.y": (y0 + y1) / 2,
                    "[CameraBoxComponent].box.size.x": x1 - x0,
                    "[CameraBoxComponent].box.size.y": y1 - y0,
                    "[CameraBoxComponent].type": PEDESTRIAN if scene.bodies[body].joints else VEHICLE,
                }
            )
    return images, boxes


def visible_boxes(scene: Scene, frame: Frame) -> Iterator[tuple[int, tuple[float, float, float, float]]]:
    """Index and box (x0, y0, x1, y1) in pixels of every body that is seen."""
    boxes, present = frame.boxes(len(scene.bodies))
    pixels = np.bincount(frame.instances.ravel(), minlength=len(scene.bodies) + 1)[1:]
    for body in np.flatnonzero(present & (pixels >= LEAST_VISIBLE_PX)):
        x0, y0, x1, y1 = boxes[body].tolist()
        yield int(body), (x0, y0, x1, y1)


def _picture(frame: Frame) -> bytes:
    """The frame as a JPEG, its bodies brighter and all else darker than the scene paints them."""
    light = np.where(frame.instances > 0, np.float32(BODY), np.float32(ROAD))[..., None]
    buffer = io.BytesIO()
    picture = np.minimum(frame.rgb * light, 255).astype(np.uint8)
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _segment_name(rng: np.random.Generator) -> str:
    """As the official names: a number, and the first and last second of twenty in its drive."""
    start = int(rng.integers(10_000))
    return f"{int(rng.integers(10**17, 10**18))}_{start}_000_{start + 20}_000"


def _object_id(rng: np.random.Generator) -> str:
    return str(uuid.UUID(bytes=rng.bytes(16), version=4))


def image_schema() -> "Schema":
    """Columns of `camera_image`, in the official order."""
    import pyarrow as pa

    component = "[CameraImageComponent]"
    return pa.schema(
        [
            *_key_columns(),
            (f"{component}.image", pa.binary()),
            (f"{component}.pose.transform", pa.list_(pa.float64(), 16)),
            *((f"{component}.velocity.linear_velocity.{axis}", pa.float32()) for axis in "xyz"),
            *((f"{component}.velocity.angular_velocity.{axis}", pa.float64()) for axis in "xyz"),
            (f"{component}.pose_timestamp", pa.float64()),
            *(
                (f"{component}.rolling_shutter_params.{time}", pa.float64())
                for time in ("shutter", "camera_trigger_time", "camera_readout_done_time")
            ),
        ]
    )


def box_schema() -> "Schema":
    """Columns of `camera_box`, in the official order."""
    import pyarrow as pa

    component = "[CameraBoxComponent]"
    return pa.schema(
        [
            *_key_columns(),
            ("key.camera_object_id", pa.string()),
            *((f"{component}.box.{what}.{axis}", pa.float64()) for what in ("center", "size") for axis in "xy"),
            (f"{component}.type", pa.int8()),
            *((f"{component}.difficulty_level.{what}", pa.int8()) for what in ("detection", "tracking")),
        ]
    )


def _key_columns() -> list[tuple[str, Any]]:
    import pyarrow as pa

    return [
        ("key.segment_context_name", pa.string()),
        ("key.frame_timestamp_micros", pa.int64()),
        ("key.camera_name", pa.int8()),
    ]
