"""Fixed positions of patches: MAE's one-dimensional sinusoid over the flattened grid, built once per grid.

Source: the authors' inference notebook. It is not the two-dimensional table of MAE's image models.
"""

import functools

import torch
from torch import Tensor

from rvm_bench.positions import resize_positions, sinusoid_table

TRAINED_GRID = (16, 16)  # 256 px frames in 16 px patches


@functools.lru_cache(maxsize=32)
def encoder_positions(grid: tuple[int, int], width: int, device: torch.device) -> Tensor:
    """float32 [h, w, width] for the frame encoder: the table of the trained 16 x 16 grid, resized to others.

    The released model resizes with jax.image.resize's 'bicubic'; torch's plain bicubic moves features by 3e-2.
    """
    with torch.inference_mode(False):  # the cached tensor must serve training too
        table = sinusoid_table(TRAINED_GRID[0] * TRAINED_GRID[1], width).view(1, *TRAINED_GRID, width)
        if grid != TRAINED_GRID:
            table = resize_positions(table, (1, *grid), "antialiased")
        return table[0].to(device)


@functools.lru_cache(maxsize=32)
def decoder_positions(patches: int, width: int, device: torch.device) -> Tensor:
    """float32 [patches, width] for the decoder: the table at the actual grid, never resized."""
    with torch.inference_mode(False):
        return sinusoid_table(patches, width).to(device)
