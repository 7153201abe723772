"""The recurrent core: a gated transformer that carries one state per token from frame to frame.

With x the tokens of a frame and s the state:

    update = sigmoid(x Wiu + s Wsu)        reset = sigmoid(x Wir + s Wsr)        (no biases)
    out    = state = (1 - update) s + update Transformer(x, context = reset * LN(s))      (LN: eps 1e-4, scale only)

Source: the authors' inference notebook. The paper's equations and Listing 1 have no LN on the state.
"""

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.jax.layers import CrossTransformer


class GatedCore(nn.Module):
    """One step: state and tokens, both [B, N, D] -> the next state, twice (it is the output)."""

    config: RVMConfig
    dtype: DTypeLike
    remat: bool

    @nn.compact
    def __call__(self, state: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        config = self.config

        def gate(kind: str) -> jax.Array:
            from_input = nn.Dense(config.width, use_bias=False, name=f"input_{kind}")(x)
            return nn.sigmoid(from_input + nn.Dense(config.width, use_bias=False, name=f"state_{kind}")(state))

        update, reset = gate("update"), gate("reset")
        context = reset * nn.LayerNorm(epsilon=1e-4, use_bias=False, name="state_layer_norm")(state)
        candidate = CrossTransformer(
            config.core_layers, config.core_heads, config.core_mlp, self.dtype, self.remat, name="transformer"
        )(x, context)
        state = (1 - update) * state + update * candidate
        return state, state
