"""Label propagation written out in float64 without any of our code, and cases with and without ties to compare on."""

import numpy as np
import torch
from torch.nn import functional as F


def brute_force(
    features,
    heat,
    *,
    topk,
    radius,
    n_context,
    temperature,
    distance="euclidean",
    exempt_first=True,
    fill="first",
    keep_ties=False,
    first_from="propagated",
):
    """Whole affinity in float64, every slot written out, one query at a time: numpy [T, h, w, K]."""
    features, heat = np.asarray(features, np.float64), np.asarray(heat, np.float64)
    n_frames, h, w, width = features.shape
    n = h * w
    y, x = np.divmod(np.arange(n), w)
    dy, dx = np.abs(y[:, None] - y), np.abs(x[:, None] - x)
    apart = np.maximum(dy, dx) if distance == "chebyshev" else np.sqrt(dy**2 + dx**2)
    outside = apart >= radius
    rows, given_labels = features.reshape(n_frames, n, width), heat.reshape(n, -1)
    first = (rows[0], given_labels)
    queue = [first] * n_context if fill == "first" else []
    result = np.empty((n_frames, n, given_labels.shape[1]))
    for t in range(n_frames):
        affinity = np.stack([rows[t] @ context.T for context, _ in [first, *queue]], axis=1)
        affinity[:, 1:][np.broadcast_to(outside[:, None], (n, len(queue), n))] = -np.inf
        if not exempt_first:
            affinity[:, 0][outside] = -np.inf
        labels = np.concatenate([given_labels, *(label for _, label in queue)])
        for q, values in enumerate(affinity.reshape(n, -1)):
            order = np.argsort(-values, kind="stable")
            last = values[order[min(topk, len(values)) - 1]]
            kept = np.flatnonzero(values >= last) if keep_ties else order[:topk]
            weights = np.exp((values[kept] - values.max()) / temperature)
            result[t, q] = weights @ labels[kept] / weights.sum()
        if t == 0 and first_from == "given":
            result[0] = given_labels
        if fill == "first" or t > 0:
            queue = [*queue, (rows[t], result[t])]
        queue = queue[len(queue) - n_context :] if len(queue) > n_context else queue
    return result.reshape(n_frames, h, w, -1)


def random_case(shape, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    heat = torch.rand(*shape[1:3], 3, generator=generator)
    return F.normalize(torch.randn(shape, generator=generator), dim=-1), heat


def one_hot_case(shape, *, seed=0):
    """Tokens drawn from orthogonal unit vectors: exact products, and nearly every selection hangs on a tie."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(shape[-1], shape[:3], generator=generator)
    heat = torch.rand(*shape[1:3], 3, generator=generator)
    return F.one_hot(drawn, shape[-1]).float(), heat
