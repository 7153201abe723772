"""Linear layers that compute in the dtype of their weights, and waste no memory traffic in float32 on a CPU.

A network built with them keeps its residual streams, norms and tokens in float32; `set_matmul_dtype` puts the matrix
products alone into bfloat16. RVM and the configurable ViT of the baselines share them.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GELU_ROWS = 64  # 64 x 1536 floats fit in a second-level cache


class Dense(nn.Linear):
    """A linear layer that computes, and answers, in the dtype of its weight."""

    def forward(self, input: Tensor) -> Tensor:
        if self.bias is not None and self.on_fast_path():
            return F.linear(input, self.weight).add_(self.bias)
        return F.linear(input.to(self.weight.dtype), self.weight, self.bias)

    def add_to(self, stream: Tensor, input: Tensor) -> Tensor:
        """stream + self(input), float32. The stream may be overwritten, so nothing else may hold it."""
        if self.on_fast_path():
            stream.view(-1, stream.shape[-1]).addmm_(input.view(-1, input.shape[-1]), self.weight.t())
            return stream.add_(self.bias)
        return stream + self(input)

    def add_scaled(self, stream: Tensor, input: Tensor, scale: Tensor) -> Tensor:
        """stream + scale * self(input), float32, with a factor per channel. The stream may be overwritten."""
        if self.on_fast_path():
            return stream.addcmul_(F.linear(input, self.weight), scale).add_(self.bias * scale)
        return torch.addcmul(stream, self(input).float(), scale)

    def on_fast_path(self) -> bool:
        """Float32 inference on a CPU, where memory traffic is what remains to be saved.

        There torch's own bias costs more than an addition in place: it first writes the bias over the whole output.
        Autocast makes products of another dtype, to which nothing can be added in place.
        """
        plain = not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
        return plain and self.weight.device.type == "cpu" and self.weight.dtype == torch.float32


class DenseGelu(Dense):
    """A linear layer and a GELU: "tanh" (as in JAX models; the erf is 8.5e-4 off at RVM) or "erf" (as in torch models).

    In float32 on a CPU, bias and GELU go in place over rows that stay in the cache. There torch's own tanh kernel is
    slower than the same formula, x sigmoid(2c (x + 0.044715 x^3)) with c = sqrt(2 / pi); its erf kernel is fast
    (`python benchmarks/rvm_forward.py`, `python benchmarks/encoders.py`).
    """

    def __init__(self, inputs: int, outputs: int, gelu: Literal["erf", "tanh"] = "tanh") -> None:
        super().__init__(inputs, outputs)
        self.gelu = gelu

    def forward(self, input: Tensor) -> Tensor:
        if not self.on_fast_path():
            return F.gelu(super().forward(input), approximate="tanh" if self.gelu == "tanh" else "none")
        hidden = F.linear(input, self.weight)
        scale = torch.tensor(2 * math.sqrt(2 / math.pi))
        for rows in hidden.view(-1, hidden.shape[-1]).split(GELU_ROWS):
            rows.add_(self.bias)
            if self.gelu == "tanh":
                rows.mul_(torch.addcmul(scale, rows, rows, value=0.044715 * float(scale)).mul_(rows).sigmoid_())
            else:
                torch.ops.aten.gelu_(rows)
        return hidden


def set_matmul_dtype(module: nn.Module, dtype: torch.dtype) -> None:
    """Puts the weights of every Dense layer inside in `dtype`; all else stays float32."""
    for layer in module.modules():
        if isinstance(layer, Dense):
            layer.to(dtype)
