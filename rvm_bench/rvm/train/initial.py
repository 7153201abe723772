"""The weights that a training starts from."""

from typing import Literal

import numpy as np

from rvm_bench.rvm.checkpoint import RVMConfig, random_arrays

GREY = 0.45
"""About the mean pixel of videos (that of ImageNet is 0.449), where the decoder starts."""
OUTPUT_SCALE = 0.1
CONTRAST = 12.0
"""Times which the patch embedding is larger than Xavier's, so that contents outweigh the sinusoids of places."""
BRANCH_SCALE = 0.3
"""Of what the blocks of encoder and core add to their streams."""
OPEN = 2.0
"""Of the update gate before the sigmoid, which opens it to 0.88."""
TOKEN_SCALE = 4.0
"""Of the tokens that the core sees, beside what its blocks add."""
TOKEN_MEAN = 0.25
"""Over the channels of every token that the core sees, times its scale; a LayerNorm leaves none by itself."""

Start = Literal["xavier", "contents"]

_PATCHES = "tokenizer/patch_embedding/Conv_0"


def initial_arrays(config: RVMConfig, seed: int = 0, start: Start = "xavier") -> dict[str, np.ndarray]:
    """`checkpoint.random_arrays`, but what is decoded is nearly grey: the first steps need not unlearn its noise.

    Ours: the paper does not say how weights start. On procedural clips of 64 px a small model was after 100 steps where
    it came after 400 with a decoder of unit output (mean squared error 0.030).

    With "contents", the features of the untrained net already show what patches hold:

    - Patches are embedded with `CONTRAST` and less their grey: RVM takes pixels in [0, 1] as they are and adds
      sinusoids of amplitude 1, beside which the contents of patches are small and nearly equal.
    - Blocks add little at first: to smaller weights in encoder and core comes that the core's tokens are larger.
    - The core's update gate is open. A gate of one half makes features lag behind what moves. It has no bias: it reads
      the mean over channels that the encoder's last LayerNorm now gives to tokens, and the core's own last LayerNorm
      takes away.

    docs/training.md says what each is worth.
    """
    arrays = random_arrays(config, seed)
    arrays["detokenizer/Dense_0/kernel"] *= np.float32(OUTPUT_SCALE)
    arrays["detokenizer/Dense_0/bias"] += np.float32(GREY)
    if start == "contents":
        _show_contents(arrays, config.width)
    return arrays


def _show_contents(arrays: dict[str, np.ndarray], width: int) -> None:
    arrays[f"{_PATCHES}/kernel"] *= np.float32(CONTRAST)
    arrays[f"{_PATCHES}/bias"] -= np.float32(GREY) * arrays[f"{_PATCHES}/kernel"].reshape(-1, width).sum(0)
    for name, array in arrays.items():
        if name.endswith("out/kernel") and not name.startswith("decoder/"):
            array *= np.float32(BRANCH_SCALE)
    arrays["encoder/LayerNorm_0/scale"] *= np.float32(TOKEN_SCALE)
    arrays["encoder/LayerNorm_0/bias"] += np.float32(TOKEN_SCALE * TOKEN_MEAN)
    for gate in ("update", "reset"):
        arrays[f"rnn_core/input_{gate}/kernel"] /= np.float32(TOKEN_SCALE)
    arrays["rnn_core/input_update/kernel"] += np.float32(OPEN / (TOKEN_SCALE * TOKEN_MEAN * width))
