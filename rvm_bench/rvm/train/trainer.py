"""What a backend does in a training. Everything else (data, rates, logs, folders) is `rvm_bench.rvm.train.run`'s."""

import dataclasses
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.rvm.train.data.loader import TrainingBatch
from rvm_bench.rvm.train.recipes import Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """How a training is laid out on its devices. It changes how fast it runs and what fits, not what is computed.

    Attributes:
        fsdp: devices that share one copy of weights, gradients and moments; the others repeat it ("data" parallel). 0
            means all there are.
        recompute: whether blocks compute their activations again in the backward pass.
        accumulate: parts that a batch is taken in, one after the other, where it does not fit as a whole.
        compile: whether torch compiles the blocks (JAX always compiles).
    """

    fsdp: int = 0
    recompute: bool = False
    accumulate: int = 1
    compile: bool = False

    def sharded(self, devices: int, batch: int) -> tuple[int, int]:
        """Devices along (data, fsdp).

        Raises:
            UserError: the devices, or a batch of so many clips, cannot be divided so.
        """
        shards = self.fsdp or devices
        if shards < 1 or devices % shards:
            raise UserError(f"{devices} devices cannot be divided into groups of {shards}; change --fsdp")
        if self.accumulate < 1 or batch % (devices * self.accumulate):
            raise UserError(
                f"a batch of {batch} clips cannot be divided by {devices} devices and {self.accumulate} parts; "
                "change --set batch=... or --accumulate"
            )
        return devices // shards, shards


class Trainer(Protocol):
    """A model, its optimiser and its devices. Every process of a training calls every method alike.

    Made by `rvm_bench.rvm.train.torch.trainer.TorchTrainer(recipe, layout, device)` and
    `rvm_bench.rvm.train.jax.trainer.JaxTrainer(recipe, layout)`; both start from
    `rvm_bench.rvm.train.initial.initial_arrays(recipe.model, recipe.seed, recipe.start)`. A context: it leaves its
    process group.

    Attributes:
        recipe: what is trained.
        host: which slice of each batch this process is given, from 0, and how many slices there are.
        devices: over all processes.
        device_label: what the devices call themselves.
        leads: whether this is rank 0, which writes and logs.
    """

    recipe: Recipe
    host: tuple[int, int]
    devices: int
    device_label: str
    leads: bool

    def __enter__(self) -> "Trainer": ...

    def __exit__(self, *_: object) -> None: ...

    def step(self, batch: TrainingBatch, rate: float) -> dict[str, Any]:
        """One update with AdamW at this learning rate, on this process's slice of a batch.

        Returns "loss" and "gradient_norm" (before clipping), over all devices: scalars that `float` takes, which may
        still be computing.
        """

    def reconstruct(self, batch: TrainingBatch) -> np.ndarray:
        """The targets of this process's slice as the model decodes them now: float32 [B, TT, S, S, 3]."""

    def save(self, folder: Path) -> None:
        """Weights and moments into a folder that is not there yet, in one that all processes see."""

    def restore(self, folder: Path) -> None:
        """Weights and moments of `save`, whatever the layout was that saved them.

        That its files are as they were written is known before (`rvm_bench.rvm.train.folder.check_files`).

        Raises:
            UserError: there are none, or they are of another recipe.
        """

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights in the official naming, whole, float32, on every process."""

    def wait(self) -> None:
        """Until all processes are here."""

    def agree(self, value: bool) -> bool:
        """Whether `value` is true on any process."""


def decayed(name: str) -> bool:
    """Whether AdamW decays the array of this official name: kernels only (see `Recipe.weight_decay`)."""
    return name.endswith("/kernel")
