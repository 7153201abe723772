"""Small encoders that do what they should, and what the doctor says of an encoder."""

import torch
from torch import nn

from rvm_bench.api.card import EncoderCard, Provenance
from rvm_bench.api.encoder import ClipEncoder, ImageEncoder, RecurrentEncoder
from rvm_bench.doctor import Level, examine

P, D = 4, 12


def card(**changes):
    facts = {"name": "toy", "family": "toy", "patch": P, "width": D, "licence": "none", "source": "these tests"}
    return EncoderCard(**(facts | changes))


def projection(seed=0):
    """A fixed linear map of every P x P patch to D channels."""
    generator = torch.Generator().manual_seed(seed)
    conv = nn.Conv2d(3, D, P, P)
    for parameter in conv.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / P
    return conv


class Image(ImageEncoder):
    card = card(params_m=0.000588)
    weights = Provenance(kind="random", seed=0)

    def __init__(self):
        super().__init__()
        self.net = projection()

    def forward_frames(self, frames):
        return self.net(frames).permute(0, 2, 3, 1)


class Clip(ClipEncoder):
    """Two-frame tubes, and a little of the clip's mean in every token, as attention would mix it in."""

    card = card(frames=16, causal=False, params_m=0.000588)
    weights = Provenance(kind="random", seed=0)

    def __init__(self):
        super().__init__()
        self.net = projection()

    def forward_clip(self, clips):
        frames = torch.stack([self.net(clip) for clip in clips.transpose(1, 2)])  # [B, 16, D, h, w]
        tubes = frames.unflatten(1, (8, 2)).mean(2).permute(0, 1, 3, 4, 2)
        return tubes + 0.1 * tubes.mean((1, 2, 3), keepdim=True)


class Recurrent(RecurrentEncoder):
    card = card(params_m=0.000588)
    weights = Provenance(kind="random", seed=0)

    def __init__(self):
        super().__init__()
        self.net = projection()

    def init_state(self, batch, height_px, width_px):
        return torch.zeros(batch, height_px // P, width_px // P, D)

    def step(self, frames, state):
        state = 0.5 * state + self.net(frames).permute(0, 2, 3, 1)
        return state, state


def failed(make, *, reload=True, **options):
    """Names of the checks that fail, and all verdicts by name."""
    encoder = make().to("cpu")
    verdicts = {v.check: v for v in examine(encoder, reload=(lambda: make().to("cpu")) if reload else None, **options)}
    return {name for name, v in verdicts.items() if v.level is Level.FAIL}, verdicts
