"""Reader of `.sens`, the format in which ScanNet distributes the sensor stream of a scan.

Little endian. Header: u32 version (4); u64 length and bytes of the sensor's name; four 4x4 f32 matrices (intrinsics and
extrinsics of the colour camera, then of the depth camera); i32 colour codec (0 raw, 1 png, 2 jpeg), i32 depth codec
(0 raw, 1 zlib); u32 colour width and height, depth width and height; f32 depth shift, in units per metre; u64 frames.
Each frame: 4x4 f32 pose, u64 time of colour, u64 time of depth, u64 colour bytes, u64 depth bytes, the two payloads.
IMU readings follow the frames; they are not read.

Source: ScanNet/ScanNet, `SensReader/python/SensorData.py` and `SensReader/c++/src/sensorData/sensorData.h`.
"""

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.media.encoded_images import UNREADABLE

VERSION = 4
MILLIMETRES = 1000.0
"""Depth units per metre of what `SensFile.depth` returns."""

MAX_SIDE_PX = 8192
"""A header with a larger image is damaged; ScanNet's are 1296x968 and 640x480."""
MAX_NAME_BYTES = 4096
MAX_DEPTH_SHIFT = 1e6
PAYLOAD_SLACK_BYTES = 65536
"""A payload longer than twice the raw image plus this is damaged: no codec expands images that much."""

_HEADER = struct.Struct("<64f2i4IfQ")
_FRAME = struct.Struct("<64s4Q")
_COLOUR_CODECS = {0: "raw", 1: "png", 2: "jpeg"}
_DEPTH_CODECS = {0: "raw", 1: "zlib"}
_UNREADABLE = (*UNREADABLE, zlib.error)
"""What Pillow and zlib raise on damaged payloads."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SensHeader:
    """The header, which holds for all frames.

    Attributes:
        sensor: name of the device.
        colour_intrinsics, depth_intrinsics: float32 [4, 4] in pixels, pixel centres at integers.
        colour_codec: "raw", "png" or "jpeg"; depth_codec: "raw" or "zlib".
        colour_hw, depth_hw: height and width in pixels.
        depth_shift: stored depth units per metre.
        frames: number of frames according to the header.
        sha256: hash of the header's bytes.
    """

    sensor: str
    colour_intrinsics: np.ndarray
    depth_intrinsics: np.ndarray
    colour_codec: str
    depth_codec: str
    colour_hw: tuple[int, int]
    depth_hw: tuple[int, int]
    depth_shift: float
    frames: int
    sha256: str


class SensFile:
    """One `.sens` file, with random access to its frames; it holds no payload and no open file.

    Opening reads the frames' headers, 96 bytes each, and seeks past their payloads. Its time and memory (24 bytes a
    frame) are bounded by the size of the file, whatever damaged numbers in it say.

    Args:
        path: the file.

    Attributes:
        header: the header.
        frames: number of frames, all of them complete.
        offsets, colour_bytes, depth_bytes: int64 [frames]; offset of each frame's header, and lengths of its payloads.

    Raises:
        UserError: no such file, not version 4, unknown codecs, implausible sizes, or fewer complete frames than the
            header says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                self.header = _read_header(file, path)
                index = _read_index(file, path, size, self.header)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error}); get the file again") from error
        self.frames = self.header.frames
        self.size_bytes = size
        self.offsets, self.colour_bytes, self.depth_bytes = index.T

    def colour(self, i: int) -> np.ndarray:
        """Colour of frame `i`, uint8 [H, W, 3] RGB. UserError, with the frame's number, where it cannot be decoded."""
        payload = self._payload(i, int(self.offsets[i]) + _FRAME.size, int(self.colour_bytes[i]))
        height, width = self.header.colour_hw
        if self.header.colour_codec == "raw":
            if len(payload) != height * width * 3:
                raise self._damaged(i, "colour", f"{len(payload)} bytes, expected {height * width * 3}")
            return np.frombuffer(payload, np.uint8).reshape(height, width, 3).copy()
        try:
            with Image.open(io.BytesIO(payload), formats=[self.header.colour_codec.upper()]) as image:
                if image.size != (width, height):
                    raise self._damaged(
                        i, "colour", f"{image.width}x{image.height} px, the header says {width}x{height}"
                    )
                return np.asarray(image.convert("RGB"))
        except _UNREADABLE as error:
            raise self._damaged(i, "colour", _one_line(error)) from error

    def depth(self, i: int) -> np.ndarray:
        """Depth of frame `i`, uint16 [H, W] in millimetres along the optical axis, 0 where there is none.

        Where the file has another unit, values are converted and rounded; those beyond 65.5 m become 0.
        UserError, with the frame's number, where it cannot be decoded.
        """
        start = int(self.offsets[i]) + _FRAME.size + int(self.colour_bytes[i])
        content = self._payload(i, start, int(self.depth_bytes[i]))
        height, width = self.header.depth_hw
        expected = height * width * 2
        if self.header.depth_codec == "zlib":
            decompressor = zlib.decompressobj()
            try:
                # Bounded: a damaged payload may expand to gigabytes.
                content = decompressor.decompress(content, expected + 1)
            except zlib.error as error:
                raise self._damaged(i, "depth", _one_line(error)) from error
            if len(content) == expected and not decompressor.eof:
                raise self._damaged(i, "depth", "its end is missing")
        if len(content) != expected:
            more = "more than " if len(content) > expected else ""
            raise self._damaged(
                i, "depth", f"{more}{min(len(content), expected)} bytes, expected {expected} for {width}x{height} px"
            )
        depth = np.frombuffer(content, "<u2").reshape(height, width).astype(np.uint16)
        if self.header.depth_shift == MILLIMETRES:
            return depth
        millimetres = np.rint(depth * (MILLIMETRES / self.header.depth_shift))
        return np.where(millimetres <= np.iinfo(np.uint16).max, millimetres, 0).astype(np.uint16)

    def pose(self, i: int) -> np.ndarray:
        """Camera to world of frame `i`, float32 [4, 4] in metres; -inf throughout where tracking was lost."""
        content = self._payload(i, int(self.offsets[i]), 64)
        return np.frombuffer(content, "<f4").reshape(4, 4).astype(np.float32)

    def identity(self) -> str:
        """Hash over the file's size, its header and the length of every payload, not over the pixels."""
        digest = hashlib.sha256(f"{self.size_bytes} {self.header.sha256}\n".encode())
        for column in (self.offsets, self.colour_bytes, self.depth_bytes):
            digest.update(np.ascontiguousarray(column, "<i8").tobytes())
        return digest.hexdigest()

    def _payload(self, i: int, start: int, length: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                content = file.read(length)
        except OSError as error:
            raise self._damaged(i, "content", _one_line(error)) from error
        if len(content) != length:
            raise self._damaged(i, "content", "the file has become shorter since it was opened")
        return content

    def _damaged(self, i: int, what: str, why: str) -> UserError:
        return DamagedFile(f"{self.path}, frame {i}: damaged {what} ({why}); get the file again")


def _read_header(file: BinaryIO, path: Path) -> SensHeader:
    start = file.read(12)
    version = int.from_bytes(start[:4], "little")
    if len(start) >= 4 and version != VERSION:
        raise UserError(f"{path} is not a .sens file of version {VERSION} (it starts with {version})")
    name_bytes = int.from_bytes(start[4:], "little")
    if len(start) == 12 and name_bytes > MAX_NAME_BYTES:
        raise _header_error(path, f"a sensor name of {name_bytes} bytes")
    rest = file.read(name_bytes + _HEADER.size)
    if len(start) < 12 or len(rest) < name_bytes + _HEADER.size:
        raise _header_error(path, "the file ends inside it")
    *matrices, colour_codec, depth_codec, colour_w, colour_h, depth_w, depth_h, shift, frames = _HEADER.unpack(
        rest[name_bytes:]
    )
    if colour_codec not in _COLOUR_CODECS:
        raise _header_error(path, f"colour codec {colour_codec}; known: 0 raw, 1 png, 2 jpeg")
    if depth_codec not in _DEPTH_CODECS:
        raise _header_error(path, f"depth codec {depth_codec}; known: 0 raw, 1 zlib")
    for what, width, height in (("colour", colour_w, colour_h), ("depth", depth_w, depth_h)):
        if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
            raise _header_error(path, f"{what} images of {width}x{height} px")
    if not 1 <= shift <= MAX_DEPTH_SHIFT:
        raise _header_error(path, f"a depth shift of {shift:g}")
    # Intrinsics and extrinsics of colour, then of depth.
    cameras = np.array(matrices, np.float32).reshape(4, 4, 4)
    return SensHeader(
        sensor=rest[:name_bytes].decode(errors="replace"),
        colour_intrinsics=cameras[0],
        depth_intrinsics=cameras[2],
        colour_codec=_COLOUR_CODECS[colour_codec],
        depth_codec=_DEPTH_CODECS[depth_codec],
        colour_hw=(colour_h, colour_w),
        depth_hw=(depth_h, depth_w),
        depth_shift=shift,
        frames=frames,
        sha256=hashlib.sha256(start + rest).hexdigest(),
    )


def _read_index(file: BinaryIO, path: Path, size: int, header: SensHeader) -> np.ndarray:
    """int64 [frames, 3]: offset, colour bytes and depth bytes of every frame. `file` is positioned at the first."""
    most_colour = 2 * 3 * header.colour_hw[0] * header.colour_hw[1] + PAYLOAD_SLACK_BYTES
    most_depth = 2 * 2 * header.depth_hw[0] * header.depth_hw[1] + PAYLOAD_SLACK_BYTES
    rows: list[tuple[int, int, int]] = []
    offset = file.tell()
    while len(rows) < header.frames:
        content = file.read(_FRAME.size)
        if len(content) < _FRAME.size:
            break
        _, _, _, colour_bytes, depth_bytes = _FRAME.unpack(content)
        # In Python's unbounded integers: a damaged length of 2^64 - 1 must not wrap around.
        end = offset + _FRAME.size + colour_bytes + depth_bytes
        if end > size or colour_bytes > most_colour or depth_bytes > most_depth:
            break
        rows.append((offset, colour_bytes, depth_bytes))
        file.seek(end)
        offset = end
    if len(rows) < header.frames:
        raise UserError(
            f"{path} is damaged or not fully downloaded: {len(rows)} of {header.frames} frames are complete; "
            "get the file again"
        )
    return np.array(rows, np.int64).reshape(-1, 3)


def _header_error(path: Path, why: str) -> UserError:
    return UserError(f"{path} has a damaged header ({why}); get the file again")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
