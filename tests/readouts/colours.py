"""A training split small enough to see through: which colour is a clip of noise tinted with? And a frozen encoder."""

import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from readouts.fitting.feature_store import Cache
from readouts.fitting.fit import FitJob, fit
from readouts.fitting.optim import FitConfig
from readouts.fitting.sampling import Item
from readouts.heads.attention import ReadoutConfig
from readouts.losses import Selection, cross_entropy, top1
from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ImageEncoder
from rvm_bench.errors import DamagedFile

FRAMES, SIDE, WIDTH = 4, 8, 8
READOUT = ReadoutConfig(frames=FRAMES, channels=WIDTH, params=8, heads=2, outputs=3, queries=1)
SELECTION = Selection(name="top-1", measure=top1)


class Patches(ImageEncoder):
    """Features are a fixed random projection of the pixels of each patch."""

    card = EncoderCard(name="patches", family="toy", patch=4, width=WIDTH)
    chunk = 8

    def __init__(self, seed=0):
        super().__init__()
        self.net = torch.nn.Conv2d(3, WIDTH, 4, stride=4)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.net.parameters():
            torch.nn.init.normal_(parameter, generator=generator)
        self.seen = [0]  # shared with the copies that `at` makes

    def forward_frames(self, frames):
        self.seen[0] += len(frames)
        return self.net(frames).permute(0, 2, 3, 1)


@dataclass
class Colours:
    """Clips of noise, one channel of which is lighter. `augment` shifts them in time, and then none has a key."""

    count: int = 40
    augment: bool = False
    broken: int = -1

    @property
    def names(self):
        return [f"clip {index}" for index in range(self.count)]

    @property
    def distinct(self):
        return 0 if self.augment else self.count

    def describe(self):
        return {"count": self.count, "augment": self.augment}

    def preprocessing(self):
        return {"side": SIDE}

    def clip(self, index, shift=0):
        if index == self.broken:
            raise DamagedFile(f"clip{index}.mp4: no frame can be decoded")
        clip = np.random.default_rng([7, index]).integers(0, 190, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
        clip[..., index % 3] += 60
        return np.roll(clip, shift, axis=0)

    def train_item(self, index, rng):
        shift = int(rng.integers(FRAMES)) if self.augment else 0
        return self.item(index, lambda: self.clip(index, shift))

    def held_out_item(self, index):
        return self.item(index, lambda: self.clip(index))

    def item(self, index, clip):
        key = None if self.augment else f"clip {index}"
        return Item(clip=clip, target={"label": np.array(index % 3)}, key=key)


def recipe(**changes):
    facts = {"learning_rates": (1e-2, 3e-2), "steps": 12, "warmup_steps": 2, "batch": 8, "log_every": 5}
    return FitConfig(**(facts | {"held_out": 0.2, "held_out_least": 4} | changes))


def fit_colours(folder, *, source=None, config=None, loss=cross_entropy, cache=None, **options):
    defaults = {"encoder": Patches(), "selection": SELECTION, "readout": READOUT, "tensorboard": False}
    source, config = source or Colours(augment=cache is None), config or recipe()
    job = FitJob(source=source, config=config, loss=loss, folder=Path(folder), cache=cache, **(defaults | options))
    return fit(job)


def main(folder, kill_at=0, cache="", **changes):
    """Fits as a process of its own, which kills itself before the loss of the `kill_at`-th step is known."""
    calls = 0

    def loss(outputs, target):
        nonlocal calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return cross_entropy(outputs, target)

    loss.__qualname__ = "cross_entropy"
    torch.set_num_threads(1)
    config = recipe(checkpoint_every_s=0.0, **changes)
    fit_colours(folder, config=config, loss=loss, cache=Cache(folder=Path(cache)) if cache else None)


if __name__ == "__main__":
    import json

    logging.basicConfig(level="INFO")
    main(**json.loads(sys.argv[1]))
