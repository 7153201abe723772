"""Encoders whose cost is known: they sleep and hold memory as their comments say, and compute next to nothing."""

import time

import numpy as np
import torch

from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ClipEncoder, RecurrentEncoder

STEP_S = 0.004
STEP_MB = 3


def means(frames):
    return torch.nn.functional.avg_pool2d(frames, 16).permute(0, 2, 3, 1)


class Steady(RecurrentEncoder):
    """The same time for every frame, and a state that does not grow."""

    card = EncoderCard(name="steady", family="steady", patch=16, width=3)

    def init_state(self, batch, height_px, width_px):
        return None

    def step(self, frames, state):
        time.sleep(STEP_S)
        return means(frames), state


class Hoarder(Steady):
    """Keeps `STEP_MB` for every frame that it has seen."""

    card = EncoderCard(name="hoarder", family="hoarder", patch=16, width=3)

    def init_state(self, batch, height_px, width_px):
        return []

    def step(self, frames, state):
        return means(frames), [*state, np.ones(STEP_MB * 10**6, np.uint8)]


class Windows(ClipEncoder):
    """The same time for every frame pair of a clip with every other, and windows of 8."""

    card = EncoderCard(name="windows", family="windows", patch=16, width=3, frames=8)

    def forward_clip(self, clips):
        time.sleep(clips.shape[2] ** 2 * 5e-5)
        return torch.stack([means(clip.transpose(0, 1)) for clip in clips])


class Rigid(Windows):
    """Takes windows of 8 and nothing else."""

    card = EncoderCard(name="rigid", family="rigid", patch=16, width=3, frames=8)

    def forward_clip(self, clips):
        if clips.shape[2] != 8:
            raise ValueError("positions for 8 frames only")
        return super().forward_clip(clips)
