"""How long a fit will take, from one example."""

import torch
from torch import Tensor

from readouts.fitting.optim import FitConfig, Replicas
from readouts.fitting.sampling import Item
from readouts.fitting.step import Stopwatch
from readouts.heads.replicated import Sizes
from readouts.losses import Measure

CLIPS = 4
"""At most so many copies of the example are given to the heads at once; the time grows in proportion from there."""


def step_seconds(features: Tensor, item: Item, readout: Sizes, config: FitConfig, loss: Measure) -> float:
    """Seconds that all heads side by side take for a step on given features: forward, backward and update.

    Args:
        features: [T, N, D] of the example's clip, on the device that the fit will have.
        item: the example.
    """
    count, device = min(CLIPS, config.batch), features.device
    replicas = Replicas(readout, config, device)

    def copies(value: Tensor) -> Tensor:
        return value.to(device).expand(count, *value.shape)

    clips = copies(features)
    target = {name: copies(torch.as_tensor(value)) for name, value in item.target.items()}
    queries = None if item.queries is None else copies(torch.as_tensor(item.queries))
    # The first pass allocates memory and selects kernels; the second one is the estimate.
    for _ in range(2):
        stopwatch = Stopwatch(device)
        with stopwatch.section("gradient"):
            loss(replicas.outputs(clips, queries), target)[0].sum().backward()
        with stopwatch.section("update"):
            replicas.optimiser.step([peak for peak, _ in config.replicas])
    return stopwatch.seconds["gradient"] * config.batch / count + stopwatch.seconds["update"]
