"""The frame encoder: a plain ViT that sees one frame at a time, and the patch embedding before it."""

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.jax.layers import LayerNorm, SelfBlock


class PatchEmbedding(nn.Module):
    """[n, H, W, 3] -> [n, h, w, D]. The released convolution does not overlap, so it is one product per patch."""

    patch: int
    width: int

    @nn.compact
    def __call__(self, frames: jax.Array) -> jax.Array:
        count, height, width, _ = frames.shape
        side = self.patch
        patches = frames.reshape(count, height // side, side, width // side, side, 3)
        kernel = (1, side, side, 3, self.width)
        return nn.Einsum(kernel, "nhywxc,tyxcd->nhwd", name="Conv_0")(patches)


class Tokenizer(nn.Module):
    patch: int
    width: int

    @nn.compact
    def __call__(self, frames: jax.Array) -> jax.Array:
        return PatchEmbedding(self.patch, self.width, name="patch_embedding")(frames)


class FrameEncoder(nn.Module):
    """The ViT, without its embedding: float32 tokens [n, N, D] -> float32 [n, N, D]."""

    config: RVMConfig
    dtype: DTypeLike
    remat: bool

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        block = nn.remat(SelfBlock) if self.remat else SelfBlock
        for index in range(self.config.layers):
            tokens = block(self.config.heads, self.config.mlp, self.dtype, name=f"layers_{index}")(tokens)
        return LayerNorm(name="LayerNorm_0")(tokens)
