"""A recurrent encoder: the mean colour of each patch, and its difference from the frame before."""

import torch
from torch.nn.functional import avg_pool2d

from rvm_bench.api import EncoderCard, Provenance, RecurrentEncoder, UserError


class Differences(RecurrentEncoder):
    def __init__(self, card: EncoderCard, gain: float) -> None:
        self.card = card
        self.gain = gain
        self.weights = Provenance(kind="none")
        self.options = {"gain": gain}

    def init_state(self, batch: int, height_px: int, width_px: int) -> torch.Tensor:
        return torch.zeros(batch, 3, *self.grid(height_px, width_px), device=self.device, dtype=self.dtype)

    def step(self, frames: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        colour = avg_pool2d(frames, self.card.patch)
        features = torch.cat([colour, self.gain * (colour - state)], dim=1)
        return features.permute(0, 2, 3, 1), colour


def build(card: EncoderCard, device: str = "cpu", dtype: str = "float32", gain: float = 0.1) -> Differences:
    if gain < 0:
        raise UserError(f"gain={gain}: expected at least 0")
    encoder = Differences(card, gain)
    encoder.dtype = getattr(torch, dtype)
    return encoder
