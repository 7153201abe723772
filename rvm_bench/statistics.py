"""Error bars: bootstrap intervals over videos."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def bootstrap_interval(
    records: Sequence[Any],
    statistic: Callable[[Sequence[Any]], float],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """An interval for a statistic of records, resampling whole videos with replacement.

    A video is the unit of sampling: objects and frames of one video are not independent. The percentile interval is
    widened for small samples by the expanded-percentile rule: its tail probability is Phi(-t * sqrt(n / (n - 1))) with
    t the Student quantile of n - 1 degrees of freedom, which makes the interval of a mean match the t interval.
    Source: T. Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69(4), 2015.

    Args:
        records: one entry per video.
        statistic: maps any multiset of records to a number.
        level: nominal coverage.
        draws: bootstrap samples.
        seed: of the resampling; the same records give the same interval.

    Returns:
        (low, high) in the statistic's unit, or None for fewer than two videos.
    """
    from scipy.special import ndtr, stdtrit

    count = len(records)
    if count < 2:
        return None
    tail = float(ndtr(stdtrit(count - 1, (1 - level) / 2) * math.sqrt(count / (count - 1))))
    picks = np.random.default_rng(seed).integers(count, size=(draws, count))
    values = [statistic([records[i] for i in pick]) for pick in picks]
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
