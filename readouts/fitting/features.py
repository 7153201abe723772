"""Frozen features: computed by an encoder, rounded to 16 bits, and kept on disk for the next epoch or the next run.

    <folder>/<first 16 digits of the identity's fingerprint>/
        identity.json             all that can change a feature, apart from the pixels
        <random>.safetensors      about 256 MB of features, one tensor [T, N, D] per clip
        <random>.index            where each clip lies in that shard, with checksums; written after it

A clip is found by the hash of the identity and of the clip's own key, so that nothing made otherwise is ever taken.
Shards are never changed. Each process writes shards of its own, and takes up those of others when it misses a clip.

What is verified: an index line by its own CRC-32 whenever it is read; a shard's size and header when a process first
opens it; a clip's numbers when a process first reads them. After that they are read from the memory map as they are.
What fails is said once, taken out of the index (in mode "write"), and computed again.
"""

import errno
import json
import mmap
import os
import shutil
import uuid
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from readouts.fitting.tensor_files import checksum, save_atomically
from rvm_bench.api.encoder import Encoder
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.formats.files import write_atomically, write_json
from rvm_bench.media.resize import resize
from rvm_bench.runs.fingerprint import fingerprint

MODES = ("off", "read", "write")
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
SHARD_BYTES = 256 << 20
OPEN_SHARDS = 128
"""Memory maps held at a time: each keeps a file descriptor, and many systems allow 1024."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Where and how features are cached.

    Attributes:
        folder: of all caches.
        mode: "off"; "read" uses what is there; "write" also adds what is not.
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
    """Where a clip's features are: shard, first byte, shape, checksum of the bytes."""

    shard: str
    at: int
    shape: tuple[int, ...]
    checksum: int


class FeatureStore:
    """Features of clips on disk.

    Args:
        cache: where and how.
        identity: all that can change a feature apart from the clip's pixels, as JSON values.
        shard_bytes: features are gathered in memory up to this size and then written as one shard.
        say: where a warning line goes.
    """

    def __init__(
        self,
        cache: Cache,
        identity: Mapping[str, Any],
        *,
        shard_bytes: int = SHARD_BYTES,
        say: Callable[[str], object] = print,
    ) -> None:
        self.cache, self.identity = cache, {**identity, "dtype": cache.dtype}
        self.dtype = DTYPES[cache.dtype]
        self.fingerprint = fingerprint(self.identity)
        self.folder = cache.folder / self.fingerprint[:16]
        self.shard_bytes, self.say = shard_bytes, say
        self._pending: dict[str, Tensor] = {}
        self._entries: dict[str, Entry] = {}
        self._shards: dict[str, tuple[int, int, int]] = {}  # bytes, length of the header, its CRC-32
        self._maps: OrderedDict[str, mmap.mmap] = OrderedDict()
        self._verified: set[str] = set()
        self._seen_ns = -1
        if cache.mode == "write":
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{self.folder}: {error.strerror}; set another cache folder, or --cache off") from None
            if not (self.folder / "identity.json").exists():
                write_json(self.folder / "identity.json", {"fingerprint": self.fingerprint, **self.identity})

    def __getstate__(self) -> dict[str, Any]:
        # A copy in a worker process reads the index for itself, and leaves it to the main process to speak.
        return {"cache": self.cache, "identity": self.identity, "shard_bytes": self.shard_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state, say=_silent)  # type: ignore[misc]

    def __contains__(self, key: str) -> bool:
        """Whether a clip's features seem to be there; they may still turn out to be damaged when they are read."""
        name = self._name(key)
        if name in self._pending or name in self._entries:
            return True
        self._refresh()
        return name in self._entries

    def read(self, key: str, shape: tuple[int, ...]) -> Tensor | None:
        """The features of a clip, or None where they are not there, or damaged, or of another shape.

        Returns:
            [T, N, D] in the cache's dtype; often a view of the file, not to be written to.
        """
        name = self._name(key)
        if name in self._pending:
            return self._pending[name]
        if name not in self._entries:
            self._refresh()
        entry = self._entries.get(name)
        if entry is None:
            return None
        if entry.shape != shape:
            self._damaged(name, f"has shape {entry.shape}, expected {shape}")
            return None
        content = self._map(entry.shard)
        if content is None:
            return None
        if name not in self._verified:
            size = prod(shape) * self.dtype.itemsize
            found = checksum(memoryview(content)[entry.at : entry.at + size])
            if found != entry.checksum:
                self._damaged(name, f"has checksum {found:08x}, expected {entry.checksum:08x}")
                return None
            self._verified.add(name)
        return torch.frombuffer(content, dtype=self.dtype, count=prod(shape), offset=entry.at).view(shape)

    def round(self, features: Tensor) -> Tensor:
        """Features in the cache's dtype.

        Raises:
            UserError: a feature is not finite, or too large for float16.
        """
        rounded = features.to(self.dtype)
        if not torch.isfinite(rounded).all():
            why = "too large for float16; take bfloat16" if torch.isfinite(features).all() else "not finite"
            raise UserError(f"some of the encoder's features are {why}, and cannot be cached; or use --cache off")
        return rounded

    def add(self, key: str, features: Tensor) -> None:
        """Keeps the features of a clip, in the cache's dtype, for the next shard; mode "read" keeps nothing."""
        if self.cache.mode != "write":
            return
        self._pending[self._name(key)] = features.detach().cpu().clone()
        if sum(tensor.nbytes for tensor in self._pending.values()) >= self.shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Writes what is gathered as a shard, however small."""
        if not self._pending:
            return
        stem = uuid.uuid4().hex
        shard = self.folder / f"{stem}.safetensors"
        names = sorted(self._pending)
        try:
            save_atomically(shard, {name: self._pending[name] for name in names})
            with shard.open("rb") as handle:
                head = handle.read(8)
                head += handle.read(int.from_bytes(head, "little"))
            header = json.loads(head[8:])
            lines: list[dict[str, Any]] = [
                {"bytes": shard.stat().st_size, "header": len(head), "crc32": zlib.crc32(head)}
            ]
            for name in names:
                tensor = self._pending[name]
                lines.append(
                    {
                        "name": name,
                        "shape": list(tensor.shape),
                        "at": len(head) + header[name]["data_offsets"][0],
                        "checksum": checksum(tensor.contiguous().view(torch.uint8).numpy().reshape(-1).data),
                    }
                )
            write_atomically(shard.with_suffix(".index"), "".join(_index_line(line) for line in lines))
        except (OSError, SafetensorError) as error:
            if os.strerror(errno.ENOSPC) in str(error):
                raise UserError(f"{self.folder}: the disk is full; make room, or use --cache off") from None
            raise
        self._pending.clear()
        self._refresh()

    def estimate(self, clips: int, shape: tuple[int, ...]) -> str:
        """One line on the disk that the features of `clips` clips of this shape take; to be shown before work starts.

        Raises:
            UserError: what is still to be written is larger than the free space.
        """
        self._refresh()
        total = clips * prod(shape) * self.dtype.itemsize
        stored = sum(prod(entry.shape) for entry in self._entries.values()) * self.dtype.itemsize
        missing = max(0, total - stored)
        there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        size = " x ".join(map(str, shape))
        line = (
            f"features: at most {clips:,} clips of {size} {self.cache.dtype} are {total / 1e9:.1f} GB; "
            f"{stored / 1e9:.1f} GB are there, {free / 1e9:.1f} GB are free in {self.folder}"
        )
        if self.cache.mode == "write" and missing > free:
            raise UserError(f"{line}: {(missing - free) / 1e9:.1f} GB too few; make room, or use --cache off")
        return line

    def _name(self, key: str) -> str:
        return sha256(f"{self.fingerprint} {key}".encode()).hexdigest()[:32]

    def _refresh(self) -> None:
        """Takes up index files that were written since the last look."""
        try:
            changed_ns = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return
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
            self.say(f"features: {index.name} has no end; what it lacks is computed again")
        facts = _from_index_line(lines[0])
        self._shards[index.stem] = (0, 0, 0) if facts is None else (facts["bytes"], facts["header"], facts["crc32"])
        if facts is None:
            self.say(f"features: {index.name} is damaged; its clips are computed again")
            return
        bad = 0
        for line in lines[1:-1]:
            found = _from_index_line(line)
            if found is None:
                bad += 1
                continue
            entry = Entry(index.stem, found["at"], tuple(found["shape"]), found["checksum"])
            self._entries.setdefault(found["name"], entry)
        if bad:
            self.say(f"features: {bad} lines of {index.name} are damaged; their clips are computed again")

    def _map(self, shard: str) -> mmap.mmap | None:
        """The shard's bytes, or None (and all its entries dropped) where it is not what the index says."""
        if shard in self._maps:
            self._maps.move_to_end(shard)
            return self._maps[shard]
        size, header, crc32 = self._shards[shard]
        file = self.folder / f"{shard}.safetensors"
        try:
            with file.open("rb") as handle:
                # Copy on write, and nothing is written: torch warns of buffers that are read-only.
                content = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)
            sound = len(content) == size and zlib.crc32(content[:header]) == crc32
        except (OSError, ValueError):
            sound = False
        if not sound:
            self._drop_shard(shard)
            return None
        self._maps[shard] = content
        if len(self._maps) > OPEN_SHARDS:
            self._maps.popitem(last=False)
        return content

    def _drop_shard(self, shard: str) -> None:
        self.say(f"features: {shard}.safetensors is missing, cut short or damaged; its clips are computed again")
        self._entries = {name: entry for name, entry in self._entries.items() if entry.shard != shard}
        if self.cache.mode == "write":
            (self.folder / f"{shard}.index").unlink(missing_ok=True)
            (self.folder / f"{shard}.safetensors").unlink(missing_ok=True)

    def _damaged(self, name: str, why: str) -> None:
        entry = self._entries.pop(name)
        self.say(f"features: {name} in {entry.shard}.safetensors {why}; it is computed again")
        index = self.folder / f"{entry.shard}.index"
        if self.cache.mode == "write" and index.exists():
            lines = index.read_bytes().split(b"\n")[:-1]
            kept = [line for line in lines if name.encode() not in line]
            write_atomically(index, "".join(line.decode("ascii", "replace") + "\n" for line in kept))


class FrozenFeatures:
    """Features of batches of clips, from a store where it has them, else from the encoder.

    Attributes:
        hits, misses: clips that came from the store, and that did not.
    """

    def __init__(self, encoder: Encoder, store: FeatureStore | None = None) -> None:
        self.encoder, self.store = encoder, store
        self.hits = self.misses = 0
        self._room = np.empty(0, np.int16)

    def __call__(self, keys: Sequence[str | None], clip: Callable[[int], np.ndarray], shape: tuple[int, ...]) -> Tensor:
        """Features of a batch.

        Args:
            keys: of the clips' exact pixels; None where a clip will not come again.
            clip: position in the batch -> uint8 [T, H, W, 3]; called for clips that are not in the store.
            shape: [T, N, D] of a clip's features.

        Returns:
            [B, T, N, D] on the encoder's device: float32 without a store, with one in its dtype. A stored clip and a
            computed one have the same bits. Of stored clips it is valid until the next call: fresh memory for every
            batch costs more than reading it.
        """
        store = self.store
        if store is None:
            self.misses += len(keys)
            return self._encode(clip, range(len(keys)), shape)
        if self._room.shape[1:] != shape or len(self._room) < len(keys):
            self._room = np.empty((len(keys), *shape), np.int16)
        # numpy asks the system for large pages, which torch does not, and is the faster to copy.
        batch, missing = torch.from_numpy(self._room[: len(keys)]).view(store.dtype), []
        for position, key in enumerate(keys):
            found = None if key is None else store.read(key, shape)
            if found is None:
                missing.append(position)
            else:
                self._room[position] = found.view(torch.int16).numpy()
        self.hits, self.misses = self.hits + len(keys) - len(missing), self.misses + len(missing)
        if missing:
            fresh = store.round(self._encode(clip, missing, shape))
            if len(missing) == len(keys):
                batch = fresh
            else:
                batch[missing] = fresh.cpu()
            for position in missing:
                if (key := keys[position]) is not None:
                    store.add(key, batch[position])
        return batch.to(self.encoder.device)

    def _encode(self, clip: Callable[[int], np.ndarray], positions: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        clips = np.stack([clip(position) for position in positions])
        fresh = encode_clips(self.encoder, clips, fill=self.store is not None)
        if fresh.shape[1:] != shape:
            raise UserError(f"features of a clip are {tuple(fresh.shape[1:])}; the readout expects {shape}")
        return fresh


def encode_clips(encoder: Encoder, clips: np.ndarray, *, fill: bool = False) -> Tensor:
    """uint8 [B, T, H, W, 3] -> float32 [B, T, N, D] of an encoder's readout layer; `fill` as in `Encoder.clips`.

    Pictures that patches do not fill are resized to the next smaller size that they do: 256 px to 252 for patches of 14
    (ours: the paper is silent). So a place in the picture stays the same share of it, which a crop would not do.
    """
    (b, t, *size_hw), step = clips.shape[:4], encoder.card.patch
    filled = size_hw[0] // step * step, size_hw[1] // step * step
    if min(filled) and list(filled) != size_hw:
        clips = resize(clips.reshape(-1, *clips.shape[2:]), filled).reshape(b, t, *filled, 3)
    return encoder.clips(clips, fill=fill).flatten(2, 3)


def _index_line(value: Mapping[str, Any]) -> str:
    body = json.dumps(value)
    return f"{zlib.crc32(body.encode()):08x} {body}\n"


def _from_index_line(line: bytes) -> dict[str, Any] | None:
    crc32, _, body = line.partition(b" ")
    return json.loads(body) if f"{zlib.crc32(body):08x}".encode() == crc32 else None


def _silent(line: str) -> None:
    pass
