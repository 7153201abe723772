"""Writing `.sens`, the file in which ScanNet ships the sensor stream of one scan.

Source of the layout: ScanNet/ScanNet, `SensReader/c++/src/sensorData/sensorData.h`.
"""

import io
import itertools
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

VERSION = 4
COLOUR_CODECS = {"raw": 0, "png": 1, "jpeg": 2}
DEPTH_CODECS = {"raw": 0, "zlib": 1}
FRAME_US = 33_333
"""Time between frames in the written time stamps."""


def write_sens(
    file: Path,
    frames: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    *,
    colour_intrinsics: np.ndarray | None = None,
    depth_intrinsics: np.ndarray | None = None,
    colour_codec: str = "jpeg",
    depth_codec: str = "zlib",
    depth_shift: float = 1000.0,
    jpeg_quality: int = 92,
    sensor: str = "demo",
) -> None:
    """Writes a `.sens` file, one frame after the other, and after them an empty list of inertial readings.

    Args:
        file: what to write.
        frames: at least one; each is colour uint8 [H, W, 3] RGB, depth uint16 [h, w] in units of 1 / `depth_shift`
            metres, and the pose [4, 4] from camera to world. Sizes are those of the first frame.
        colour_intrinsics, depth_intrinsics: [4, 4] or [3, 3] in pixels, pixel centres at integers; identity if None.
        colour_codec: one of `COLOUR_CODECS`; depth_codec: one of `DEPTH_CODECS`.
    """
    frames = iter(frames)
    first = next(frames)
    count = 0
    with file.open("wb") as out:
        name = sensor.encode()
        out.write(struct.pack("<IQ", VERSION, len(name)) + name)
        for matrix in (colour_intrinsics, None, depth_intrinsics, None):
            out.write(_four_by_four(matrix).astype("<f4").tobytes())
        (height, width), (depth_height, depth_width) = first[0].shape[:2], first[1].shape
        codecs = COLOUR_CODECS[colour_codec], DEPTH_CODECS[depth_codec]
        out.write(struct.pack("<2i4If", *codecs, width, height, depth_width, depth_height, depth_shift))
        place_of_count = out.tell()
        out.write(struct.pack("<Q", 0))
        for colour, depth, pose in itertools.chain([first], frames):
            packed_colour = _pack_colour(colour, colour_codec, jpeg_quality)
            packed_depth = depth.astype("<u2").tobytes()
            if depth_codec == "zlib":
                packed_depth = zlib.compress(packed_depth)
            time_us = count * FRAME_US
            out.write(np.asarray(pose, "<f4").tobytes())
            out.write(struct.pack("<4Q", time_us, time_us, len(packed_colour), len(packed_depth)))
            out.write(packed_colour + packed_depth)
            count += 1
        out.write(struct.pack("<Q", 0))
        out.seek(place_of_count)
        out.write(struct.pack("<Q", count))


def _four_by_four(matrix: np.ndarray | None) -> np.ndarray:
    whole = np.eye(4)
    if matrix is not None:
        whole[: matrix.shape[0], : matrix.shape[1]] = matrix
    return whole


def _pack_colour(colour: np.ndarray, codec: str, jpeg_quality: int) -> bytes:
    if codec == "raw":
        return np.ascontiguousarray(colour).tobytes()
    buffer = io.BytesIO()
    options = {"quality": jpeg_quality} if codec == "jpeg" else {}
    Image.fromarray(colour).save(buffer, format=codec.upper(), **options)
    return buffer.getvalue()
