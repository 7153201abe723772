"""The weights that a training starts from."""

import numpy as np

from rvm_bench.rvm.checkpoint import RVMConfig, random_arrays

GREY = 0.45
"""About the mean pixel of videos (that of ImageNet is 0.449), where the decoder starts."""
OUTPUT_SCALE = 0.1


def initial_arrays(config: RVMConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """`checkpoint.random_arrays`, but what is decoded is nearly grey: the first steps need not unlearn its noise.

    Ours: the paper does not say how weights start. On procedural clips of 64 px a small model was after 100 steps where
    it came after 400 with a decoder of unit output (mean squared error 0.030).
    """
    arrays = random_arrays(config, seed)
    arrays["detokenizer/Dense_0/kernel"] *= np.float32(OUTPUT_SCALE)
    arrays["detokenizer/Dense_0/bias"] += np.float32(GREY)
    return arrays
