"""Tiny segments in the tables of the Waymo Open Dataset v2."""

import io

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet as pq

from rvm_bench.demo.waymo import box_schema, image_schema

HEIGHT, WIDTH = 16, 24
START_US = 1_553_629_304_000_000
NAME = "9231652062943496183_1740_000_1760_000"
SIZE_Y = "[CameraBoxComponent].box.size.y"


def jpeg(shade, size=(WIDTH, HEIGHT)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(buffer, "JPEG")
    return buffer.getvalue()


def tracks(video):
    """Boxes [T, n, 4] and presence [T, n] in all frames."""
    return video.tracks(np.arange(video.length))


def key(t, camera=1):
    """Of frame t; times are in tenths of a second, so that a fraction is a jitter."""
    return {
        "key.segment_context_name": NAME,
        "key.frame_timestamp_micros": START_US + round(t * 100_000),
        "key.camera_name": camera,
    }


def box(t, name, y0, x0, y1, x1, kind=1, camera=1):
    return {
        **key(t, camera),
        "key.camera_object_id": name,
        "[CameraBoxComponent].box.center.x": (x0 + x1) / 2,
        "[CameraBoxComponent].box.center.y": (y0 + y1) / 2,
        "[CameraBoxComponent].box.size.x": x1 - x0,
        "[CameraBoxComponent].box.size.y": y1 - y0,
        "[CameraBoxComponent].type": kind,
    }


def image(t, camera=1):
    shade = 4 * int(t) if camera == 1 else 255
    return {**key(t, camera), "[CameraImageComponent].image": jpeg(shade)}


def some_rows(times=tuple(range(40))):
    """Frames of two cameras; "car" moves by a pixel a frame, "bike" comes at frame 5 and is gone in frames 7 and 8."""
    images = [image(t, camera) for t in times for camera in (1, 2)]
    boxes = [box(t, "car", 2, k, 10.5, k + 4) for k, t in enumerate(times)]
    boxes += [box(t, "bike", 1, 2, 6, 5, kind=4) for t in times[5:] if int(t) not in (7, 8)]
    return images, boxes + [box(t, "other", 0, 0, 9, 9, camera=2) for t in times]


def write(folder, images, boxes, name=NAME, *, image_types=None, box_types=None, **options):
    for component, rows, schema in (
        ("camera_image", images, image_types or image_schema()),
        ("camera_box", boxes, box_types or box_schema()),
    ):
        (folder / component).mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, folder / component / f"{name}.parquet", row_group_size=9, **options)
    return folder
