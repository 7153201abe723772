"""The mean colour of every patch, times a gain, through a network of one layer."""

import torch

from rvm_bench.api import EncoderCard, ImageEncoder, Provenance


class Colour(ImageEncoder):
    card = EncoderCard(
        name="tiny-colour", family="tiny", patch=8, width=3, licence="MIT", source="tests/compat",
        taps={"propagation": "mean colour", "readout": "mean colour"},
    )  # fmt: skip

    def __init__(self, gain=1.0):
        self.mix = torch.nn.Linear(3, 3, bias=False)
        torch.nn.init.eye_(self.mix.weight)
        self.gain = gain
        self.weights = Provenance(kind="random", seed=0)
        self.options = {"gain": gain}

    def forward_frames(self, frames):
        pooled = torch.nn.functional.avg_pool2d(frames, self.card.patch).permute(0, 2, 3, 1)
        return self.mix(pooled) * self.gain


def build(weights=None, device="cpu", dtype="float32", gain=1.0):
    return Colour(float(gain))
