"""A recipe and data that are small enough to train in a test."""

import dataclasses
from typing import Any

import numpy as np

from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.train.data.loader import TrainingBatch
from rvm_bench.rvm.train.recipes import Recipe, rvm_demo

SMALL = RVMConfig(
    patch=8,
    width=32,
    layers=2,
    heads=2,
    mlp=48,
    core_layers=1,
    core_heads=2,
    core_mlp=48,
    decoder_width=32,
    decoder_layers=1,
    decoder_heads=2,
    decoder_mlp=48,
)


def small_recipe(**changes: Any) -> Recipe:
    """32 px in 16 patches, of which 4 are visible."""
    values = {"model": SMALL, "steps": 12, "warmup_steps": 2, "batch": 8, "size_px": 32, "mask_ratio": 0.75}
    return dataclasses.replace(rvm_demo(), **{**values, **changes})


def random_batch(recipe: Recipe, number: int, host: tuple[int, int] = (0, 1)) -> TrainingBatch:
    """A host's slice of batch `number` of noise."""
    rng = np.random.default_rng(number)
    side, count = recipe.size_px, recipe.batch
    frames = rng.integers(0, 256, (2, count, 4, side, side, 3), dtype=np.uint8)
    deltas = rng.integers(recipe.delta_min, recipe.delta_max + 1, (count, 4)).astype(np.int32)
    orders = rng.permuted(np.tile(np.arange(recipe.patches, dtype=np.int32), (count, 4, 1)), axis=-1)
    index, hosts = host
    mine = slice(index * count // hosts, (index + 1) * count // hosts)
    return TrainingBatch(source=frames[0][mine], target=frames[1][mine], deltas=deltas[mine], inds_restore=orders[mine])
