"""FLOPs of a forward pass, by torch's own counter, without computing it.

The counter sees every matrix product, convolution and attention; a multiply-add counts as two, and norms, softmax, GELU
and additions are left out, as in `rvm_bench.rvm.train.cost`. The network is put on torch's "meta" device, where tensors
have shapes and no values, so that this takes no memory and next to no time.
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rvm_bench.api.encoder import Encoder
from rvm_bench.profiling.ways import STREAM, consume, period_of, prepared


class NotCounted(Exception):
    """The counter saw nothing, or the network cannot run without values; the message says which."""


def count_flops(encoder: Encoder, way: str, frames: int, side_px: int) -> float:
    """FLOPs of one pass over a square video.

    Of a stream, only one period and what is left over are run: every period costs the same.

    Raises:
        NotCounted: the network does not compute in torch, or looks at values to decide what to compute.
    """
    shape = Shape(encoder)
    if way != STREAM:
        return shape.run(way, frames, side_px)
    whole, rest = divmod(frames, period_of(encoder))
    total = whole * shape.run(way, period_of(encoder), side_px) if whole else 0.0
    return total + (shape.run(way, rest, side_px) if rest else 0.0)


class Shape:
    """An encoder without values: a copy on the "meta" device."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = copy.copy(encoder)
        for name, value in vars(encoder).items():
            if isinstance(value, nn.Module):
                tensors = (*value.parameters(), *value.buffers())
                # Where a deep copy meets one of these, it takes what stands in their place.
                memo: dict[int, Any] = {id(tensor): _without_values(tensor) for tensor in tensors}
                setattr(self._encoder, name, copy.deepcopy(value, memo))
        self._encoder.device = torch.device("meta")
        # Pixels are normalised by rules that look at values.
        self._encoder.prepare = self._prepare  # type: ignore[method-assign]

    def run(self, way: str, frames: int, side_px: int) -> float:
        """FLOPs of a pass over so many frames."""
        video = np.broadcast_to(np.uint8(0), (frames, side_px, side_px, 3))
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            try:
                consume(prepared(self._encoder, way, frames), video)
            except (RuntimeError, TypeError, ValueError) as error:
                raise NotCounted(f"it does not run without values: {str(error).splitlines()[0]}") from error
        total = counter.get_total_flops()
        if not total:
            raise NotCounted("it makes no product that torch sees")
        return float(total)

    def _prepare(self, frames: np.ndarray) -> Tensor:
        dtype = self._encoder.pixel_dtype or self._encoder.dtype
        return torch.empty(len(frames), 3, *frames.shape[1:3], dtype=dtype, device="meta")


def _without_values(tensor: Tensor) -> Tensor:
    shape = torch.empty_like(tensor, device="meta")
    return nn.Parameter(shape, requires_grad=False) if isinstance(tensor, nn.Parameter) else shape
