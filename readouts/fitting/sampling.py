"""Which training example is at which position of which batch, and how batches are loaded.

The sample number n = step * batch + position determines everything: the example is the n-th of a sequence of epochs,
each a permutation drawn from (seed, epoch), and its augmentation is drawn from (seed, n). So examples depend neither on
whether a fit was resumed, nor on the number of processes or of workers.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from readouts.fitting.feature_store import FeatureStore
from rvm_bench.errors import DamagedFile, UserError


@dataclass(frozen=True, kw_only=True)
class Item:
    """A training example.

    Attributes:
        clip: returns uint8 [T, H, W, 3] RGB, of one size in all items. It is called only where the features are not
            cached, so decoding belongs in here, and its random numbers are drawn before.
        target: inputs of the loss by name; arrays of one shape in all items.
        queries: float32 [Q, query_channels] for a readout with input queries.
        key: identity of the clip's exact pixels before the encoder's own normalisation (file, size or hash, frames,
            crop); None where random augmentation makes every clip a new one, which is never cached.
    """

    clip: Callable[[], np.ndarray]
    target: Mapping[str, np.ndarray]
    queries: np.ndarray | None = None
    key: str | None = None


class Source(Protocol):
    """The training split of a task. It is pickled for worker processes.

    Attributes:
        names: of the examples, stable when others are added. Examples that share a name (windows of one scene) are
            all in the training part, or all held out.
        distinct: number of different keys of its items, held-out ones included; 0 where none has a key.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def distinct(self) -> int: ...

    def describe(self) -> dict[str, Any]:
        """All that can change the items, as JSON values: protocol, hash of the data, augmentation."""

    def preprocessing(self) -> dict[str, Any]:
        """The part of it that determines the pixels of a clip with a given `key` (size, resampling, colour range)."""

    def train_item(self, index: int, rng: np.random.Generator) -> Item:
        """An example for training; all that is random comes from `rng`."""

    def held_out_item(self, index: int) -> Item:
        """The same example as the evaluation would sample it: nothing is random."""


@dataclass(kw_only=True)
class Batch:
    """A part of a batch.

    Attributes:
        numbers: sample numbers (or positions among the held-out examples).
        keys: of the clips.
        decoded: position -> uint8 [T, H, W, 3], of the clips whose features were not in the store.
        target: name -> [B, ...].
        queries: [B, Q, query_channels] or None.
        left_out: one line for each clip that was left out because it cannot be read.
    """

    numbers: Sequence[int]
    keys: list[str | None]
    decoded: dict[int, Tensor]
    target: dict[str, Tensor]
    queries: Tensor | None
    left_out: list[str]

    def to(self, device: torch.device) -> "Batch":
        """Moves target and queries to a device, in place."""
        self.target = {name: value.to(device) for name, value in self.target.items()}
        self.queries = None if self.queries is None else self.queries.to(device)
        return self


def split(names: Sequence[str], fraction: float, least: int) -> tuple[list[int], list[int]]:
    """Indices of the training and of the held-out examples, each in order.

    A name is held out where its hash, as a number in [0, 1), is below `fraction`; where these are fewer than `least`
    names, those with the `least` smallest hashes. So an example stays in its part when others are added.

    Raises:
        UserError: one of the two parts would be empty.
    """
    hashed = {name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64 for name in names}
    held_out = {name for name in hashed if hashed[name] < fraction}
    if len(held_out) < least:
        held_out = set(sorted(hashed, key=lambda name: (hashed[name], name))[:least])
    if not held_out or len(held_out) == len(hashed):
        raise UserError(
            f"{len(held_out)} of {len(hashed)} training examples (by name) would be held out; "
            "there must be some on both sides: change held_out or held_out_least, or add data"
        )
    parts: tuple[list[int], list[int]] = ([], [])
    for index, name in enumerate(names):
        parts[name in held_out].append(index)
    return parts


# Two: a batch may straddle the end of an epoch.
@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def _stacked(arrays: Sequence[Any]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(array) for array in arrays]))


def _identity(batch: Any) -> Any:
    return batch


@dataclass(kw_only=True)
class Batches(Dataset[Any]):
    """A data set of batches, indexed by the sample numbers of a batch.

    Attributes:
        source: of the examples.
        indices: of the examples in the source to draw from.
        seed: of the order and of the augmentation; None: held-out examples, in order and not augmented.
        store: cached features, whose clips need not be decoded; None where there is no cache.
        allow_missing: whether a clip that cannot be read is left out of its batch, which becomes smaller, and named
            there; else it is an error.
    """

    source: Source
    indices: Sequence[int] = field(repr=False)
    seed: int | None
    store: FeatureStore | None = None
    allow_missing: bool = False

    def item(self, number: int) -> Item:
        """The example with this sample number."""
        if self.seed is None:
            return self.source.held_out_item(self.indices[number])
        epoch, position = divmod(number, len(self.indices))
        index = self.indices[_permutation(self.seed, epoch, len(self.indices))[position]]
        return self.source.train_item(index, np.random.default_rng([self.seed, 1, number]))

    def clip_shape(self) -> tuple[int, ...]:
        """(T, H, W, 3) of the clips, from the first that can be read.

        Raises:
            UserError: the first clip cannot be read and `allow_missing` is false, or none can.
        """
        first: UserError | None = None
        for number in range(len(self.indices)):
            try:
                return self.item(number).clip().shape
            except DamagedFile as error:
                first = first or error
                if not self.allow_missing:
                    break
        assert first is not None
        raise first

    def __getitem__(self, numbers: Sequence[int]) -> Batch | UserError:
        """A batch; or the error of a file, returned because a worker would wrap one that is raised in a traceback."""
        loaded: list[int] = []
        items: list[Item] = []
        decoded: dict[int, Tensor] = {}
        left_out: list[str] = []
        for number in numbers:
            try:
                item = self.item(number)
                if item.key is None or self.store is None or item.key not in self.store:
                    decoded[len(items)] = torch.from_numpy(np.ascontiguousarray(item.clip()))
            except UserError as error:
                if not (self.allow_missing and isinstance(error, DamagedFile)):
                    return error
                left_out.append(str(error))
                continue
            loaded.append(number)
            items.append(item)
        names = items[0].target if items else ()
        return Batch(
            numbers=loaded,
            keys=[item.key for item in items],
            decoded=decoded,
            target={name: _stacked([item.target[name] for item in items]) for name in names},
            queries=_stacked([item.queries for item in items]) if items and items[0].queries is not None else None,
            left_out=left_out,
        )

    def clip(self, batch: Batch, position: int) -> np.ndarray:
        """The pixels of one clip of a batch; decoded now where the store listed but could not read it."""
        if position in batch.decoded:
            return batch.decoded[position].numpy()
        return self.item(batch.numbers[position]).clip()

    def load(self, schedule: Sequence[Sequence[int]], workers: int) -> Iterator[Batch]:
        """The batches of a schedule, in its order, loaded ahead by `workers` processes (0: in this one, on demand).

        Workers use the "forkserver" start method: after a plain fork, CUDA and the threads of torch and of video
        decoders do not work. Each worker computes with one thread.

        Raises:
            UserError: a file cannot be read, in whichever process.
        """
        loader = DataLoader(
            self,
            sampler=schedule,
            batch_size=None,
            collate_fn=_identity,
            num_workers=workers,
            multiprocessing_context="forkserver" if workers else None,
        )
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch


def schedule(steps: range, *, batch: int, accumulate: int = 1, world: int = 1, rank: int = 0) -> list[range]:
    """Sample numbers of each part of each step of one process: its slice of the batch, in `accumulate` parts.

    Raises:
        UserError: `batch` is no multiple of `world * accumulate`.
    """
    size, rest = divmod(batch, world * accumulate)
    if rest:
        raise UserError(
            f"a batch of {batch} cannot be divided among {world} processes with {accumulate} parts each; "
            "change batch or accumulate, or the number of processes"
        )
    parts = []
    for step in steps:
        first = step * batch + rank * size * accumulate
        parts += [range(first + part * size, first + (part + 1) * size) for part in range(accumulate)]
    return parts
