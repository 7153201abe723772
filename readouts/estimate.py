"""How long a fit will take, from one example."""

import time

import torch
from torch import Tensor

from readouts.losses import Measure
from readouts.recipe import FitConfig, StackedAdamW
from readouts.replicas import Sizes
from readouts.sampling import Item

CLIPS = 4
"""At most so many copies of the example are given to the heads at once; the time grows in proportion from there."""


def step_seconds(features: Tensor, item: Item, readout: Sizes, config: FitConfig, loss: Measure) -> float:
    """Seconds that all heads side by side take for a step on given features: forward, backward and update.

    Args:
        features: [T, N, D] of the example's clip, on the device that the fit will have.
        item: the example.
    """
    replicas, count = config.replicas, min(CLIPS, config.batch)
    seeds = tuple(seed for _, seed in replicas)
    module = readout.build(replicas=len(replicas), seeds=seeds, chunk=config.query_chunk).to(features.device)
    optimiser = StackedAdamW(module, len(replicas), config)
    clips = features.expand(count, *features.shape)
    target = {name: _copies(torch.as_tensor(value), clips) for name, value in item.target.items()}
    queries = None if item.queries is None else _copies(torch.as_tensor(item.queries), clips)
    # The second pass counts; the first has what is only done once.
    for _ in range(2):
        start = _clock(features)
        with torch.autocast(features.device.type, torch.bfloat16, enabled=config.autocast == "bfloat16"):
            outputs = module.outputs(clips, queries).float()
        loss(outputs, target)[0].sum().backward()
        passed = _clock(features)
        optimiser.step([peak for peak, _ in replicas])
        updated = _clock(features)
    return (passed - start) * config.batch / count + updated - passed


def _copies(value: Tensor, clips: Tensor) -> Tensor:
    return value.to(clips.device).expand(len(clips), *value.shape)


def _clock(features: Tensor) -> float:
    if features.is_cuda:
        torch.cuda.synchronize(features.device)
    return time.perf_counter()
