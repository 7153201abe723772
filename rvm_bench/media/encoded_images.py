"""Images that lie encoded within a record: checked first, decoded second.

What an image is (size, bits, channels) is read from its header before memory is taken for it, so that a few bytes
cannot claim gigabytes. Source of the layouts: W3C, "Portable Network Graphics (PNG) Specification"; ITU-T T.81 (JPEG).
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from rvm_bench.errors import DamagedFile, UserError

MAX_PIXELS = 1 << 24
"""Larger images are refused; the largest of our data sets have 2.5 million pixels (Waymo, 1920x1280)."""

PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_PNG_PIXELS = {(8, 0): "gray", (16, 0): "16-bit gray", (8, 2): "RGB", (16, 2): "16-bit RGB"}
"""(bits, colour type) of the PNGs that are read as they are stored; others would have to be converted."""
UNREADABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow raises on damaged content."""


def image_header(data: bytes, *, where: str) -> tuple[tuple[int, int], str]:
    """Height and width in pixels, and "gray", "16-bit gray", "RGB" or "16-bit RGB", of an encoded PNG or JPEG.

    Args:
        data: the encoded image.
        where: which image it is, for errors.

    Raises:
        UserError: another kind of file or of pixels, or more than `MAX_PIXELS` pixels.
    """
    if data.startswith(PNG):
        size_hw, pixels = _png_header(data, where)
    elif data.startswith(_JPEG):
        size_hw, pixels = _jpeg_header(data, where)
    else:
        raise UserError(f"{where}: neither a PNG nor a JPEG (it starts with {data[:8]!r}); get the file again")
    if not 0 < size_hw[0] * size_hw[1] <= MAX_PIXELS:
        raise UserError(
            f"{where}: its header claims {size_hw[1]}x{size_hw[0]} px, expected at most {MAX_PIXELS:,} pixels; "
            "get the file again"
        )
    return size_hw, pixels


def decode_image(data: bytes, *, pixels: str = "RGB", size_hw: tuple[int, int] | None = None, where: str) -> np.ndarray:
    """An encoded PNG or JPEG as stored: uint8, or uint16 where 16-bit; [H, W, 3], or [H, W] where gray.

    Args:
        data: the encoded image.
        pixels: what they must be, as `image_header` names them.
        size_hw: height and width that it must have; any if None.
        where: which image it is, for errors.

    Raises:
        UserError: it is not what was asked for, or is damaged; nothing is decoded in the first case.
    """
    found_hw, found = image_header(data, where=where)
    if found != pixels:
        raise UserError(f"{where}: its pixels are {found}, expected {pixels}; get the file again")
    if size_hw is not None and found_hw != tuple(size_hw):
        raise UserError(
            f"{where}: {found_hw[1]}x{found_hw[0]} px, expected {size_hw[1]}x{size_hw[0]} as before; get the file again"
        )
    image = _decode_png(data, where) if data.startswith(PNG) else _decode_jpeg(data, where)
    if image.shape != (*found_hw, 3)[: image.ndim] or image.ndim != (3 if "RGB" in pixels else 2):
        raise _damaged(where, f"decodes to shape {image.shape}")
    return image


def _png_header(data: bytes, where: str) -> tuple[tuple[int, int], str]:
    if len(data) < 33 or data[8:16] != b"\0\0\0\rIHDR":
        raise _damaged(where, "a PNG without its header")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if (bits, colour) not in _PNG_PIXELS:
        raise UserError(
            f"{where}: a PNG of {bits} bits and colour type {colour}, expected 8 or 16 bits and gray or RGB"
        )
    return (height, width), _PNG_PIXELS[bits, colour]


def _jpeg_header(data: bytes, where: str) -> tuple[tuple[int, int], str]:
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.mode not in ("RGB", "L"):
                raise UserError(f"{where}: a JPEG of mode {image.mode}, expected gray or colour")
            return (image.height, image.width), "RGB" if image.mode == "RGB" else "gray"
    except UNREADABLE as error:
        raise _damaged(where, " ".join(str(error).split())) from error


def _decode_png(data: bytes, where: str) -> np.ndarray:
    """Pillow has no 16-bit RGB; OpenCV has, but takes a damaged chunk where the checksums are not looked at first."""
    import cv2

    check_png(data, where)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _damaged(where, " ".join(str(error).split())) from error
    if image is None:
        raise _damaged(where, "its compressed pixels are wrong or too few")
    return np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image


def check_png(data: bytes, where: str) -> None:
    """Raises DamagedFile where a PNG is cut off or a checksum of its chunks is wrong.

    A PNG is chunks up to IEND: u32 length, 4 letters, content, u32 CRC of letters and content; big endian.
    """
    view, offset, kind = memoryview(data), len(PNG), b""
    while offset + 12 <= len(data) and kind != b"IEND":
        (length,) = struct.unpack_from(">I", data, offset)
        end = offset + 12 + length
        kind = bytes(view[offset + 4 : offset + 8])
        if end > len(data):
            raise _damaged(where, f"a PNG that is cut off, {end - len(data)} bytes before the end of a {kind!r} chunk")
        if zlib.crc32(view[offset + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise _damaged(where, f"a PNG whose {kind!r} chunk at byte {offset} has a wrong checksum")
        offset = end
    if kind != b"IEND":
        raise _damaged(where, "a PNG that is cut off")


def _decode_jpeg(data: bytes, where: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return np.asarray(image)
    except UNREADABLE as error:
        raise _damaged(where, " ".join(str(error).split())) from error


def _damaged(where: str, why: str) -> DamagedFile:
    return DamagedFile(f"{where}: a damaged image ({why}); get the file again")
