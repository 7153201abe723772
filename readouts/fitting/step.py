"""One update of all replicas on one batch, and how its time is measured."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from readouts.fitting.optim import Replicas
from readouts.losses import Measure

SMALLEST_COUNT = 1e-12
"""Divisor of a batch in which nothing is valid, so that its loss is 0 and not NaN."""


class Part(NamedTuple):
    """A part of a batch, on the device: features [B, T, N, D], queries [B, Q, C] or None, and the target by name."""

    features: Tensor
    queries: Tensor | None
    target: Mapping[str, Tensor]


def train_step(
    replicas: Replicas,
    parts: Iterable[Part],
    loss: Measure,
    rates: Sequence[float],
    all_reduce: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> Tensor:
    """Updates every replica once, by the gradient of the mean loss over the whole batch.

    The result depends on the arguments alone, and `replicas` is all that changes. A batch may be divided into parts and
    over processes in any way: sums are added first and divided once.

    Args:
        replicas: R heads side by side and their optimiser.
        parts: of this process. Features are computed as they are iterated over, so that one part is in memory.
        loss: outputs [R, B, ...] and target -> (sum [R], count).
        rates: learning rate of each replica.
        all_reduce: sums a tensor over processes in place and returns it.

    Returns:
        Mean loss of each replica, float64 [R].
    """
    optimiser = replicas.optimiser
    optimiser.gradient.zero_()
    # The last element counts what was summed.
    sums = torch.zeros(len(rates) + 1, dtype=torch.float64, device=optimiser.gradient.device)
    for features, queries, target in parts:
        total, count = loss(replicas.outputs(features, queries), target)
        # Replicas share no parameter, so the gradient of the sum holds that of each.
        total.sum().backward()
        sums[:-1] += total.detach()
        sums[-1] += count
    all_reduce(optimiser.gradient)
    all_reduce(sums)
    count = sums[-1].clamp(min=SMALLEST_COUNT)
    optimiser.gradient.div_(count)
    optimiser.step(rates)
    return sums[:-1] / count


class Stopwatch:
    """Seconds spent in named sections.

    CUDA is asynchronous: the device is synchronised before each reading of the clock.

    Attributes:
        seconds: by section.
    """

    def __init__(self, device: torch.device, seconds: Mapping[str, float] | None = None) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float, seconds or {})

    @contextlib.contextmanager
    def section(self, name: str, *, enabled: bool = True) -> Iterator[None]:
        """Adds the time of the `with` block to a section; with `enabled` false nothing is measured or synchronised."""
        if not enabled:
            yield
            return
        start = self._read()
        try:
            yield
        finally:
            self.seconds[name] += self._read() - start

    def _read(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
