"""Whether a video file ends before the end that its own header gives, without decoding anything.

FFmpeg reads a Matroska file, or an MP4 with its index in front, up to where it was cut and says nothing; a cut SSv2
clip would pass for a shorter one.
"""

import os
from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"udta", b"uuid", b"moof", b"mfra", b"sidx", b"styp"}


def promised_bytes(path: Path) -> int | None:
    """Size in bytes that the headers of an AVI, MP4, MOV, WebM or MKV file give it; None where they give none.

    A file may well be larger than that, since anything may follow; if it is smaller, its end is missing. Sources: RIFF
    header; ISO/IEC 14496-12 section 4.2 (size, type, 64-bit size; size 0 reaches to the end); RFC 8794 section 4 and 6
    (variable-size integers, all ones for unknown).
    """
    with path.open("rb") as file:
        magic = file.read(8)
        if magic[:4] == b"RIFF":
            return 8 + int.from_bytes(magic[4:8], "little")
        if magic[:4] == EBML:
            return _matroska_end(file)
        return _mp4_end(file, path.stat().st_size) if magic[4:8] in MP4_BOXES else None


def _matroska_end(file: BinaryIO) -> int | None:
    """Where the segment ends that follows the EBML header."""
    file.seek(len(EBML))
    header = _ebml_size(file)
    if header is None:
        return None
    file.seek(header, os.SEEK_CUR)
    if file.read(len(SEGMENT)) != SEGMENT:
        return None
    size = _ebml_size(file)
    return None if size is None else file.tell() + size


def _ebml_size(file: BinaryIO) -> int | None:
    """A variable-size integer: as many bytes as its first has leading zeros, and one."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(extra), "big") & ((1 << 7 * (extra + 1)) - 1)
    return None if value == (1 << 7 * (extra + 1)) - 1 else value


def _mp4_end(file: BinaryIO, size: int) -> int:
    """Where the last of the top-level boxes ends; what is no box is not counted."""
    offset = 0
    while offset < size:
        file.seek(offset)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if header[4:8] not in MP4_BOXES or length < 8:
            return min(offset, size)
        offset += length
    return offset
