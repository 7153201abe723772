"""Training RVM in JAX, on one device or on all of several hosts: `rvm_bench.rvm.train.trainer.Trainer`."""

import functools
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.jax.model import RVM
from rvm_bench.rvm.jax.weights import from_arrays, to_arrays
from rvm_bench.rvm.train.data.loader import TrainingBatch
from rvm_bench.rvm.train.initial import initial_arrays
from rvm_bench.rvm.train.jax import mesh as meshes
from rvm_bench.rvm.train.jax import processes, saving
from rvm_bench.rvm.train.jax.update import State, optimiser, update
from rvm_bench.rvm.train.recipes import Recipe
from rvm_bench.rvm.train.trainer import Layout


class JaxTrainer:
    """See `Trainer`. Processes are those that the environment names (`processes.named_processes`).

    The first step compiles the update, whatever `layout.compile` says. A step writes over the state before it.

    Raises:
        UserError: the recipe aggregates by self-attention; the devices or the batch do not divide as the layout says;
            the processes do not find each other.
    """

    def __init__(self, recipe: Recipe, layout: Layout) -> None:
        if recipe.aggregator != "rnn":
            raise UserError(
                f"recipe {recipe.name} aggregates by {recipe.aggregator}, which only torch has; give --backend torch"
            )
        self.recipe = recipe
        self._joined = processes.join()
        self.host = (jax.process_index(), jax.process_count())
        self.leads = self.host[0] == 0
        self.devices = jax.device_count()
        self.device_label = jax.devices()[0].device_kind

        self._parts = layout.accumulate
        self._mesh = mesh = meshes.training_mesh(*layout.sharded(self.devices, recipe.batch))
        model = RVM(recipe.model, jnp.dtype(recipe.dtype), layout.recompute)
        arrays, _ = from_arrays(initial_arrays(recipe.model, recipe.seed, recipe.start))
        begin = optimiser(recipe).init
        cut = meshes.sharded(mesh, State(arrays, jax.eval_shape(begin, arrays)))
        weights = meshes.placed(arrays, cut.weights)
        self._state = State(weights, jax.jit(begin, out_shardings=cut.optimiser)(weights))

        everywhere, clips = meshes.replicated(mesh), meshes.by_clip(mesh)
        self._update = jax.jit(
            functools.partial(update, model, recipe, cut.weights),
            in_shardings=(cut, meshes.by_clip(mesh, axis=1), everywhere),
            out_shardings=(cut, everywhere),
            donate_argnums=0,
        )
        self._decode = jax.jit(
            lambda weights, inputs: model.apply(
                {"params": weights}, *inputs, mask_ratio=recipe.mask_ratio, method=RVM.reconstruct
            ),
            in_shardings=(cut.weights, clips),
            out_shardings=clips,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._joined:
            self._joined = False
            jax.distributed.shutdown()

    def step(self, batch: TrainingBatch, rate: float) -> dict[str, Any]:
        """See `Trainer`; the scalars are JAX arrays, float32 []."""
        parts = meshes.in_parts(self._mesh, batch, self._parts)
        self._state, measured = self._update(self._state, parts, np.float32(rate))
        return measured

    def reconstruct(self, batch: TrainingBatch) -> np.ndarray:
        """See `Trainer`; a slice may be of any size, as long as every process has as many clips."""
        count, devices = len(batch["source"]), len(self._mesh.local_devices)
        # Filled up with clips again, so that every device has as many.
        filled = np.arange(-(-count // devices) * devices) % count
        inputs = (batch["source"], batch["target"], batch["deltas"], batch["inds_restore"])
        clips = jax.make_array_from_process_local_data(
            meshes.by_clip(self._mesh), tuple(array[filled] for array in inputs)
        )
        return meshes.own_clips(self._decode(self._state.weights, clips))[:count]

    def save(self, folder: Path) -> None:
        """See `Trainer` and `rvm_bench.rvm.train.jax.saving`."""
        saving.save(folder, self._state)

    def restore(self, folder: Path) -> None:
        """See `Trainer` and `rvm_bench.rvm.train.jax.saving`."""
        self._state = saving.restore(folder, self._state)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Trainer`."""
        arrays = to_arrays(meshes.whole(self._state.weights))
        return {name: arrays[name] for name in checkpoint.expected_shapes(self.recipe.model)}

    def wait(self) -> None:
        """See `Trainer`."""
        processes.wait()

    def agree(self, value: bool) -> bool:
        """See `Trainer`."""
        return processes.agree(value)
