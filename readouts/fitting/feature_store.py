"""The cache of frozen features on disk, rounded to 16 bits, for the next epoch or the next run.

    <folder>/<first 16 digits of the identity's fingerprint>/
        identity.json             all that can change a feature, apart from the pixels; and the format of the files
        <random>.safetensors      about 256 MB of features, one tensor [T, N, D] per clip
        <random>.index            position of each clip in that shard, with checksums; written after it

A clip is found by the hash of the identity and of the clip's own key, so features of another identity are never used.
Shards are never changed in place. Each process writes shards of its own, and looks for those of others when it misses a
clip.

Everything is verified when it is read: an index line by its CRC-32, a shard's size and header when a process first
opens it, and a clip's features by their xxHash every time (XXH3 runs at the speed of memory; `benchmarks/readouts.py`
prints it). They are copied from the file, not mapped, so a file that is truncated meanwhile cannot crash the process.
What fails is logged once, removed from the index (in mode "write"), and computed again.
"""

import errno
import json
import logging
import os
import shutil
import uuid
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
import xxhash
from safetensors import SafetensorError
from torch import Tensor

from readouts.fitting.tensor_files import save_atomically
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.formats.files import write_atomically, write_json
from rvm_bench.runs.fingerprint import fingerprint

logger = logging.getLogger(__name__)

FORMAT = 2
"""Of the files; 1 had a checksum that two bit flips could pass. A store of another format is not read."""
MODES = ("off", "read", "write")
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
SHARD_BYTES = 256 << 20
OPEN_SHARDS = 128
"""File descriptors held at a time; many systems allow 1024 per process."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Where and how features are cached.

    Attributes:
        folder: of all caches.
        mode: "off"; "read" uses stored features; "write" also stores new ones.
        dtype: "bfloat16" or "float16". With a cache every feature is rounded to it, whether it was stored or not.
    """

    folder: Path
    mode: Literal["off", "read", "write"] = "write"
    dtype: Literal["bfloat16", "float16"] = "bfloat16"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown_name("cache mode", self.mode, MODES)
        if self.dtype not in DTYPES:
            raise unknown_name("cache dtype", self.dtype, DTYPES)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a clip's features are: shard, first byte, shape, xxHash of the bytes (16 hexadecimal digits)."""

    shard: str
    offset: int
    shape: tuple[int, ...]
    checksum: str


class FeatureStore:
    """Features of clips on disk. The copy in a worker process logs nothing: the main process logs the same damage.

    Args:
        cache: where and how.
        identity: all that can change a feature apart from the clip's pixels, as JSON values.
        shard_bytes: features are gathered in memory up to this size and then written as one shard.
    """

    def __init__(self, cache: Cache, identity: Mapping[str, Any], *, shard_bytes: int = SHARD_BYTES) -> None:
        self.cache, self.identity = cache, {**identity, "dtype": cache.dtype, "format": FORMAT}
        self.dtype = DTYPES[cache.dtype]
        self.fingerprint = fingerprint(self.identity)
        self.folder = cache.folder / self.fingerprint[:16]
        self.shard_bytes = shard_bytes
        self._logs = True
        self._pending: dict[str, Tensor] = {}
        self._entries: dict[str, Entry] = {}
        self._shards: dict[str, tuple[int, int, int]] = {}  # bytes, length of the header, its CRC-32
        self._open: OrderedDict[str, int] = OrderedDict()  # file descriptors, least recently used first
        self._seen_ns = -1
        if cache.mode == "write":
            self._make_folder()

    def __getstate__(self) -> dict[str, Any]:
        # A worker process reads the index itself; file descriptors are not shared.
        return {"cache": self.cache, "identity": self.identity, "shard_bytes": self.shard_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
        self._logs = False

    def __del__(self) -> None:
        for descriptor in getattr(self, "_open", {}).values():
            os.close(descriptor)

    def __contains__(self, key: str) -> bool:
        """Whether a clip's features are listed; they may still turn out to be damaged when they are read."""
        name = self._name(key)
        if name in self._pending or name in self._entries:
            return True
        self._refresh()
        return name in self._entries

    def read(self, key: str, shape: tuple[int, ...], out: Tensor | None = None) -> Tensor | None:
        """The features of a clip, or None where they are missing, damaged, or of another shape.

        Args:
            key: of the clip.
            shape: [T, N, D], as expected.
            out: a contiguous tensor of this shape and of the cache's dtype that receives them; its content is
                undefined where None is returned.

        Returns:
            [T, N, D] in the cache's dtype, verified.
        """
        name = self._name(key)
        if name in self._pending:
            pending = self._pending[name]
            return pending if out is None else out.copy_(pending)
        if name not in self._entries:
            self._refresh()
        entry = self._entries.get(name)
        if entry is None:
            return None
        if entry.shape != shape:
            self._discard(name, f"has shape {entry.shape}, expected {shape}")
            return None
        descriptor = self._descriptor(entry.shard)
        if descriptor is None:
            return None
        features = torch.empty(shape, dtype=self.dtype) if out is None else out
        content = features.view(torch.uint8).numpy().reshape(-1).data
        # Straight into the batch: one copy out of the page cache, then the hash over memory that nobody else writes.
        count = os.preadv(descriptor, [content], entry.offset)
        found = xxhash.xxh3_64_hexdigest(content)
        if count != len(content) or found != entry.checksum:
            self._discard(name, f"has checksum {found}, expected {entry.checksum}")
            return None
        return features

    def round(self, features: Tensor) -> Tensor:
        """Features in the cache's dtype.

        Raises:
            UserError: a feature is not finite, or too large for float16.
        """
        rounded = features.to(self.dtype)
        if not torch.isfinite(rounded).all():
            why = "too large for float16; use bfloat16" if torch.isfinite(features).all() else "not finite"
            raise UserError(f"some of the encoder's features are {why}, and cannot be cached; or use --cache off")
        return rounded

    def add(self, key: str, features: Tensor) -> None:
        """Queues the features of a clip, in the cache's dtype, for the next shard; mode "read" stores nothing."""
        if self.cache.mode != "write":
            return
        self._pending[self._name(key)] = features.detach().cpu().clone()
        if sum(tensor.nbytes for tensor in self._pending.values()) >= self.shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Writes the queued features as a shard, however small."""
        if not self._pending:
            return
        shard = self.folder / f"{uuid.uuid4().hex}.safetensors"
        try:
            self._write_shard(shard)
        except (OSError, SafetensorError) as error:
            if os.strerror(errno.ENOSPC) in str(error):
                raise UserError(f"{self.folder}: the disk is full; make room, or use --cache off") from None
            raise
        self._pending.clear()
        self._refresh()

    def _write_shard(self, shard: Path) -> None:
        names = sorted(self._pending)
        save_atomically(shard, {name: self._pending[name] for name in names})
        with shard.open("rb") as handle:
            head = handle.read(8)
            head += handle.read(int.from_bytes(head, "little"))
        header = json.loads(head[8:])
        lines: list[dict[str, Any]] = [{"bytes": shard.stat().st_size, "header": len(head), "crc32": zlib.crc32(head)}]
        for name in names:
            tensor = self._pending[name]
            lines.append(
                {
                    "name": name,
                    "shape": list(tensor.shape),
                    "at": len(head) + header[name]["data_offsets"][0],
                    "xxh3_64": xxhash.xxh3_64_hexdigest(tensor.contiguous().view(torch.uint8).numpy().reshape(-1).data),
                }
            )
        # The index comes last: a shard without one was not finished, and is not read.
        write_atomically(shard.with_suffix(".index"), "".join(_index_line(line) for line in lines))

    def estimate(self, clips: int, shape: tuple[int, ...]) -> str:
        """One line on the disk space of the features of `clips` clips of this shape, shown before work starts.

        Raises:
            UserError: what is still to be written is larger than the free space.
        """
        self._refresh()
        total = clips * prod(shape) * self.dtype.itemsize
        stored = sum(prod(entry.shape) for entry in self._entries.values()) * self.dtype.itemsize
        missing = max(0, total - stored)
        existing = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        size = " x ".join(map(str, shape))
        line = (
            f"features: at most {clips:,} clips of {size} {self.cache.dtype} are {total / 1e9:.1f} GB; "
            f"{stored / 1e9:.1f} GB are stored, {free / 1e9:.1f} GB are free in {self.folder}"
        )
        if self.cache.mode == "write" and missing > free:
            raise UserError(f"{line}: {(missing - free) / 1e9:.1f} GB too few; make room, or use --cache off")
        return line

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: {error.strerror}; set another cache folder, or --cache off") from None
        if (self.folder / "identity.json").exists():
            return
        write_json(self.folder / "identity.json", {"fingerprint": self.fingerprint, **self.identity})
        identities = self.cache.folder.glob("*/identity.json")
        if older := sorted(file.parent.name for file in identities if _format(file) != FORMAT):
            logger.info(
                "features: caches of another format in %s are not used, and their features are computed again; delete "
                "%s to free the disk",
                self.cache.folder,
                ", ".join(older),
            )

    def _name(self, key: str) -> str:
        return sha256(f"{self.fingerprint} {key}".encode()).hexdigest()[:32]

    def _warn(self, message: str) -> None:
        if self._logs:
            logger.warning("features: %s", message)

    def _refresh(self) -> None:
        """Reads index files that were written since the last look, by this process or another."""
        try:
            changed_ns = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return
        # A new file changes the folder's time, so a miss costs one stat and not a listing.
        if changed_ns == self._seen_ns:
            return
        for index in sorted(self.folder.glob("*.index")):
            if index.stem not in self._shards:
                self._read_index(index)
        self._seen_ns = changed_ns

    def _read_index(self, index: Path) -> None:
        try:
            lines = index.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        if lines[-1]:
            self._warn(f"{index.name} is cut short; the clips that it lacks are computed again")
        facts = _from_index_line(lines[0])
        self._shards[index.stem] = (0, 0, 0) if facts is None else (facts["bytes"], facts["header"], facts["crc32"])
        if facts is None:
            self._warn(f"{index.name} is damaged; its clips are computed again")
            return
        damaged = 0
        for line in lines[1:-1]:
            found = _from_index_line(line)
            if found is None:
                damaged += 1
                continue
            entry = Entry(index.stem, found["at"], tuple(found["shape"]), found["xxh3_64"])
            self._entries.setdefault(found["name"], entry)
        if damaged:
            self._warn(f"{damaged} lines of {index.name} are damaged; their clips are computed again")

    def _descriptor(self, shard: str) -> int | None:
        """The open shard, or None (and all its entries dropped) where it is not what the index says."""
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        size, header, crc32 = self._shards[shard]
        try:
            descriptor = os.open(self.folder / f"{shard}.safetensors", os.O_RDONLY)
        except OSError:
            self._drop_shard(shard)
            return None
        if os.fstat(descriptor).st_size != size or zlib.crc32(os.pread(descriptor, header, 0)) != crc32:
            os.close(descriptor)
            self._drop_shard(shard)
            return None
        self._open[shard] = descriptor
        if len(self._open) > OPEN_SHARDS:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def _drop_shard(self, shard: str) -> None:
        self._warn(f"{shard}.safetensors is missing, cut short or damaged; its clips are computed again")
        self._entries = {name: entry for name, entry in self._entries.items() if entry.shard != shard}
        if self.cache.mode == "write":
            (self.folder / f"{shard}.index").unlink(missing_ok=True)
            (self.folder / f"{shard}.safetensors").unlink(missing_ok=True)

    def _discard(self, name: str, why: str) -> None:
        """Forgets one clip, in the index file too, so that its features are computed again."""
        entry = self._entries.pop(name)
        self._warn(f"{name} in {entry.shard}.safetensors {why}; it is computed again")
        index = self.folder / f"{entry.shard}.index"
        if self.cache.mode == "write" and index.exists():
            lines = index.read_bytes().split(b"\n")[:-1]
            others = [line for line in lines if name.encode() not in line]
            write_atomically(index, "".join(line.decode("ascii", "replace") + "\n" for line in others))


def _format(identity: Path) -> int | None:
    """The format that a cache's identity.json names; None where it names none or cannot be read."""
    try:
        return json.loads(identity.read_text()).get("format")
    except (OSError, ValueError, AttributeError):
        return None


def _index_line(value: Mapping[str, Any]) -> str:
    body = json.dumps(value)
    return f"{zlib.crc32(body.encode()):08x} {body}\n"


def _from_index_line(line: bytes) -> dict[str, Any] | None:
    """The value of a line; None where its checksum does not fit."""
    crc32, _, body = line.partition(b" ")
    return json.loads(body) if f"{zlib.crc32(body):08x}".encode() == crc32 else None
