"""Heads that are trained side by side on the same features."""

import time

import torch
from torch import Tensor

from readouts.recipe import FitConfig, StackedAdamW
from readouts.replicas import Sizes


class Heads:
    """The heads of a fit, one for each learning rate and seed, as one module, and their optimiser.

    Attributes:
        module: with a leading axis of heads in every parameter.
        optimiser: of its parameters.
    """

    def __init__(self, readout: Sizes, config: FitConfig, device: torch.device) -> None:
        seeds = tuple(seed for _, seed in config.replicas)
        self.config, self.device = config, device
        self.module = readout.build(replicas=len(seeds), seeds=seeds, chunk=config.query_chunk)
        self.module.to(device)
        self.optimiser = StackedAdamW(self.module, len(seeds), config)

    def outputs(self, features: Tensor, queries: Tensor | None) -> Tensor:
        """Float32 [R, B, ...] of features [B, T, N, D] and queries [B, Q, query_channels]."""
        half = self.config.autocast == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            return self.module.outputs(features, queries).float()


def clock(device: torch.device, *, wait: bool = True) -> float:
    """Seconds; an accelerator works behind our back, so what it was given is waited for."""
    if wait and device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
