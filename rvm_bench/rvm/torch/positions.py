"""Fixed positions of patches: MAE's one-dimensional sinusoid over the flattened grid, built once per grid.

Source: the authors' inference notebook. It is not the two-dimensional table of MAE's image models.
"""

import functools

import torch
from torch import Tensor

from rvm_bench.nn.positions import resize_positions
from rvm_bench.nn.sinusoids import sinusoid_table

TRAINED_GRID = (16, 16)  # 256 px frames in 16 px patches


@functools.lru_cache(maxsize=32)
def encoder_positions(grid: tuple[int, int], width: int, device: torch.device) -> Tensor:
    """float32 [h, w, width] for the frame encoder: the table of the trained 16 x 16 grid, resized to others.

    The released model resizes with jax.image.resize's 'bicubic'; torch's plain bicubic moves features by 3e-2.
    """
    return _frame_tables(1, grid, width, device)[0]


@functools.lru_cache(maxsize=8)
def clip_positions(times: int, grid: tuple[int, int], width: int, device: torch.device) -> Tensor:
    """float32 [times, h, w, width]: the same sinusoid carried on over the flattened patches of all frames.

    The first frame has `encoder_positions`. It is VideoMAE's way to give the table a time dimension; the paper says
    of the self-attention ablation only that it has one (section 9).
    """
    return _frame_tables(times, grid, width, device)


def _frame_tables(times: int, grid: tuple[int, int], width: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # the cached tensor must serve training too
        h, w = TRAINED_GRID
        table = torch.from_numpy(sinusoid_table(times * h * w, width)).view(times, h, w, width)
        if grid != TRAINED_GRID:
            table = resize_positions(table, (times, *grid), "antialiased")
        return table.to(device)


@functools.lru_cache(maxsize=32)
def decoder_positions(patches: int, width: int, device: torch.device) -> Tensor:
    """float32 [patches, width] for the decoder: the table at the actual grid, never resized."""
    with torch.inference_mode(False):
        return torch.from_numpy(sinusoid_table(patches, width)).to(device)
