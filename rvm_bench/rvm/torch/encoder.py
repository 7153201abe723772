"""RVM as a benchmark encoder: features are the core's output per patch, and the state lives as long as the video.

The authors read `features[0, 1:]` of every step (CLS dropped), carry the state over the whole video without reset, and
divide pixels by 255 and nothing more. Source: official evaluation notebook, RVM feature cell.
"""

from pathlib import Path

import torch
from torch import Tensor

from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import RecurrentEncoder
from rvm_bench.nn.dense import set_matmul_dtype
from rvm_bench.rvm import loading
from rvm_bench.rvm.torch.model import RVM
from rvm_bench.rvm.torch.weights import from_arrays


class RVMEncoder(RecurrentEncoder):
    """A frozen RVM. The state is float32 [B, 1 + h*w, D] for a video of any length; CLS is its first token.

    In bfloat16 the attention and MLP products are bfloat16; pixels, patch embedding, residual streams, norms, gates and
    the state stay float32, close to the released JAX model's own policy (features within 2e-2 of float32). On a CPU
    without native bfloat16 it is several times slower than float32.
    """

    pixel_dtype = torch.float32

    def __init__(self, card: EncoderCard, model: RVM, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.card = card
        self.dtype = dtype
        self.model = model.eval().requires_grad_(False)
        set_matmul_dtype(self.model, dtype)

    def init_state(self, batch: int, height_px: int, width_px: int) -> Tensor:
        h, w = self.grid(height_px, width_px)
        return torch.zeros(batch, 1 + h * w, self.card.width, device=self.device)

    @torch.inference_mode()
    def step(self, frames: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        features, following = self.model(frames[:, None], state)
        return self._maps(features[:, 0], frames), following

    @torch.inference_mode()
    def unroll(self, frames: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        features, following = self.model(frames[None], state)
        return self._maps(features[0], frames), following

    def _maps(self, features: Tensor, frames: Tensor) -> Tensor:
        """[n, 1 + h*w, D] -> [n, h, w, D], without CLS."""
        return features[:, 1:].unflatten(1, self.grid(*frames.shape[-2:]))


def build(
    card: EncoderCard,
    weights: str | Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | str = "float32",
    seed: int = 0,
) -> RVMEncoder:
    """A loaded RVM that computes in torch; see `rvm_bench.rvm.models.build`."""
    precision = loading.precision(dtype)
    arrays, origin = loading.read_weights(card, weights, seed)
    model = from_arrays(arrays, "random weights" if weights == "random" else str(weights))
    encoder = RVMEncoder(loading.sized(card, model.config, weights), model, getattr(torch, precision))
    encoder.weights = origin
    encoder.to(device)
    return encoder
