"""The layers that the frame encoder, the recurrent core and the decoder share.

All residual streams, norms and gates are float32; only the weights of `Dense` may be bfloat16, and then their products.

Shape letters: B batch, N tokens (queries), M tokens (keys), D width, H heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from rvm_bench.nn.dense import Dense, DenseGelu


class Mlp(nn.Module):
    """stream + MLP(x), all [B, N, D]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.dense_in = DenseGelu(width, hidden)
        self.dense_out = Dense(hidden, width)

    def forward(self, stream: Tensor, x: Tensor) -> Tensor:
        return self.dense_out.add_to(stream, self.dense_in(x))


class SelfAttention(nn.Module):
    """stream + attention(x), all [B, N, D]; logits are scaled by 1 / sqrt(head_dim).

    With a mask, bool [B, 1, 1, N], no token attends to one that is false in it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Dense(width, 3 * width)
        self.out = Dense(width, width)

    def forward(self, stream: Tensor, x: Tensor, mask: Tensor | None = None) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
        return self.out.add_to(stream, attended.flatten(2))


class CrossAttention(nn.Module):
    """stream + attention of x, both [B * S, N, D], to keys and values [B, H, M, D / H] that were projected elsewhere.

    S sequences may share the keys of one video: their queries are laid end to end, so keys are never repeated.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = Dense(width, width)
        self.out = Dense(width, width)

    def forward(self, stream: Tensor, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query = self.query(x)
        query = query.view(key.shape[0], -1, self.heads, key.shape[-1]).transpose(1, 2)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        return self.out.add_to(stream, attended.reshape(x.shape))


class SelfBlock(nn.Module):
    """Pre-norm ViT block: self-attention, then MLP. May overwrite the stream it is given."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = SelfAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, hidden)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.attention(x, self.attention_norm(x), mask)
        return self.mlp(x, self.mlp_norm(x))


class CrossBlock(nn.Module):
    """Cross-attention, then MLP, then self-attention: the order of the released code (paper Listing 2 has another).

    May overwrite the stream it is given.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ca_attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.ca_attention = CrossAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, hidden)
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = SelfAttention(width, heads)

    def forward(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        x = self.ca_attention(x, self.ca_attention_norm(x), key, value)
        x = self.mlp(x, self.mlp_norm(x))
        return self.attention(x, self.attention_norm(x))


class Recomputing(nn.Module):
    """A stack of blocks that can keep only their inputs for the backward pass.

    Attributes:
        recompute: whether what a block computes is computed again in the backward pass, instead of being kept. Numbers
            do not change; the backward pass is half as long again, and memory falls (`rvm_bench.rvm.train.cost`).
    """

    recompute = False

    def run(self, block: nn.Module, *inputs: Tensor | None) -> Tensor:
        """What a block makes of its inputs."""
        if self.recompute and torch.is_grad_enabled():
            # Nothing is random in a block. The re-entrant kind runs without gradients, where streams are overwritten.
            return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
        return block(*inputs)


class CrossTransformer(Recomputing):
    """Cross-blocks over one context, and a final norm.

    The context is not normed per block, so the keys and values of all blocks are one matrix product.
    """

    def __init__(self, width: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.keys_values = Dense(width, layers * 2 * width)
        self.blocks = nn.ModuleList(CrossBlock(width, heads, hidden) for _ in range(layers))
        self.output_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Tokens [B * S, N, D] and context [B, M, D] -> float32 [B * S, N, D]."""
        x = x.clone(memory_format=torch.contiguous_format)  # the caller's tokens are not the stream to update
        keys_values = self.keys_values(context).unflatten(-1, (len(self.blocks), 2, self.heads, -1))
        for block, (key, value) in zip(self.blocks, keys_values.permute(2, 3, 0, 4, 1, 5), strict=True):
            x = self.run(block, x, key, value)
        return self.output_norm(x)
