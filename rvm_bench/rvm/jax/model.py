"""RVM as released, in flax: its parameter tree is the tree of the official npz, name for name.

Source: arXiv 2512.13684 and the authors' inference notebook; where the two differ, the notebook (it is what the
checkpoints fit). Shape letters: B videos, T source frames, TT target frames, N = h*w patches, D width.
"""

import contextlib
from contextlib import AbstractContextManager

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from rvm_bench.errors import UserError
from rvm_bench.nn.sinusoids import sinusoid_table
from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.jax.core import GatedCore
from rvm_bench.rvm.jax.layers import CrossTransformer
from rvm_bench.rvm.jax.positions import encoder_positions
from rvm_bench.rvm.jax.vit import FrameEncoder, Tokenizer
from rvm_bench.rvm.masking import MASK_RATIO, visible_count


class Detokenizer(nn.Module):
    """[n, N, D] -> [n, N, P * P * 3], in the dtype of its input."""

    patch: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        return nn.Dense(self.patch**2 * 3, dtype=tokens.dtype, name="Dense_0")(tokens)


class RVM(nn.Module):
    """The whole network. `encode` gives features, `reconstruct` pixels; both take frames as uint8 or in [0, 1].

    Its weights come from a checkpoint, or for training from scratch from `rvm_bench.rvm.train.initial`
    (`rvm_bench.rvm.jax.weights.from_arrays` takes both).

    Attributes:
        config: every size.
        dtype: float32, in which no device may round the factors of a product (TPUs do by default, and GPUs to TF32); or
            bfloat16, the released policy: bfloat16 norms and products inside blocks, all else float32.
        remat: compute the activations of every block again in the backward pass instead of keeping them.
    """

    config: RVMConfig
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    def setup(self) -> None:
        config = self.config
        zeros = nn.initializers.zeros
        self.cls_token = self.param("cls_token", zeros, (1, config.width))
        self.mask_token = self.param("mask_token", zeros, (1, config.decoder_width))
        self.tokenizer = Tokenizer(config.patch, config.width)
        self.encoder = FrameEncoder(config, self.dtype, self.remat)
        over_time = nn.scan(GatedCore, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        self.rnn_core = over_time(config, self.dtype, self.remat)
        self.decoder_embedder = nn.Dense(config.decoder_width)
        self.delta_embedder = nn.Dense(config.decoder_width)
        self.decoder = CrossTransformer(
            config.decoder_layers, config.decoder_heads, config.decoder_mlp, self.dtype, self.remat
        )
        self.detokenizer = Detokenizer(config.patch)

    def encode(self, frames: jax.Array, state: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Frames [B, T, H, W, 3] and the state [B, 1 + N, D] before them -> features [B, T, 1 + N, D] and the last one.

        CLS is the first token. Both results are float32, and the features of a frame are the state after it. The frames
        go through the ViT together and only the core is a scan. None is the zero state.
        """
        with self._precision():
            batch, times = frames.shape[:2]
            embedded = self._embed(frames)
            tokens = self._encode(embedded.reshape(batch * times, -1, embedded.shape[-1]))
            tokens = tokens.reshape(batch, times, *tokens.shape[1:])
            following, features = self.rnn_core(jnp.zeros_like(tokens[:, 0]) if state is None else state, tokens)
            return features, following

    def reconstruct(
        self,
        source: jax.Array,
        target: jax.Array,
        deltas: jax.Array | None,
        inds_restore: jax.Array,
        mask_ratio: float = MASK_RATIO,
    ) -> jax.Array:
        """Target frames decoded from the sources and 5 % of the targets' own patches: float32 [B, TT, H', W', 3].

        H' and W' are H and W less what is beyond the last whole patch. Every target attends to all tokens of all
        sources, without a code for their place or time, and their keys and values are projected once for all targets.
        Values cannot be refused in a compiled program: a delta out of range, or an index beyond the patches, gives NaN.

        Args:
            source: [B, T, H, W, 3].
            target: [B, TT, H, W, 3]. Its visible patches pass through the ViT only, not the core.
            deltas: int [B, TT] in [0, delta_bins), or None, which leaves the code of time out.
            inds_restore: int [B, TT, N] as `rvm_bench.rvm.masking` draws them.
            mask_ratio: share of a target's patches that is hidden; a Python number.

        Raises:
            UserError: `inds_restore` of another shape.
        """
        with self._precision():
            embedded = self._embed(target)
            _, h, w, width = embedded.shape
            batch, targets, patches = *target.shape[:2], h * w
            if inds_restore.shape != (batch, targets, patches):
                raise UserError(
                    f"inds_restore has shape {inds_restore.shape}; expected {(batch, targets, patches)} "
                    "= [batch, targets, patches]"
                )
            order = inds_restore.reshape(batch * targets, patches, 1)
            shuffle = jnp.argsort(order, axis=1)[:, : visible_count(patches, mask_ratio)]
            visible = jnp.take_along_axis(embedded.reshape(-1, patches, width), shuffle, axis=1)
            visible = self.decoder_embedder(self._encode(visible))
            cls_token, visible = visible[:, :1], visible[:, 1:]

            hidden = (batch * targets, patches - visible.shape[1], visible.shape[-1])
            shuffled = jnp.concatenate([visible, jnp.broadcast_to(self.mask_token, hidden)], axis=1)
            tokens = jnp.take_along_axis(shuffled, order, axis=1) + sinusoid_table(patches, shuffled.shape[-1])
            if deltas is not None:
                tokens = tokens + self._delta_code(deltas.reshape(-1, 1))

            features, _ = self.encode(source)
            context = self.decoder_embedder(features.reshape(batch, -1, features.shape[-1]))
            tokens = self.decoder(jnp.concatenate([cls_token, tokens], axis=1), context)
            pixels = self.detokenizer(tokens[:, 1:]).astype(jnp.float32)
            side = self.config.patch
            pixels = pixels.reshape(batch, targets, h, w, side, side, 3).swapaxes(3, 4)
            return pixels.reshape(batch, targets, h * side, w * side, 3)

    def _embed(self, frames: jax.Array) -> jax.Array:
        """[B, T, H, W, 3] -> [B * T, h, w, D]: patches with positions."""
        pixels = unit_pixels(frames, self.config.patch)
        tokens = self.tokenizer(pixels.reshape(-1, *pixels.shape[2:]))
        _, h, w, width = tokens.shape
        return tokens + encoder_positions((h, w), width)

    def _encode(self, tokens: jax.Array) -> jax.Array:
        """Any subset of embedded patches [n, N, D] -> [n, 1 + N, D]. CLS is put first and has no position."""
        cls_token = jnp.broadcast_to(self.cls_token, (len(tokens), 1, tokens.shape[-1]))
        return self.encoder(jnp.concatenate([cls_token, tokens], axis=1))

    def _delta_code(self, deltas: jax.Array) -> jax.Array:
        """[n, 1] -> [n, 1, decoder_width]."""
        bins = self.config.delta_bins
        code = self.delta_embedder(jax.nn.one_hot(deltas, bins))
        return jnp.where(((deltas >= 0) & (deltas < bins))[..., None], code, jnp.nan)

    def _precision(self) -> AbstractContextManager[object]:
        if self.dtype == jnp.float32:
            return jax.default_matmul_precision("highest")
        return contextlib.nullcontext()


def unit_pixels(frames: jax.Array, patch: int) -> jax.Array:
    """Frames [..., H, W, 3], uint8 or in [0, 1] -> float32 in [0, 1], without what is beyond the last whole patch."""
    height, width = (side // patch * patch for side in frames.shape[-3:-1])
    pixels = frames[..., :height, :width, :].astype(jnp.float32)
    return pixels / 255 if frames.dtype == jnp.uint8 else pixels
