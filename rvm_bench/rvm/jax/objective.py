"""The training objective in JAX: the mean squared error of reconstructed target frames.

Source: paper sections 3.1 (Loss) and 4.1.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rvm_bench.errors import UserError
from rvm_bench.rvm.jax.model import RVM, unit_pixels
from rvm_bench.rvm.masking import MASK_RATIO

BATCH = ("source", "target", "deltas", "inds_restore")


def loss(
    model: RVM, params: Mapping[str, Any], batch: Mapping[str, Any], *, mask_ratio: float = MASK_RATIO
) -> jax.Array:
    """The mean over all pixels of all targets, hidden or not, in [0, 1] units, not normalised per patch: float32 [].

    Pure, so that `jax.value_and_grad(functools.partial(loss, model))` can be compiled. Of a target only the visible
    patches pass through the ViT, and the targets of a video share the decoder's keys and values.

    Args:
        model: its `dtype` and `remat` say how to compute; the loss and its gradients are float32.
        params: as `rvm_bench.rvm.jax.weights.from_arrays` gives them.
        batch: source [B, T, H, W, 3] and target [B, TT, H, W, 3], uint8 or floating in [0, 1], with whole patches;
            deltas int [B, TT], frames to each target in [0, delta_bins), or None; inds_restore int [B, TT, N], as
            `rvm_bench.rvm.masking` draws it. A delta out of range, or an index beyond the patches, makes the loss NaN.
        mask_ratio: share of a target's patches that is hidden.

    Raises:
        UserError: something is missing from the batch, or does not fit together.
    """
    missing = [name for name in BATCH if name not in batch]
    if missing:
        raise UserError(f"the batch has no {', '.join(missing)}; expected {', '.join(BATCH)}")
    for role in ("source", "target"):
        *_, height, width, _ = batch[role].shape
        if height % model.config.patch or width % model.config.patch:
            raise UserError(f"{role} is {height}x{width} px; expected multiples of the patch, {model.config.patch} px")
    inputs = [batch[name] for name in BATCH]
    pixels: Any = model.apply({"params": params}, *inputs, mask_ratio=mask_ratio, method=RVM.reconstruct)
    return jnp.mean(jnp.square(pixels - unit_pixels(batch["target"], model.config.patch)))
