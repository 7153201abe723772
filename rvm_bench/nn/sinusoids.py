"""The fixed table of positions of MAE, VideoMAE and RVM, in NumPy, for torch and for JAX."""

import numpy as np


def sinusoid_table(positions: int, width: int) -> np.ndarray:
    """float32 [positions, width]: sin on even and cos on odd channels j of position / 10000^(2 floor(j/2) / width).

    Angles are computed in float64 and cast last, as the released code of RVM and VideoMAE does.
    """
    channel = np.arange(width)
    angle = np.arange(positions)[:, None] / np.power(10000.0, 2 * (channel // 2) / width)
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)
