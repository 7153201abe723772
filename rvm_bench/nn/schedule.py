"""The learning rate over time, for every fitter of the project: plain Python, so that torch and JAX share it."""

import math


def warmup_cosine(step: int, *, peak: float, final: float, warmup_steps: int, steps: int) -> float:
    """Learning rate of the update that follows `step` updates: linear from 0 to `peak`, then half a cosine to `final`.

    It is `peak` at `warmup_steps` (optax's `warmup_cosine_decay_schedule` from 0). It is defined for 0 <= step <= steps
    and 0 <= warmup_steps < steps, which the recipes check. The caller hands the number to the optimiser at each step.
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    done = (step - warmup_steps) / (steps - warmup_steps)
    return final + (peak - final) * (1 + math.cos(math.pi * done)) / 2
