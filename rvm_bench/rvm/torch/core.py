"""The recurrent core: a gated transformer that carries one state per token from frame to frame.

With x the tokens of a frame and s the state:

    update = sigmoid(x Wiu + s Wsu)        reset = sigmoid(x Wir + s Wsr)        (no biases)
    h      = Transformer(x, context = reset * LN(s))                             (LN: eps 1e-4, scale only)
    out    = state = (1 - update) s + update h

Source: the authors' inference notebook. The paper's equations and Listing 1 have no LN on the state.
"""

import torch
from torch import Tensor, nn

from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.torch.layers import CrossTransformer


class GatedCore(nn.Module):
    def __init__(self, config: RVMConfig) -> None:
        super().__init__()
        width = config.width
        self.input_gates = nn.Linear(width, 2 * width, bias=False)
        self.state_gates = nn.Linear(width, 2 * width, bias=False)
        self.state_norm = nn.LayerNorm(width, eps=1e-4, bias=False)
        self.transformer = CrossTransformer(width, config.core_layers, config.core_heads, config.core_mlp)

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens [B, T, N, D] and a state [B, N, D] (None: zeros) -> features [B, T, N, D] and the last state.

        The input side of the gates is one product over all times; the rest is a scan. Both results are float32, and
        the features of a frame are the state after it.
        """
        carried = torch.zeros_like(tokens[:, 0]) if state is None else state
        features = []
        for x, input_gates in zip(tokens.unbind(1), self.input_gates(tokens).unbind(1), strict=True):
            gates = input_gates.float() + self.state_gates(carried).float()  # under autocast the products are bfloat16
            update, reset = torch.sigmoid(gates).chunk(2, dim=-1)
            candidate = self.transformer(x, reset * self.state_norm(carried))
            carried = torch.lerp(carried, candidate, update)
            features.append(carried)
        return torch.stack(features, dim=1), carried
