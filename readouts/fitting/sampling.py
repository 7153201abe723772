"""Which training example stands where in which batch, and how it gets there.

The sample number n = step * batch + position decides everything: the example is the n-th of a sequence of epochs, each
a permutation drawn from (seed, epoch), and its augmentation is drawn from (seed, n). So neither a resume, nor the
number of processes, nor that of worker processes changes what is seen.
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
    """A training example, as drawn.

    Attributes:
        clip: gives uint8 [T, H, W, 3] RGB, of one size in all items. It is called only where the features are not
            stored, so decoding belongs in here, and what it needs at random is drawn before.
        target: what the loss needs, by name; arrays of one shape in all items.
        queries: float32 [Q, query_channels] for a readout whose queries are given.
        key: identity of the clip's exact pixels before the encoder's own normalisation (file, size or hash, frames,
            crop); None where a random augmentation makes every clip a new one, which is then never stored.
    """

    clip: Callable[[], np.ndarray]
    target: Mapping[str, np.ndarray]
    queries: np.ndarray | None = None
    key: str | None = None


class Source(Protocol):
    """The training split of a task. It is pickled where worker processes load it.

    Attributes:
        names: of the examples, stable when others are added. Examples that share a name (the windows of one scene)
            are trained on, or held out, together.
        distinct: how many different keys its items can have, held-out ones included; 0 where none has a key.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def distinct(self) -> int: ...

    def describe(self) -> dict[str, Any]:
        """All that can change the items, as JSON values: protocol, hash of the data, augmentation."""

    def preprocessing(self) -> dict[str, Any]:
        """That part of it which makes pixels of a clip that its `key` names (size, resampling, colour range)."""

    def train_item(self, index: int, rng: np.random.Generator) -> Item:
        """An example for training; all that is random comes from `rng`."""

    def held_out_item(self, index: int) -> Item:
        """The same example by the evaluation's rule."""


@dataclass(kw_only=True)
class Batch:
    """A part of a batch.

    Attributes:
        numbers: sample numbers (or positions among the held-out examples).
        keys: of the clips.
        decoded: position -> uint8 [T, H, W, 3], of the clips that no store had when the batch was made.
        target: name -> [B, ...].
        queries: [B, Q, query_channels] or None.
        damaged: of each clip that was left out because it cannot be read, what is wrong.
    """

    numbers: Sequence[int]
    keys: list[str | None]
    decoded: dict[int, Tensor]
    target: dict[str, Tensor]
    queries: Tensor | None
    damaged: list[str]

    def to(self, device: torch.device) -> "Batch":
        """The same with target and queries on a device."""
        self.target = {name: value.to(device) for name, value in self.target.items()}
        self.queries = None if self.queries is None else self.queries.to(device)
        return self


def split(names: Sequence[str], fraction: float, least: int) -> tuple[list[int], list[int]]:
    """Indices of the examples to train on and of those held out, each in order.

    A name is held out where its hash, as a number in [0, 1), is below `fraction`; where that makes fewer than `least`
    names, those with the `least` smallest hashes. So an example keeps its side when others are added.

    Raises:
        UserError: nothing would be left to train on, or nothing be held out.
    """
    place = {name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64 for name in names}
    held = {name for name in place if place[name] < fraction}
    if len(held) < least:
        held = set(sorted(place, key=lambda name: (place[name], name))[:least])
    if not held or len(held) == len(place):
        raise UserError(
            f"{len(held)} of {len(place)} training examples (by name) would be held out; "
            "there must be some on both sides: change held_out or held_out_least, or add data"
        )
    sides: tuple[list[int], list[int]] = ([], [])
    for index, name in enumerate(names):
        sides[name in held].append(index)
    return sides


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def _stacked(arrays: Sequence[Any]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(array) for array in arrays]))


def _same(batch: Any) -> Any:
    return batch


@dataclass(kw_only=True)
class Batches(Dataset[Any]):
    """Batches by the sample numbers they hold.

    Attributes:
        source: where examples come from.
        indices: those to draw from.
        seed: of the order and of the augmentation; None takes every index as it stands, by the evaluation's rule.
        store: features that need no decoding; None where there is no cache.
        allow_missing: whether a clip that cannot be read is left out of its batch, which is the smaller for it,
            and named there; else it is an error.
    """

    source: Source
    indices: Sequence[int] = field(repr=False)
    seed: int | None
    store: FeatureStore | None = None
    allow_missing: bool = False

    def item(self, number: int) -> Item:
        """The sample of this number."""
        if self.seed is None:
            return self.source.held_out_item(self.indices[number])
        epoch, place = divmod(number, len(self.indices))
        index = self.indices[_permutation(self.seed, epoch, len(self.indices))[place]]
        return self.source.train_item(index, np.random.default_rng([self.seed, 1, number]))

    def clip_shape(self) -> tuple[int, ...]:
        """(T, H, W, 3) of the clips, from the first that can be read.

        Raises:
            UserError: of that file, or of the first where none can be read.
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
        """A batch; or the error of a user's file, which a worker process hands over instead of a traceback."""
        read_numbers: list[int] = []
        items: list[Item] = []
        decoded: dict[int, Tensor] = {}
        damaged: list[str] = []
        for number in numbers:
            try:
                item = self.item(number)
                if item.key is None or self.store is None or item.key not in self.store:
                    decoded[len(items)] = torch.from_numpy(np.ascontiguousarray(item.clip()))
            except UserError as error:
                if not (self.allow_missing and isinstance(error, DamagedFile)):
                    return error
                damaged.append(str(error))
                continue
            read_numbers.append(number)
            items.append(item)
        names = items[0].target if items else ()
        return Batch(
            numbers=read_numbers,
            keys=[item.key for item in items],
            decoded=decoded,
            target={name: _stacked([item.target[name] for item in items]) for name in names},
            queries=_stacked([item.queries for item in items]) if items and items[0].queries is not None else None,
            damaged=damaged,
        )

    def clip(self, batch: Batch, position: int) -> np.ndarray:
        """The pixels of one clip of a batch, decoded now where its features were promised and then were not there."""
        if position in batch.decoded:
            return batch.decoded[position].numpy()
        return self.item(batch.numbers[position]).clip()

    def load(self, schedule: Sequence[Sequence[int]], workers: int) -> Iterator[Batch]:
        """The batches of a schedule in its order, made ahead by `workers` processes (0: by this one, when asked).

        Workers are started afresh, not forked: a fork copies neither the threads of torch and of video decoders nor an
        accelerator in a usable state. Each computes with one thread.

        Raises:
            UserError: of a file that cannot be read, in one line, whichever process met it.
        """
        loader = DataLoader(
            self,
            sampler=schedule,
            batch_size=None,
            collate_fn=_same,
            num_workers=workers,
            multiprocessing_context="forkserver" if workers else None,
        )
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch


def schedule(steps: range, *, batch: int, accumulate: int = 1, world: int = 1, rank: int = 0) -> list[range]:
    """Sample numbers of each part of each step that falls to a process: its slice of the batch, in `accumulate` parts.

    Raises:
        UserError: the batch cannot be divided so.
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
