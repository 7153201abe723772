"""RVM as a benchmark encoder: features are the core's output per patch, and the state lives as long as the video.

The authors read `features[0, 1:]` of every step (CLS dropped), carry the state over the whole video without reset, and
divide pixels by 255 and nothing more. Source: official evaluation notebook, RVM feature cell.
"""

import dataclasses
import hashlib
from pathlib import Path

import torch
from torch import Tensor

from rvm_bench.card import EncoderCard
from rvm_bench.dense import set_matmul_dtype
from rvm_bench.encoder import RecurrentEncoder
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.torch.model import RVM
from rvm_bench.rvm.torch.weights import from_arrays

SMALLEST = "rvm-s"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


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
    """A loaded RVM; the builder that the cards of `rvm_bench.rvm.models` name.

    Args:
        card: a named size, or the generic `rvm`, whose card is filled from the file.
        weights: path of an official `.npz`, or "random" for untrained weights of the card's size (of the smallest
            released one, where the card has none).
        dtype: "float32" (the reference) or "bfloat16".
        seed: of random weights.

    Raises:
        UserError: no weights, an unsound file, a file of another size than the card's, or an unknown dtype.
    """
    precision = _dtype(dtype)
    named = checkpoint.SIZES.get(card.name)
    if weights is None:
        raise UserError(f"{card.name} needs weights: the path of an official .npz, or 'random' for an untrained model")

    if weights == "random":
        arrays = checkpoint.random_arrays(named or checkpoint.SIZES[SMALLEST], seed)
        origin = {"kind": "random", "seed": seed} | ({} if named else {"size": SMALLEST})
        model = from_arrays(arrays, "random weights")
    else:
        path = Path(weights)
        arrays = checkpoint.read(path)
        model = from_arrays(arrays, str(path))
        if named is not None:
            _check_size(card.name, named, model.config, path)
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        origin = {"kind": "file", "path": path.name, "sha256": sha256}
    if named is None:
        millions = round(checkpoint.parameter_count(model.config) / 1e6, 1)
        card = dataclasses.replace(card, patch=model.config.patch, width=model.config.width, params_m=millions)

    encoder = RVMEncoder(card, model, precision)
    encoder.weights = origin
    encoder.to(device)
    return encoder


def _dtype(dtype: torch.dtype | str) -> torch.dtype:
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise unknown_name("dtype", name, DTYPES)
    return DTYPES[name]


def _check_size(name: str, named: RVMConfig, found: RVMConfig, path: Path) -> None:
    """The frame encoder must be the named one; the core's and decoder's sizes are whatever the file says."""
    fields = ("patch", "width", "layers", "heads")
    wrong = [
        f"{field} {getattr(found, field)} (expected {getattr(named, field)})"
        for field in fields
        if getattr(found, field) != getattr(named, field)
    ]
    if wrong:
        raise UserError(f"{path}: not a checkpoint of {name}: {', '.join(wrong)}; `--model rvm` takes any size")
