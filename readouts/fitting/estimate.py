"""How long a fit will take, from one example."""

import torch
from torch import Tensor

from readouts.fitting.optim import FitConfig, Replicas
from readouts.fitting.sampling import Item
from readouts.fitting.step import Stopwatch
from readouts.heads.replicated import Sizes
from readouts.losses import Measure

CLIPS = 4
"""At most so many copies of the example are in the timed batch; the time is scaled to the batch size."""


def step_seconds(features: Tensor, item: Item, readout: Sizes, config: FitConfig, loss: Measure) -> float:
    """Seconds of one step of all replicas on given features: forward, backward and update.

    Args:
        features: [T, N, D] of the example's clip, on the device of the fit.
        item: the example.
        readout, config, loss: as in `FitJob`.
    """
    count, device = min(CLIPS, config.batch), features.device
    replicas = Replicas(readout, config, device)

    def copies(value: Tensor) -> Tensor:
        return value.to(device).expand(count, *value.shape)

    clips = copies(features)
    target = {name: copies(torch.as_tensor(value)) for name, value in item.target.items()}
    queries = None if item.queries is None else copies(torch.as_tensor(item.queries))
    # The first step also allocates memory and selects kernels; the second one is the estimate.
    for _ in range(2):
        stopwatch = Stopwatch(device)
        with stopwatch.section("gradient"):
            loss(replicas.outputs(clips, queries), target)[0].sum().backward()
        with stopwatch.section("update"):
            replicas.optimiser.step([peak for peak, _ in config.replicas])
    return stopwatch.seconds["gradient"] * config.batch / count + stopwatch.seconds["update"]
