"""A data set in numbered shards, TFRecord or ArrayRecord: which are there, and any record of theirs.

    <name>.tfrecord-00003-of-01024        <name>.array_record-00003-of-00100

`<name>` ends in the split: "train", or "movi_e-train". Both forms are indexed without reading a record: TFRecord by 12
bytes a record, ArrayRecord by the index that it ends in. Files are opened anew for every read, so that all of this can
go to worker processes.

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
"""Options of an ArrayRecord reader that reads single records, on the caller's own thread. The package keeps a pool of
threads besides; a forked worker has none of them, and would wait for them forever."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shard:
    """One file of records.

    Attributes:
        path: the file.
        number: as its name says.
        size_bytes: of the file.
        records: how many it has.
        index: of a TFRecord, int64 [records, 2]: where each record starts, and its length in bytes. None of an
            ArrayRecord.
    """

    path: Path
    number: int
    size_bytes: int
    records: int
    index: np.ndarray | None = None

    def read(self, i: int) -> bytes:
        """The data of record `i`. UserError, with the file and the record's number, where it is damaged."""
        if self.index is not None:
            offset, length = self.index[i].tolist()
            return read_record(self.path, i, offset, length)
        with _array_record(self.path, f"record {i}") as reader:
            return reader.read([i])[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shards:
    """The shards of one split that are there, and their records as one sequence.

    Attributes:
        folder: where they are.
        split: their split.
        form: "tfrecord" or "array_record".
        count: how many shards there should be, by their names.
        shards: those that are there, in the order of their numbers.
        damaged: of those that are there and cannot be read, by number, what is wrong.
    """

    folder: Path
    split: str
    form: str
    count: int
    shards: tuple[Shard, ...]
    damaged: dict[int, str]

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 [shards + 1]: the place of each shard's first record in the sequence, and the number of records."""
        return np.cumsum([0, *(shard.records for shard in self.shards)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, i: int) -> bytes:
        """The data of record `i` of all. IndexError beyond them, UserError where the file is damaged."""
        shard, place = self.locate(i)
        return shard.read(place)

    def locate(self, i: int) -> tuple[Shard, int]:
        """The shard that holds record `i` of all, and its place there."""
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of {len(self)}")
        shard = int(np.searchsorted(self.starts, i, side="right")) - 1
        return self.shards[shard], i - int(self.starts[shard])

    def where(self, i: int) -> str:
        """Record `i` of all for a message: its file, and its number there."""
        shard, place = self.locate(i)
        return f"{shard.path}, record {place}"

    def missing(self) -> list[str]:
        """One line for each shard that is not there, or cannot be read."""
        there = {shard.number for shard in self.shards}
        name = self.shards[0].path.name[: -len("00000-of-00000")]
        return [
            self.damaged.get(number, f"{self.folder / f'{name}{number:05d}-of-{self.count:05d}'} is missing")
            for number in range(self.count)
            if number not in there
        ]

    def manifest_sha256(self) -> str:
        """Hash over every shard's name, size, number of records and, of a TFRecord, its records' lengths."""
        digest = hashlib.sha256(f"{self.count}\n".encode())
        for shard in self.shards:
            digest.update(f"{shard.path.name} {shard.size_bytes} {shard.records}\n".encode())
            if shard.index is not None:
                digest.update(np.ascontiguousarray(shard.index, "<i8").tobytes())
        return digest.hexdigest()


def open_shards(folder: Path, split: str) -> Shards:
    """The shards of a split that lie in `folder`, each with its index.

    Raises:
        UserError: there is none, or none that can be read; there are those of two data sets or of two forms; a name
            says a number beyond its count; or they are ArrayRecords and that package is not installed.
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
        raise UserError(f"{paths[max(paths)]} is numbered beyond its own count; get the file again")
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
    """An open reader of an ArrayRecord file; what it says of damage is told in one line."""
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
