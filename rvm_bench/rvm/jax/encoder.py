"""The JAX RVM as a benchmark encoder: torch and the harness on this side, arrays and JAX behind `FrozenRVM`.

What it computes is what `rvm_bench.rvm.torch.encoder` computes, from the same files.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import RecurrentEncoder
from rvm_bench.rvm import loading
from rvm_bench.rvm.jax.frozen import FrozenRVM


class RVMEncoder(RecurrentEncoder):
    """A frozen RVM. The state is a float32 JAX array [B, 1 + h*w, D], for a video of any length.

    JAX computes on its own device of the same name (on a TPU where it has one and the name is "cpu"); features come
    back as torch tensors. The network is compiled once per frame size and count, so a video's last frames are filled up
    to a chunk with black ones, which nothing sees that is kept.
    """

    backend = "jax"
    pixel_dtype = torch.float32

    def __init__(self, card: EncoderCard, network: FrozenRVM, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.card = card
        self.network = network
        self.dtype = dtype
        self.options = {"backend": self.backend}

    def init_state(self, batch: int, height_px: int, width_px: int) -> Any:
        h, w = self.grid(height_px, width_px)
        return self.network.zero_state(batch, h * w)

    def step(self, frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        features, following = self.network.encode(_channels_last(frames)[:, None], state)
        return self._maps(np.array(features)[:, 0], frames), following

    def unroll(self, frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        count = len(frames)
        pixels = _channels_last(frames)
        if count < self.chunk:
            pixels = np.concatenate([pixels, np.zeros((self.chunk - count, *pixels.shape[1:]), np.float32)])
        features, _ = self.network.encode(pixels[None], state)
        # The features of a frame are the state after it.
        return self._maps(np.array(features)[0, :count], frames), features[:, count - 1]

    def reconstruct(self, source: Any, target: Any, deltas: Any, inds_restore: Any) -> Any:
        """See `rvm_bench.rvm.reconstruct`."""
        return self.network.reconstruct(source, target, deltas, inds_restore)

    def to(self, device: torch.device | str) -> Self:
        self.network.to(str(device))
        super().to(device)
        return self

    def _maps(self, features: np.ndarray, frames: Tensor) -> Tensor:
        """[n, 1 + h*w, D] -> [n, h, w, D] on the encoder's device, without CLS."""
        return torch.from_numpy(features[:, 1:]).unflatten(1, self.grid(*frames.shape[-2:])).to(self.device)


def _channels_last(frames: Tensor) -> np.ndarray:
    return frames.permute(0, 2, 3, 1).cpu().numpy()


def build(
    card: EncoderCard,
    weights: str | Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | str = "float32",
    seed: int = 0,
) -> RVMEncoder:
    """A loaded RVM that computes in JAX; see `rvm_bench.rvm.models.build`."""
    precision = loading.precision(dtype)
    arrays, origin = loading.read_weights(card, weights, seed)
    network = FrozenRVM(arrays, str(weights), precision)
    encoder = RVMEncoder(loading.sized(card, network.config, weights), network, getattr(torch, precision))
    encoder.weights = origin
    return encoder.to(device)
