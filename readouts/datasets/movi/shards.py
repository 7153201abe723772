"""Random access to data sets in numbered shards, TFRecord or ArrayRecord.

    <name>.tfrecord-00003-of-01024        <name>.array_record-00003-of-00100

`<name>` ends in the split: "train", or "movi_e-train". Both formats are indexed without reading records: TFRecord from
12 bytes per record, ArrayRecord from the index at its end. Files are opened for every read, so that the shards can be
pickled for worker processes.

Source: tensorflow/datasets, `core/utils/shard_utils.py` and `core/naming.py`; google/array_record, `README.md`.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rvm_bench.errors import DamagedFile, UserError, optional_packages
from rvm_bench.formats.tfrecord import read_record, record_index

SHARD_NAME = re.compile(
    r"(?P<name>(?:.+-)?)(?P<split>[a-z]+)\.(?P<form>tfrecord|array_record)-(?P<number>\d{5})-of-(?P<count>\d{5})"
)
RANDOM_ACCESS = "readahead_buffer_size:0,max_parallelism:0"
"""Options of an ArrayRecord reader that reads single records in the calling thread. Otherwise the package uses a thread
pool, which a forked worker does not have, and would wait for forever."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shard:
    """One file of records.

    Attributes:
        path: the file.
        number: in its name.
        size_bytes: of the file.
        records: number of records.
        index: offset and length of each record in bytes, int64 [records, 2], of a TFRecord; None of an ArrayRecord.
    """

    path: Path
    number: int
    size_bytes: int
    records: int
    index: np.ndarray | None = None

    def read(self, i: int) -> bytes:
        """The data of record `i`. UserError, with the file and the record number, where it is damaged."""
        if self.index is not None:
            offset, length = self.index[i].tolist()
            return read_record(self.path, i, offset, length)
        with _array_record(self.path, f"record {i}") as reader:
            return reader.read([i])[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shards:
    """The shards of one split, and their records as one sequence.

    Attributes:
        folder: that holds them.
        split: their split.
        form: "tfrecord" or "array_record".
        count: number of shards of the complete split, by their names.
        shards: those that exist and can be read, ordered by number.
        damaged: number of each shard that cannot be read -> what is wrong with it.
    """

    folder: Path
    split: str
    form: str
    count: int
    shards: tuple[Shard, ...]
    damaged: dict[int, str]

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 [shards + 1]: position of each shard's first record in the sequence, and the number of records."""
        return np.cumsum([0, *(shard.records for shard in self.shards)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, i: int) -> bytes:
        """The data of record `i` of the sequence. IndexError where there is none, UserError where it is damaged."""
        shard, position = self.locate(i)
        return shard.read(position)

    def locate(self, i: int) -> tuple[Shard, int]:
        """The shard that holds record `i` of the sequence, and its position there."""
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of {len(self)}")
        shard = int(np.searchsorted(self.starts, i, side="right")) - 1
        return self.shards[shard], i - int(self.starts[shard])

    def where(self, i: int) -> str:
        """Record `i` of the sequence in a message: its file and record number."""
        shard, position = self.locate(i)
        return f"{shard.path}, record {position}"

    def missing(self) -> list[str]:
        """One line for each shard that does not exist or cannot be read."""
        existing = {shard.number for shard in self.shards}
        name = self.shards[0].path.name[: -len("00000-of-00000")]
        return [
            self.damaged.get(number, f"{self.folder / f'{name}{number:05d}-of-{self.count:05d}'} is missing")
            for number in range(self.count)
            if number not in existing
        ]

    def manifest_sha256(self) -> str:
        """Hash over every shard's name, size, number of records and, of a TFRecord, record lengths."""
        digest = hashlib.sha256(f"{self.count}\n".encode())
        for shard in self.shards:
            digest.update(f"{shard.path.name} {shard.size_bytes} {shard.records}\n".encode())
            if shard.index is not None:
                digest.update(np.ascontiguousarray(shard.index, "<i8").tobytes())
        return digest.hexdigest()


def open_shards(folder: Path, split: str) -> Shards:
    """The shards of a split in `folder`, each with its index.

    Raises:
        UserError: there is none, or none that can be read; there are shards of two data sets or formats; a number is
            not below the count in the name; or they are ArrayRecords and that package is not installed.
    """
    sets: dict[tuple[str, str, int], dict[int, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = SHARD_NAME.fullmatch(path.name)
        if match and match["split"] == split:
            key = match["name"] + split, match["form"], int(match["count"])
            sets.setdefault(key, {})[int(match["number"])] = path
    if not sets:
        raise UserError(
            f"{folder} has no shards of the {split} split; expected {split}.array_record-00000-of-... or "
            f"*-{split}.tfrecord-00000-of-...: is --data right?"
        )
    if len(sets) > 1:
        kinds = " and ".join(f"{name}.{form} in {count}" for name, form, count in sets)
        raise UserError(f"{folder} holds several sets of shards of the {split} split ({kinds}); keep one of them")
    ((_, form, count), paths) = next(iter(sets.items()))
    if max(paths) >= count:
        raise UserError(f"{paths[max(paths)]} has a number that is not below its count; get the file again")
    shards, damaged = [], {}
    for number in sorted(paths):
        try:
            shards.append(_open_shard(paths[number], number, form))
        except DamagedFile as error:
            damaged[number] = str(error)
    if not shards:
        raise DamagedFile(next(iter(damaged.values())))
    return Shards(folder=folder, split=split, form=form, count=count, shards=tuple(shards), damaged=damaged)


def _open_shard(path: Path, number: int, form: str) -> Shard:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read ({error}); get the file again") from error
    if form == "tfrecord":
        index = np.array(record_index(path), np.int64).reshape(-1, 2)
        return Shard(path=path, number=number, size_bytes=size, records=len(index), index=index)
    with _array_record(path, "its index") as reader:
        return Shard(path=path, number=number, size_bytes=size, records=int(reader.num_records()))


@contextlib.contextmanager
def _array_record(path: Path, what: str) -> Iterator[Any]:
    """An open reader of an ArrayRecord file; its exceptions become a DamagedFile of one line."""
    with optional_packages(f"{path} is an ArrayRecord file, which needs", "tracking"):
        from array_record.python.array_record_module import ArrayRecordReader
    try:
        reader = ArrayRecordReader(str(path), RANDOM_ACCESS)
        if not reader.ok():
            raise RuntimeError("no ArrayRecord file, or not fully downloaded")
        yield reader
    except (RuntimeError, ValueError, IndexError, MemoryError) as error:
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise DamagedFile(f"{path}, {what}: cannot be read ({why}); get the file again") from error
