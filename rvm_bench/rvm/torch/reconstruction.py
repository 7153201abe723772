"""Reconstruction from frames as users hold them: arrays or tensors, uint8 or in [0, 1], channels last."""

from typing import Any

import torch
from torch import Tensor

from rvm_bench.errors import UserError
from rvm_bench.rvm.torch.encoder import RVMEncoder
from rvm_bench.rvm.torch.model import RVM


@torch.no_grad()
def reconstruct(model: RVMEncoder | RVM, source: Any, target: Any, deltas: Any, inds_restore: Any) -> Tensor:
    """See `rvm_bench.rvm.reconstruct`."""
    network = model.model if isinstance(model, RVMEncoder) else model
    device = next(network.parameters()).device
    return network.reconstruct(
        pixels("source", source, device),
        pixels("target", target, device),
        None if deltas is None else torch.as_tensor(deltas, device=device),
        torch.as_tensor(inds_restore, device=device),
    )


def pixels(role: str, frames: Any, device: torch.device) -> Tensor:
    """Frames [B, T, H, W, 3], uint8 or floating in [0, 1] -> float32 [B, T, 3, H, W] in [0, 1].

    Raises:
        UserError: another shape or dtype; `role` is what the message calls the frames.
    """
    tensor = torch.as_tensor(frames, device=device)
    if tensor.ndim != 5 or tensor.shape[-1] != 3:
        raise UserError(f"{role} has shape {tuple(tensor.shape)}; expected [batch, frames, height, width, 3]")
    if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
        raise UserError(f"{role} has dtype {tensor.dtype}; expected uint8, or floating point in [0, 1]")
    scaled = tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()
    return scaled.movedim(-1, 2)
