"""Fixed positions of patches: MAE's one-dimensional sinusoid over the flattened grid, a constant once compiled.

Source: the authors' inference notebook.
"""

import functools

import jax
import numpy as np

from rvm_bench.nn.sinusoids import sinusoid_table

TRAINED_GRID = (16, 16)  # 256 px frames in 16 px patches


@functools.lru_cache(maxsize=32)
def encoder_positions(grid: tuple[int, int], width: int) -> np.ndarray:
    """float32 [h, w, width] for the frame encoder: the table of the trained 16 x 16 grid, resized to others."""
    table = sinusoid_table(TRAINED_GRID[0] * TRAINED_GRID[1], width).reshape(*TRAINED_GRID, width)
    with jax.ensure_compile_time_eval():
        return np.asarray(_resized(table, (*grid, width)))


_resized = jax.jit(functools.partial(jax.image.resize, method="bicubic"), static_argnums=1)
