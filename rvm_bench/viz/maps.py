"""Feature maps of a whole video, and maps brought from the cells of an encoder's grid to pixels.

A cell of patch p covers p x p pixels. Pixels beyond the last whole patch belong to the last cell, so that maps of
encoders with different patches can be compared pixel by pixel.
"""

import numpy as np
from tqdm import tqdm

from rvm_bench.api.contract import check_video
from rvm_bench.api.encoder import Encoder

LATTICE_PX = 4
"""Models are compared at every fourth pixel of every fourth row: no patch is so small that more would tell more."""


def feature_maps(encoder: Encoder, frames: np.ndarray) -> np.ndarray:
    """float32 [T, h, w, D]: what `encoder.encode` returns for uint8 frames [T, H, W, 3], with progress shown."""
    check_video(frames.shape, frames.dtype, encoder.card)
    maps = np.empty((len(frames), *encoder.grid(*frames.shape[1:3]), encoder.card.width), np.float32)
    done = 0
    with tqdm(total=len(frames), desc=encoder.card.name, unit="frame", leave=False, disable=None) as bar:
        for features in encoder.stream(frames):
            maps[done : done + len(features)] = features.cpu().numpy()
            done += len(features)
            bar.update(len(features))
    return maps


def to_pixels(maps: np.ndarray, patch: int, size_hw: tuple[int, int], *, step_px: int = 1) -> np.ndarray:
    """[T, H, W, ...] from [T, h, w, ...]: every pixel (or every `step_px`-th, from the first) has its cell's value."""
    rows, columns = (
        np.minimum(np.arange(0, size, step_px) // patch, cells - 1)
        for size, cells in zip(size_hw, maps.shape[1:3], strict=True)
    )
    return maps[:, rows[:, None], columns]


def on_lattice(maps: np.ndarray, patch: int, size_hw: tuple[int, int]) -> np.ndarray:
    """[N, ...] from [T, h, w, ...]: the values at the places where models are compared, the same N for all of them."""
    values = to_pixels(maps, patch, size_hw, step_px=LATTICE_PX)
    return values.reshape(-1, *maps.shape[3:])


def cell_sums(pixels: np.ndarray, patch: int, grid_hw: tuple[int, int]) -> np.ndarray:
    """int64 [T, h, w] from bool [T, H, W]: how many pixels of each cell are true."""
    rows, columns = (np.arange(cells) * patch for cells in grid_hw)
    return np.add.reduceat(np.add.reduceat(pixels.astype(np.int64), rows, axis=1), columns, axis=2)
