"""Losses and the selection metric of boxes, in the form of `readouts.losses`: sums per replica and what to divide by.

All take raw outputs [R, B, T, Q, 4] of a `BoxHead`, (ymin, xmin, ymax, xmax) of the picture in [0, 1], and the target
"boxes" [B, T, Q, 4] in the same order, anything where absent, with "present" bool [B, T, Q]. Frame 0 is the query, so
`first_frame`, the first that counts, is 1. Every present box of every frame weighs the same.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from readouts.losses import Sums


def box_l2(outputs: Tensor, target: Mapping[str, Tensor], *, first_frame: int = 1) -> Sums:
    """Squared error of the sides, mean over the four sides of present boxes.

    Source: ours. The official loss is unknown; L2 is what the paper takes for depth.
    """
    present, truth, found = _boxes(outputs, target, first_frame)
    errors = torch.where(present[..., None], found - truth, 0.0).square()
    return errors.flatten(1).sum(1), 4 * present.sum().float()


def box_smooth_l1_giou(
    outputs: Tensor, target: Mapping[str, Tensor], *, first_frame: int = 1, beta: float = 1.0, giou_weight: float = 0.5
) -> Sums:
    """Smooth L1, mean over the four sides, plus `giou_weight` (1 - GIoU), mean over present boxes.

    `beta` is the error from which the first term is linear. At 1, the whole picture, it is half of `box_l2`.

    Source: InternVideo-Next's rebuild of the protocol (arXiv 2512.01342), which gives the weights 1 and 0.5, no beta.
    """
    present, truth, found = _boxes(outputs, target, first_frame)
    sides = F.smooth_l1_loss(found, truth.expand_as(found), reduction="none", beta=beta).mean(-1)
    losses = torch.where(present, sides + giou_weight * (1 - generalised_iou(found, truth)), 0.0)
    return losses.flatten(1).sum(1), present.sum().float()


@torch.no_grad()
def mean_box_iou(outputs: Tensor, target: Mapping[str, Tensor], *, first_frame: int = 1) -> Sums:
    """IoU in 0..1 of present boxes, as in `metrics`: outputs are put in order and cut to the picture."""
    present, truth, found = _boxes(outputs, target, first_frame)
    intersection, union = _overlap(_ordered(found).clamp(0, 1), truth)
    shares = torch.where(present & (union > 0), intersection / union.clamp(min=1e-12), 0.0)
    return shares.flatten(1).to(torch.float64).sum(1), present.sum().float()


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU, [...] in -1..1, of boxes [..., 4] (ymin, xmin, ymax, xmax) with swapped ends put in order.

    IoU less the share of the hull that neither box covers (Rezatofighi et al., CVPR 2019), so that boxes which do not
    meet are drawn together. It is 0 where both are empty and at one place.
    """
    a, b = _ordered(a), _ordered(b)
    intersection, union = _overlap(a, b)
    hull = _area(torch.minimum(a, b)[..., :2], torch.maximum(a, b)[..., 2:])
    return intersection / union.clamp(min=1e-12) - (hull - union) / hull.clamp(min=1e-12)


def _boxes(outputs: Tensor, target: Mapping[str, Tensor], first_frame: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which boxes are present, their truth with zeros where absent, and the outputs, from the first frame on."""
    present = target["present"][:, first_frame:].bool()
    truth = torch.where(present[..., None], target["boxes"][:, first_frame:], 0.0)
    return present, truth, outputs[:, :, first_frame:]


def _ordered(boxes: Tensor) -> Tensor:
    near, far = boxes[..., :2], boxes[..., 2:]
    return torch.cat([torch.minimum(near, far), torch.maximum(near, far)], dim=-1)


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection and union of boxes [..., 4]."""
    intersection = _area(torch.maximum(a, b)[..., :2], torch.minimum(a, b)[..., 2:])
    return intersection, _area(a[..., :2], a[..., 2:]) + _area(b[..., :2], b[..., 2:]) - intersection


def _area(near: Tensor, far: Tensor) -> Tensor:
    height, width = (far - near).clamp(min=0).unbind(-1)
    return height * width
