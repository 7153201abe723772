"""The layers that the frame encoder, the recurrent core and the decoder share, named as in the released checkpoint.

Parameters, residual streams and softmax are float32. `dtype` is that of the norms inside blocks, and every Dense
computes in the dtype of its input; so in bfloat16 the queries and the MLPs are bfloat16, as are the keys and values of
self-attention, while the attention's output is float32. Source: the authors' inference notebook.

Shape letters: B batch, N tokens (queries), M tokens (keys), D width, H heads, C head_dim.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

LayerNorm = functools.partial(nn.LayerNorm, epsilon=1e-6)


class Mlp(nn.Module):
    """[B, N, D] -> [B, N, D], with flax's default GELU, the tanh one."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = nn.gelu(nn.Dense(self.hidden, dtype=x.dtype, name="dense_in")(x))
        return nn.Dense(x.shape[-1], dtype=x.dtype, name="dense_out")(hidden)


class Attention(nn.Module):
    """Attention of [B, N, D] to a context [B, M, D] -> float32 [B, N, D]; logits are scaled by 1 / sqrt(C)."""

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        width = x.shape[-1]

        def project(name: str, tokens: jax.Array) -> jax.Array:
            return nn.DenseGeneral((self.heads, width // self.heads), dtype=tokens.dtype, name=name)(tokens)

        query, key, value = project("query", x), project("key", context), project("value", context)
        query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)
        logits = jnp.einsum("BNHC,BMHC->BHNM", query, key, preferred_element_type=jnp.float32)
        attended = jnp.einsum("BHNM,BMHC->BNHC", jax.nn.softmax(logits), value.astype(jnp.float32))
        return nn.DenseGeneral(width, axis=(-2, -1), dtype=attended.dtype, name="out")(attended)


class SelfBlock(nn.Module):
    """Pre-norm ViT block: self-attention, then MLP. float32 [B, N, D] -> float32 [B, N, D]."""

    heads: int
    hidden: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        normed = LayerNorm(dtype=self.dtype, name="attention_norm")(x)
        x = x + Attention(self.heads, name="attention")(normed, normed)
        return x + Mlp(self.hidden, name="mlp")(LayerNorm(dtype=self.dtype, name="mlp_norm")(x))


class CrossBlock(nn.Module):
    """Cross-attention, then MLP, then self-attention: the order of the released code (paper Listing 2 has another).

    Tokens [B * S, N, D] and a context [B, M, D] -> [B * S, N, D]. S sequences may share the context of one video: their
    queries are laid end to end, so the context is projected to keys and values once.
    """

    heads: int
    hidden: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        queries = LayerNorm(dtype=self.dtype, name="ca_attention_norm")(x)
        queries = queries.reshape(context.shape[0], -1, x.shape[-1])
        x = x + Attention(self.heads, name="ca_attention")(queries, context).reshape(x.shape)
        x = x + Mlp(self.hidden, name="mlp")(LayerNorm(dtype=self.dtype, name="mlp_norm")(x))
        normed = LayerNorm(dtype=self.dtype, name="attention_norm")(x)
        return x + Attention(self.heads, name="attention")(normed, normed)


class CrossTransformer(nn.Module):
    """Cross-blocks over one context, which is not normed per block, and a final norm, whose output has `dtype`.

    With `remat`, a block's activations are computed again in the backward pass instead of being kept.
    """

    layers: int
    heads: int
    hidden: int
    dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        block = nn.remat(CrossBlock) if self.remat else CrossBlock
        for index in range(self.layers):
            x = block(self.heads, self.hidden, self.dtype, name=f"xa_blocks_{index}")(x, context)
        return LayerNorm(dtype=self.dtype, name="output_norm")(x)
