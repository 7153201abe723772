"""Losses and selection metrics of readouts: sums per replica and what to divide them by.

Each takes outputs [R, B, ...] of R replicas and the target of the batch, and gives (sum [R], count). Sums and counts
add up over parts of a batch and over processes, so that a mean over valid places is the same however it is divided.
"""

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Sums = tuple[Tensor, Tensor]
"""(sum [R], count): a mean is sum / count over all parts."""
Measure = Callable[[Tensor, Mapping[str, Tensor]], Sums]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """How the readout that reports is chosen among the replicas, on held-out training examples.

    Attributes:
        name: of the metric, as it is printed.
        measure: outputs and target -> (sum [R], count).
        higher_is_better: which way is better.
    """

    name: str
    measure: Measure
    higher_is_better: bool = True


def cross_entropy(outputs: Tensor, target: Mapping[str, Tensor]) -> Sums:
    """Softmax cross-entropy over clips: logits [R, B, K] and target["label"] int [B]. No label smoothing."""
    r, b, _ = outputs.shape
    labels = target["label"].long().expand(r, b)
    losses = F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none").view(r, b)
    return losses.sum(1), torch.tensor(float(b), device=outputs.device)


def top1(outputs: Tensor, target: Mapping[str, Tensor]) -> Sums:
    """Share of clips whose largest logit is that of their label, in 0..1: logits [R, B, K], target["label"] [B]."""
    hits = outputs.argmax(-1) == target["label"]
    return hits.sum(1).to(torch.float64), torch.tensor(float(hits.shape[1]), device=outputs.device)


def log_depth(outputs: Tensor, target: Mapping[str, Tensor]) -> Sums:
    """Squared error of the logarithm of depth, over valid pixels (paper, supplement: "L2 loss on log-scale depth").

    Outputs [R, B, T, H, W, 1] are log metres, target["depth"] [B, T, H, W] metres, target["valid"] bool of that shape.
    """
    valid = target["valid"]
    truth = torch.where(valid, target["depth"], 1.0).log()
    errors = torch.where(valid, outputs.squeeze(-1) - truth, 0.0).square()
    return errors.flatten(1).sum(1), valid.sum().float()


def abs_rel(outputs: Tensor, target: Mapping[str, Tensor]) -> Sums:
    """|prediction - depth| / (depth + 1e-6 m) over valid pixels, of log-metre outputs; shapes as in `log_depth`.

    Source: kauldron, `contrib/metrics/depth_estimation.py`: one sum and one count over all pixels, frames and clips.
    """
    valid = target["valid"]
    truth = torch.where(valid, target["depth"], 1.0)
    errors = torch.where(valid, (outputs.squeeze(-1).exp() - truth).abs() / (truth + 1e-6), 0.0)
    return errors.flatten(1).to(torch.float64).sum(1), valid.sum().float()
