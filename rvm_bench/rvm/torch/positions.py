"""Fixed positions of patches: MAE's one-dimensional sinusoid over the flattened grid, built once per grid.

Source: the authors' inference notebook. It is not the two-dimensional table of MAE's image models.
"""

import functools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TRAINED_GRID = (16, 16)  # 256 px frames in 16 px patches


def sinusoid_table(positions: int, width: int) -> Tensor:
    """float32 [positions, width]: sin on even and cos on odd channels j of position / 10000^(2 floor(j/2) / width).

    Angles are taken in float64 and cast last, as the released code does.
    """
    channel = np.arange(width)
    angle = np.arange(positions)[:, None] / np.power(10000.0, 2 * (channel // 2) / width)
    return torch.from_numpy(np.where(channel % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32))


@functools.lru_cache(maxsize=32)
def encoder_positions(grid: tuple[int, int], width: int, device: torch.device) -> Tensor:
    """float32 [h, w, width] for the frame encoder: the table of the trained 16 x 16 grid, resized to others.

    jax.image.resize's 'bicubic' is Keys' kernel with a = -0.5 and antialiasing; torch's bicubic uses a = -0.75 unless
    `antialias=True`, with which the two agree to 1e-6 in both directions (without it, features move by 3e-2).
    """
    with torch.inference_mode(False):  # the cached tensor must serve training too
        table = sinusoid_table(TRAINED_GRID[0] * TRAINED_GRID[1], width).view(*TRAINED_GRID, width)
        if grid != TRAINED_GRID:
            table = _resize_bicubic(table, grid)
        return table.to(device)


def _resize_bicubic(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """[16, 16, D] -> [h, w, D]."""
    # A trap: for a single column, torch 2.13's antialiased CPU kernel repeats the first row. So it is laid on its side.
    on_side = grid[1] == 1
    image = table.permute(2, 1, 0) if on_side else table.permute(2, 0, 1)
    size = grid[::-1] if on_side else grid
    image = F.interpolate(image[None], size=size, mode="bicubic", align_corners=False, antialias=True)[0]
    return (image.permute(2, 1, 0) if on_side else image.permute(1, 2, 0)).contiguous()


@functools.lru_cache(maxsize=32)
def decoder_positions(patches: int, width: int, device: torch.device) -> Tensor:
    """float32 [patches, width] for the decoder: the table at the actual grid, never resized."""
    with torch.inference_mode(False):
        return sinusoid_table(patches, width).to(device)
