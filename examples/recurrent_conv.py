"""A plug-in backbone with a memory: a patch convolution and a gated recurrent cell, untrained, from a stated seed.

rvm-bench run --model examples/recurrent_conv.py:RecurrentConv --task davis --data demo
"""

import torch

from rvm_bench.api import EncoderCard, Provenance, RecurrentEncoder


class RecurrentConv(RecurrentEncoder):
    card = EncoderCard(
        name="recurrent-conv", family="mine", patch=16, width=64, params_m=0.0575, licence="MIT", source="my lab",
        pixel_mean=(0.5, 0.5, 0.5), pixel_std=(0.5, 0.5, 0.5),
    )  # fmt: skip

    def __init__(self, seed=0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.patches, self.gate = torch.nn.Conv2d(3, 64, 16, stride=16), torch.nn.Conv2d(128, 64, 1)
        self.weights = Provenance(kind="random", seed=seed)

    def init_state(self, batch, height_px, width_px):  # before the first frame
        return torch.zeros(batch, 64, *self.grid(height_px, width_px), device=self.device)

    def step(self, frames, state):  # normalised [B, 3, H, W] -> features [B, H // 16, W // 16, 64], next state
        new = self.patches(frames)
        keep = torch.sigmoid(self.gate(torch.cat([new, state], dim=1)))
        state = keep * state + (1 - keep) * new
        return state.permute(0, 2, 3, 1), state
