"""TFRecord, the file of records that TensorFlow writes, without TensorFlow.

Little endian, one record after the other: u64 length of the data, u32 masked CRC-32C of these eight bytes, the data,
u32 masked CRC-32C of the data. A sum c is masked as ((c >> 15 | c << 17) + 0xa282ead8) mod 2^32.

Source: tensorflow/tensorflow, `tensorflow/core/lib/io/record_writer.h` and `tensorflow/core/lib/hash/crc32c.h`.
Compressed files, which TensorFlow can write too, are not read: none of our data sets has them.
"""

import contextlib
import functools
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from rvm_bench.errors import DamagedFile, optional_packages

_LENGTH = struct.Struct("<Q")
_SUM = struct.Struct("<I")
HEADER_BYTES = _LENGTH.size + _SUM.size
FOOTER_BYTES = _SUM.size


def read_records(path: Path, *, check: bool = True) -> Iterator[bytes]:
    """The data of every record, in order, one at a time.

    A length that is larger than what is left of the file is found before memory is taken for it.

    Args:
        path: the file.
        check: whether the data's sums are compared; those of the lengths always are.

    Raises:
        UserError: the file cannot be read, or a record is damaged or cut off; names the file, the record's number from
            0, and where it starts, in bytes.
    """
    with _opened(path) as file:
        for i, (offset, length) in enumerate(_frames(file, path)):
            file.seek(offset + HEADER_BYTES)
            yield _read_data(file, path, i, offset, length, check=check)


def record_index(path: Path) -> list[tuple[int, int]]:
    """Where every record starts and how long its data is, in bytes; reads 12 bytes a record and no data.

    Raises:
        UserError: as `read_records`.
    """
    # Unbuffered: a buffer would read what lies behind each header as well.
    with _opened(path, buffering=0) as file:
        return list(_frames(file, path))


def read_record(path: Path, i: int, offset: int, length: int, *, check: bool = True) -> bytes:
    """The data of record `i`, which starts at `offset` and is `length` bytes long, as `record_index` says.

    Raises:
        UserError: as `read_records`.
    """
    with _opened(path) as file:
        if os.fstat(file.fileno()).st_size < offset + HEADER_BYTES + length + FOOTER_BYTES:
            raise _damaged(path, i, offset, "the file has become shorter since it was opened")
        file.seek(offset + HEADER_BYTES)
        return _read_data(file, path, i, offset, length, check=check)


def check_records(path: Path) -> int:
    """How many records the file has, all of them read and their checksums verified.

    Raises:
        UserError: as `read_records`, for the first that is damaged.
    """
    return sum(1 for _ in read_records(path))


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Writes a file of records, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            for data in records:
                length = _LENGTH.pack(len(data))
                file.write(length + _SUM.pack(masked_crc32c(length)))
                file.write(data)
                file.write(_SUM.pack(masked_crc32c(data)))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@functools.cache
def _crc32c() -> Callable[[bytes], int]:
    with optional_packages("TFRecord files need", "tfrecord"):
        import google_crc32c

    return google_crc32c.value


def masked_crc32c(data: bytes) -> int:
    """The CRC-32C of `data` in the form in which TFRecord stores it."""
    crc = _crc32c()(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _frames(file: IO[bytes], path: Path) -> Iterator[tuple[int, int]]:
    """Start and length of every record; leaves the file's position to the caller between two of them."""
    size = os.fstat(file.fileno()).st_size
    offset = i = 0
    while offset < size:
        file.seek(offset)
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            raise _damaged(path, i, offset, f"the file ends after {len(header)} of its first {HEADER_BYTES} bytes")
        if masked_crc32c(header[: _LENGTH.size]) != _SUM.unpack_from(header, _LENGTH.size)[0]:
            # At the first record it is as likely that this never was such a file.
            why = "its length has a wrong checksum" + ("; is this a TFRecord file, not compressed?" if i == 0 else "")
            raise _damaged(path, i, offset, why)
        (length,) = _LENGTH.unpack_from(header)
        left = size - offset - HEADER_BYTES - FOOTER_BYTES
        if length > left:
            raise _damaged(path, i, offset, f"{length} bytes long, of which the file holds {max(left, 0)}")
        yield offset, length
        offset += HEADER_BYTES + length + FOOTER_BYTES
        i += 1


def _read_data(file: IO[bytes], path: Path, i: int, offset: int, length: int, *, check: bool) -> bytes:
    data, footer = file.read(length), file.read(FOOTER_BYTES)
    if len(data) < length or len(footer) < FOOTER_BYTES:
        raise _damaged(path, i, offset, "the file has become shorter since it was opened")
    if check and masked_crc32c(data) != _SUM.unpack(footer)[0]:
        raise _damaged(path, i, offset, f"its {length} bytes have a wrong checksum")
    return data


@contextlib.contextmanager
def _opened(path: Path, buffering: int = -1) -> Iterator[IO[bytes]]:
    """The file, open for reading; an error of the disk, also while it is read, becomes a UserError."""
    try:
        with path.open("rb", buffering=buffering) as file:
            yield file
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read ({error}); get the file again") from error


def _damaged(path: Path, i: int, offset: int, why: str) -> DamagedFile:
    return DamagedFile(
        f"{path}, record {i} at byte {offset}: damaged or not fully downloaded ({why}); get the file again"
    )
