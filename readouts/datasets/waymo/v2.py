"""One segment of the Waymo Open Dataset v2: the FRONT camera's frames and boxes, from two parquet files.

    <split>/camera_image/<segment>.parquet     one row per frame and camera, with its JPEG
    <split>/camera_box/<segment>.parquet       one row per box

Rows are joined by the key columns (segment, time, camera) that both have. Columns are flat and named by a path with
dots and brackets, "[CameraBoxComponent].box.center.x". Only the needed ones are read, and of the pictures only the row
groups that hold the requested frames. Page checksums are verified where the file has them; where it has none, a flipped
bit can change a number or a picture unnoticed. A damaged page header, which no checksum covers, can make pyarrow
allocate up to 2 GB before the file is refused.

Source: waymo-research/waymo-open-dataset, `src/waymo_open_dataset/v2/perception/{base,box,camera_image}.py`,
`v2/component.py`, `v2/column_types.py`.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from readouts.datasets.waymo.box_video import FRONT, BoxRows, BoxVideo, box_video
from rvm_bench.errors import DamagedFile, UserError, optional_packages

if TYPE_CHECKING:
    from pyarrow import DataType
    from pyarrow.parquet import ParquetFile

IMAGES, BOXES = "camera_image", "camera_box"
"""The components, and the names of their folders."""
SEGMENT, TIME, CAMERA = "key.segment_context_name", "key.frame_timestamp_micros", "key.camera_name"
KEYS = {SEGMENT: "string", TIME: "integer", CAMERA: "integer"}
OBJECT = "key.camera_object_id"
IMAGE = "[CameraImageComponent].image"
TYPE = "[CameraBoxComponent].type"
CENTER_X, CENTER_Y, SIZE_X, SIZE_Y = (
    f"[CameraBoxComponent].box.{what}" for what in ("center.x", "center.y", "size.x", "size.y")
)

_BUFFER = 1 << 20
"""Bytes of read-ahead per column. Without it pyarrow holds the whole compressed column beside the decompressed one."""
_ROWS = 8
"""Pictures that are read from a row group at a time."""


def open_segment_v2(split_folder: Path, name: str) -> BoxVideo:
    """The FRONT camera of segment `name`, with its keys and boxes; its pictures are read on demand.

    Raises:
        UserError: one of the two files is missing or is no parquet file, lacks a column or has it in another type,
            holds another segment or an empty value; or what `box_video` refuses.
    """
    images, boxes = (split_folder / component / f"{name}.parquet" for component in (IMAGES, BOXES))
    for file, other in ((images, boxes), (boxes, images)):
        if not file.is_file():
            raise UserError(f"{file} is missing, but {other} exists; download both components of the segment")
    keys, starts = _read(images, KEYS, also=IMAGE)
    _one_segment(images, keys[SEGMENT], name)
    row = np.flatnonzero(keys[CAMERA] == FRONT)
    row = row[np.argsort(keys[TIME][row], kind="stable")]
    sides = dict.fromkeys((CENTER_X, CENTER_Y, SIZE_X, SIZE_Y), "float")
    found, _ = _read(boxes, {**KEYS, OBJECT: "string", TYPE: "integer", **sides})
    _one_segment(boxes, found[SEGMENT], name)
    front = found[CAMERA] == FRONT
    found = {column: values[front] for column, values in found.items()}
    center, half = np.stack([found[CENTER_Y], found[CENTER_X]], 1), np.stack([found[SIZE_Y], found[SIZE_X]], 1) / 2
    with np.errstate(invalid="ignore", over="ignore"):
        yxyx_px = np.concatenate([center - half, center + half], axis=1)
    rows = BoxRows(file=boxes, time_us=found[TIME], ids=list(found[OBJECT]), types=found[TYPE], yxyx_px=yxyx_px)
    pictures = ParquetPictures(file=images, file_bytes=images.stat().st_size, rows=row, group_starts=starts)
    return box_video(name, time_us=keys[TIME][row], pictures=pictures, rows=rows)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ParquetPictures:
    """JPEGs in a column of a parquet file.

    Attributes:
        rows: int64 [T], the row of each frame in the file.
        group_starts: int64 [groups + 1], the first row of each row group, and the number of rows.
    """

    file: Path
    file_bytes: int
    rows: np.ndarray
    group_starts: np.ndarray

    def read(self, frames: Sequence[int]) -> list[bytes]:
        """The JPEGs of frames by number; each row group is read once, up to the last requested frame in it."""
        requested = {int(self.rows[frame]) for frame in frames}
        found: dict[int, bytes] = {}
        with _opened(self.file) as parquet:
            for group in np.unique(np.searchsorted(self.group_starts, sorted(requested), side="right") - 1):
                row, end = (int(start) for start in self.group_starts[group : group + 2])
                last = max(i for i in requested if i < end)
                batches = parquet.iter_batches(
                    batch_size=_ROWS, row_groups=[int(group)], columns=[IMAGE], use_threads=False
                )
                for batch in batches:
                    rows = [i for i in range(row, row + len(batch)) if i in requested]
                    found.update((i, batch.column(0)[i - row].as_py()) for i in rows)
                    row += len(batch)
                    if row > last:
                        break
        if missing := [frame for frame in frames if found.get(int(self.rows[frame])) is None]:
            raise DamagedFile(f"{self.file} has no picture of FRONT frame {missing[0]}; get the file again")
        return [found[int(self.rows[frame])] for frame in frames]


@contextlib.contextmanager
def _opened(file: Path) -> Iterator["ParquetFile"]:
    """The open file; an exception of pyarrow, here or while the file is read, becomes a DamagedFile of one line."""
    with optional_packages(f"{file} is a parquet file, which needs", "tracking"):
        import pyarrow as pa
        from pyarrow import parquet as pq

    try:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True) as parquet:
            yield parquet
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise DamagedFile(f"{file} cannot be read as parquet ({why}); get the file again") from error


def _read(file: Path, kinds: Mapping[str, str], also: str = "") -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns, int64, float64 or strings [rows], and the first row of each row group, int64 [groups + 1].

    Args:
        kinds: column -> "string", "integer" or "float".
        also: a column of bytes that must exist, and is not read.
    """
    with _opened(file) as parquet:
        metadata, schema = parquet.metadata, parquet.schema_arrow
        for name, kind in {**kinds, **({also: "binary"} if also else {})}.items():
            if schema.names.count(name) != 1:
                what = "no column" if name not in schema.names else "more than one column"
                raise UserError(f"{file} has {what} {name}; expected the files of the Waymo Open Dataset v2")
            if not _is(kind, schema.field(name).type):
                raise UserError(
                    f"{file}: column {name} is of type {str(schema.field(name).type)[:80]}, expected {kind}; "
                    "get the file again"
                )
        table = parquet.read(columns=list(kinds), use_threads=False)
        starts = np.cumsum([0, *(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))])
        if table.num_rows != starts[-1]:
            raise UserError(f"{file} has {table.num_rows} rows, its footer says {starts[-1]}; get the file again")
        values: dict[str, Any] = {}
        for name, kind in kinds.items():
            column = table.column(name)
            if column.null_count:
                row = column.is_null().to_pylist().index(True)
                raise UserError(f"{file}: row {row} has no {name}; get the file again")
            if kind == "string":
                values[name] = np.array(column.to_pylist(), object)
            else:
                values[name] = column.to_numpy().astype(np.int64 if kind == "integer" else np.float64)
        return values, starts


def _one_segment(file: Path, names: np.ndarray, name: str) -> None:
    if others := sorted({other for other in names if other != name}):
        raise UserError(f"{file} holds rows of segment {others[0][:80]!r}; expected the segment of its name alone")


def _is(kind: str, found: "DataType") -> bool:
    """Whether a column's type is of a kind, of any width and any encoding of strings."""
    from pyarrow import types

    tests = {
        "string": (types.is_string, types.is_large_string),
        "integer": (types.is_signed_integer,),
        "float": (types.is_float32, types.is_float64),
        "binary": (types.is_binary, types.is_large_binary),
    }
    value = found.value_type if types.is_dictionary(found) and kind == "string" else found
    return any(test(value) for test in tests[kind])
