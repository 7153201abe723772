"""Base of the training splits of all tasks: fixed or random examples, and their identity."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from readouts.fitting.sampling import Item
from readouts.tasks.base import ReadoutProtocol
from rvm_bench.api.task import Coverage

P = TypeVar("P", bound=ReadoutProtocol)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TaskSource(abc.ABC, Generic[P]):
    """The training split of a task; a `sampling.Source`.

    Attributes:
        resizing: how frames are resized, for the identity of features.
        protocol: of the task. With fixed clips, every training example is as the held-out one.
        manifest_sha256: of the data.
    """

    resizing: ClassVar[str]
    protocol: P
    manifest_sha256: str

    @property
    @abc.abstractmethod
    def names(self) -> Sequence[str]:
        """Names of the examples; those of one video share its name."""

    @property
    def distinct(self) -> int:
        return len(self.names) if self.protocol.fixed_clips else 0

    def describe(self) -> dict[str, Any]:
        return {"protocol": self.protocol.to_dict(), "data": self.manifest_sha256}

    def preprocessing(self) -> dict[str, Any]:
        return {"side_px": self.protocol.side_px, "resize": self.resizing}

    def train_item(self, index: int, rng: np.random.Generator) -> Item:
        return self.fixed_item(index, rng) if self.protocol.fixed_clips else self.random_item(index, rng)

    def fixed_item(self, index: int, rng: np.random.Generator) -> Item:
        """The example where clips are fixed; only what does not change the clip may be drawn from `rng`."""
        return self.held_out_item(index)

    @abc.abstractmethod
    def random_item(self, index: int, rng: np.random.Generator) -> Item:
        """The example as the official training samples it."""

    @abc.abstractmethod
    def held_out_item(self, index: int) -> Item:
        """The example as the evaluation samples it."""


def with_training_split(scored: Coverage, missing: Sequence[str]) -> Coverage:
    """The coverage of the scored split, with what the training split lacks, one line each, put before its own."""
    return dataclasses.replace(scored, missing=(*missing, *scored.missing))


def quarter_starts(frames: int, length: int, stride: int) -> range:
    """First frames of the fixed clips in a video of `frames` frames: a quarter of a clip apart."""
    return range(0, frames - (length - 1) * stride, max(1, length * stride // 4))
