"""Fixed positions of patches: MAE's one-dimensional sinusoid over the flattened grid, a constant once compiled.

Source: the authors' inference notebook.
"""

import functools

import jax
import numpy as np

TRAINED_GRID = (16, 16)  # 256 px frames in 16 px patches


def sinusoid_table(positions: int, width: int) -> np.ndarray:
    """float32 [positions, width]: sin on even and cos on odd channels j of position / 10000^(2 floor(j/2) / width).

    Angles are taken in float64 and cast last. `rvm_bench.nn.positions` has the same table for torch, bit for bit.
    """
    channel = np.arange(width)
    angle = np.arange(positions)[:, None] / np.power(10000.0, 2 * (channel // 2) / width)
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


@functools.lru_cache(maxsize=32)
def encoder_positions(grid: tuple[int, int], width: int) -> np.ndarray:
    """float32 [h, w, width] for the frame encoder: the table of the trained 16 x 16 grid, resized to others."""
    table = sinusoid_table(TRAINED_GRID[0] * TRAINED_GRID[1], width).reshape(*TRAINED_GRID, width)
    with jax.ensure_compile_time_eval():
        return np.asarray(_resized(table, (*grid, width)))


_resized = jax.jit(functools.partial(jax.image.resize, method="bicubic"), static_argnums=1)
