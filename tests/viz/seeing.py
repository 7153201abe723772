"""Encoders that are simple enough to know what they can see."""

import torch
from torch.nn import functional as F

from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ImageEncoder, RecurrentEncoder


class Motion(RecurrentEncoder):
    """Sees motion alone: how much each cell changed since the frame before, beside a constant."""

    card = EncoderCard(name="motion", family="seeing", patch=8, width=2)

    def init_state(self, batch, height_px, width_px):
        return None

    def step(self, frames, state):
        change = torch.zeros_like(frames) if state is None else (frames - state).abs()
        energy = F.avg_pool2d(change.mean(1, keepdim=True), self.card.patch)
        return torch.cat([energy, torch.full_like(energy, 0.1)], 1).permute(0, 2, 3, 1), frames


class Colour(ImageEncoder):
    """The mean colour of each cell, as it is or with its channels turned round, and any number of cells."""

    def __init__(self, patch=8, gains=(1.0, 1.0, 1.0), order=(0, 1, 2)):
        super().__init__()
        self.card = EncoderCard(name=f"colour-{patch}", family="seeing", patch=patch, width=3)
        self.gains, self.order = torch.tensor(gains), list(order)

    def forward_frames(self, frames):
        patch = self.card.patch
        return (F.avg_pool2d(frames, patch).permute(0, 2, 3, 1) * self.gains)[..., self.order]


def motion():
    return Motion()
