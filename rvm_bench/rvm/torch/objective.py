"""The training objective in torch. In words it stands in `rvm_bench.rvm.train`.

A step is cheap for two reasons: a target's hidden patches never enter the ViT, and the decoder projects the sources'
keys and values once for all targets. Both can be turned off, to measure what they save
(`python benchmarks/train_step.py`); the loss and its gradients are the same.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvm_bench.errors import UserError
from rvm_bench.rvm.masking import MASK_RATIO
from rvm_bench.rvm.torch.layers import Recomputing
from rvm_bench.rvm.torch.model import Reconstructor
from rvm_bench.rvm.torch.reconstruction import pixels

BATCH = ("source", "target", "deltas", "inds_restore")


def loss(
    model: Reconstructor,
    batch: Mapping[str, Any],
    *,
    mask_ratio: float = MASK_RATIO,
    dtype: torch.dtype = torch.float32,
    keep_reconstruction: bool = False,
    visible_only: bool = True,
    share_keys: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """The mean squared error over all pixels of all targets, a float32 scalar with gradients where they are enabled,
    and the decoded targets, float32 [B, TT, H, W, 3] without gradients, if they are kept.

    Args:
        model: its `reconstruct` is called, which a wrapper for parallel training must know (FSDP2:
            `register_fsdp_forward_method(model, "reconstruct")`).
        batch: arrays or tensors. source [B, T, H, W, 3] and target [B, TT, H, W, 3], uint8 or floating in [0, 1], with
            whole patches; deltas int [B, TT], frames to each target, or None; inds_restore int [B, TT, N], as
            `rvm_bench.rvm.masking` draws it. Further names are left alone.
        mask_ratio: share of a target's patches that is hidden.
        dtype: of the matrix products; with bfloat16, weights, residual streams, norms, softmax and the loss stay
            float32 (paper section 4.1).
        keep_reconstruction: whether to return the decoded targets.
        visible_only, share_keys: the two savings.

    Raises:
        UserError: something is missing from the batch, or does not fit together.
    """
    missing = [name for name in BATCH if name not in batch]
    if missing:
        raise UserError(f"the batch has no {', '.join(missing)}; expected {', '.join(BATCH)}")
    device = next(model.parameters()).device
    source, target = (pixels(role, batch[role], device) for role in ("source", "target"))
    patch = model.config.patch
    for role, frames in (("source", source), ("target", target)):
        height, width = frames.shape[-2:]
        if height % patch or width % patch:
            raise UserError(f"{role} is {height}x{width} px; expected multiples of the patch, {patch} px")
    if dtype not in (torch.float32, torch.bfloat16):
        raise UserError(f"matrix products in {dtype}; expected torch.float32 or torch.bfloat16")
    deltas = None if batch["deltas"] is None else torch.as_tensor(batch["deltas"], device=device)
    with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = model.reconstruct(
            source,
            target,
            deltas,
            torch.as_tensor(batch["inds_restore"], device=device),
            mask_ratio=mask_ratio,
            visible_only=visible_only,
            share_keys=share_keys,
        )
    return F.mse_loss(found, target.movedim(2, -1)), found.detach() if keep_reconstruction else None


def recompute_blocks(model: nn.Module, recompute: bool = True) -> None:
    """From now on every block computes its activations again in the backward pass, instead of keeping them."""
    for module in model.modules():
        if isinstance(module, Recomputing):
            module.recompute = recompute
