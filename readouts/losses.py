"""Losses and selection metrics of readouts: a sum per replica and the count to divide it by.

Each takes outputs [R, B, ...] of R replicas and the target of the batch, and returns (sum [R], count). Sums and counts
are additive over parts of a batch and over processes, so the mean over valid elements does not depend on the division.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from readouts.heads.tracking import PointTracks
from readouts.metrics import THRESHOLDS_PX

HUBER_WEIGHT, VISIBLE_WEIGHT, CERTAINTY_WEIGHT = 100.0, 0.1, 0.1
"""Weights of the terms of the points loss (scivid, `configs/evals/stir_2d_tracking.py`)."""
CERTAIN_PX = 6
"""The target of certainty is 1 where the predicted point is within this distance (scivid, as above)."""
Sums = tuple[Tensor, Tensor]
"""(sum [R], count); the mean is the sum over all parts divided by the count over all parts."""
Measure = Callable[[Tensor, Mapping[str, Tensor]], Sums]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """The metric on held-out training examples by which one of the replicas is chosen.

    Attributes:
        name: of the metric, as it is printed.
        measure: outputs and target -> (sum [R], count).
        higher_is_better: direction of the metric.
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


class PointTerms(NamedTuple):
    """The points loss and its parts.

    Attributes:
        total: sum of the three terms.
        huber, visible, certainty: the terms as they enter the total, weighted.
        huber_values, visible_values, certainty_values: [B, T, Q, 1], of each point and frame, before mask and weight.
    """

    total: Tensor
    huber: Tensor
    visible: Tensor
    certainty: Tensor
    huber_values: Tensor
    visible_values: Tensor
    certainty_values: Tensor


def points_loss(
    pred_points: Tensor,
    target_points: Tensor,
    logits_visible: Tensor,
    logits_certainty: Tensor,
    target_vis: Tensor,
    query_mask: Tensor,
    target_mask: Tensor | None = None,
    *,
    resolution: int = 224,
) -> PointTerms:
    """The released loss of point tracks over a whole batch.

    Huber loss of the Euclidean distance (linear above one pixel) with weight 100, and binary cross-entropies with
    weight 0.1 of visibility and of being within 6 pixels of the truth. The first and the last are summed where
    `target_mask` is set, but divided by the number of all elements; that of visibility is the mean over all frames of
    valid queries.

    Args:
        pred_points, target_points: [B, T, Q, 2], (x, y) of the frame in [0, 1]; finite everywhere.
        logits_visible, logits_certainty: [B, T, Q, 1].
        target_vis: [B, T, Q, 1], one where the point is visible, else zero.
        query_mask: [B, Q, 1], one where the query is valid: visible in the first frame, and not padding.
        target_mask: [B, T, Q, 1]; None: where the point is visible and its query valid, as in the release.
        resolution: side of the frame in pixels, the unit of the Huber loss and of certainty.

    Raises:
        ValueError: shapes that do not fit.

    Source: scivid, `configs/evals/stir_2d_tracking.py`, `losses/tap.py`.
    """
    b, t, q, _ = target_points.shape
    shapes = {
        "pred_points": (pred_points, (b, t, q, 2)),
        "logits_visible": (logits_visible, (b, t, q, 1)),
        "logits_certainty": (logits_certainty, (b, t, q, 1)),
        "target_vis": (target_vis, (b, t, q, 1)),
        "query_mask": (query_mask, (b, q, 1)),
        "target_mask": (target_vis if target_mask is None else target_mask, (b, t, q, 1)),
    }
    for name, (array, shape) in shapes.items():
        if array.shape != shape:
            raise ValueError(f"{name} {tuple(array.shape)}; expected {shape}")
    valid = query_mask[:, None].to(pred_points).expand_as(target_vis)
    mask = target_vis * valid if target_mask is None else target_mask
    values = _point_values(pred_points, target_points, logits_visible, logits_certainty, target_vis, resolution)
    huber = HUBER_WEIGHT * (values[0] * mask).sum() / mask.numel()
    visible = VISIBLE_WEIGHT * (values[1] * valid).sum() / valid.sum().clamp(min=1)
    certainty = CERTAINTY_WEIGHT * (values[2] * mask).sum() / mask.numel()
    return PointTerms(huber + visible + certainty, huber, visible, certainty, *values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchPointsLoss:
    """`points_loss` for the fitter: raw outputs [R, B, T, Q, 4] of a `PointHead` and a target -> (sum [R], clips).

    The target: "points" [B, T, Q, 2], (x, y) in [0, 1], arbitrary where not visible; "visible" [B, T, Q]; "query_mask"
    [B, Q].

    The terms have different divisors: that of visibility is the number of valid queries, which differs between clips.
    Given the `divisors` of the whole batch, the sums of its parts add up to the released total exactly. Without them a
    part uses its own, which gives the released total where the batch is one part.

    Attributes:
        divisor_count: length of `divisors`.
        resolution: as in `points_loss`.
    """

    divisor_count: ClassVar[int] = 2
    resolution: int = 224

    def divisors(self, target: Mapping[str, Tensor]) -> Tensor:
        """Number of clips, and of frames of valid queries: float64 [2], additive over parts and processes."""
        b, t, _ = target["visible"].shape
        valid = t * target["query_mask"].sum(dtype=torch.float64)
        return torch.stack([torch.full_like(valid, b), valid])

    def __call__(self, outputs: Tensor, target: Mapping[str, Tensor], divisors: Tensor | None = None) -> Sums:
        clips, valid_frames = self.divisors(target) if divisors is None else divisors
        valid = target["query_mask"].bool()[:, None, :, None]
        visible = target["visible"][..., None]
        mask = visible.bool() & valid
        tracks = PointTracks.from_outputs(outputs)
        truth = torch.where(mask, target["points"], 0.0)
        values = _point_values(
            tracks.points, truth, tracks.logits_visible, tracks.logits_certainty, visible, self.resolution
        )
        huber, visibility, certainty = (
            torch.where(where, value, 0.0).flatten(1).sum(1)
            for value, where in zip(values, (mask, valid, mask), strict=True)
        )
        elements_per_clip = mask[0].numel()
        total = (HUBER_WEIGHT * huber + CERTAINTY_WEIGHT * certainty) / elements_per_clip
        # The caller divides by the number of clips, this term is divided by that of valid frames: hence their ratio.
        total = total + VISIBLE_WEIGHT * visibility * (clips / valid_frames.clamp(min=1)).to(visibility)
        return total, torch.tensor(float(outputs.shape[1]), device=outputs.device)


def _point_values(
    points: Tensor, truth: Tensor, logits_visible: Tensor, logits_certainty: Tensor, visible: Tensor, resolution: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Huber, visibility and certainty [..., T, Q, 1] of each point and frame; truth, visible without replicas."""
    delta = 1 / resolution
    squares = (points - truth).clamp(-1e8, 1e8).square().sum(-1, keepdim=True)
    # The epsilon keeps the gradient of the root finite at distance 0.
    distance = (squares + 1e-12).sqrt()
    huber = torch.where(distance < delta, squares / 2, delta * (distance - delta / 2))
    visibility = visible.to(logits_visible).expand_as(logits_visible)
    # No gradient through the target of certainty: it must not move the point.
    near = (squares.detach() <= (CERTAIN_PX / resolution) ** 2).to(logits_certainty)
    return (
        huber,
        F.binary_cross_entropy_with_logits(logits_visible, visibility, reduction="none"),
        F.binary_cross_entropy_with_logits(logits_certainty, near, reduction="none"),
    )


@torch.no_grad()
def average_jaccard(outputs: Tensor, target: Mapping[str, Tensor]) -> Sums:
    """Average Jaccard of `metrics.tapvid` in 0..1, mean over clips; outputs and target as in `BatchPointsLoss`.

    Queries are on frame 0, which is not evaluated. A clip where no point is visible after it is not counted.
    """
    tracks = PointTracks.from_outputs(outputs)
    valid = target["query_mask"].bool()[:, None]
    visible = (target["visible"].bool() & valid)[:, 1:]
    predicted_visible = (tracks.visible[..., 0] & valid)[:, :, 1:]
    squares = (256 * (tracks.points - target["points"])).square().sum(-1)[:, :, 1:]
    positives, predicted = visible.sum((1, 2)), predicted_visible.sum((2, 3))
    jaccard = torch.zeros(predicted.shape, dtype=torch.float64, device=outputs.device)
    for threshold in THRESHOLDS_PX:
        true_positives = ((squares < threshold**2) & visible & predicted_visible).sum((2, 3))
        union = (positives + predicted - true_positives).clamp(min=1)
        jaccard += true_positives / union / len(THRESHOLDS_PX)
    return jaccard[:, positives > 0].sum(1), (positives > 0).sum().float()


def box_l2(outputs: Tensor, target: Mapping[str, Tensor], *, first_frame: int = 1) -> Sums:
    """Squared error of the sides, mean over the four sides of present boxes.

    Source: our choice. The official loss is not published; the paper uses L2 for depth.
    """
    present, truth, predicted = _boxes(outputs, target, first_frame)
    errors = torch.where(present[..., None], predicted - truth, 0.0).square()
    return errors.flatten(1).sum(1), 4 * present.sum().float()


def box_smooth_l1_giou(
    outputs: Tensor, target: Mapping[str, Tensor], *, first_frame: int = 1, beta: float = 1.0, giou_weight: float = 0.5
) -> Sums:
    """Smooth L1, mean over the four sides, plus `giou_weight` (1 - GIoU), mean over present boxes.

    Errors above `beta` are linear. At 1, the whole frame, the first term is half of `box_l2`.

    Source: InternVideo-Next's reimplementation of the protocol (arXiv 2512.01342): weights 1 and 0.5, beta not given.
    """
    present, truth, predicted = _boxes(outputs, target, first_frame)
    sides = F.smooth_l1_loss(predicted, truth.expand_as(predicted), reduction="none", beta=beta).mean(-1)
    losses = torch.where(present, sides + giou_weight * (1 - generalised_iou(predicted, truth)), 0.0)
    return losses.flatten(1).sum(1), present.sum().float()


@torch.no_grad()
def mean_box_iou(outputs: Tensor, target: Mapping[str, Tensor], *, first_frame: int = 1) -> Sums:
    """IoU in 0..1 of present boxes, as in `metrics`: predicted sides are sorted and clipped to the frame."""
    present, truth, predicted = _boxes(outputs, target, first_frame)
    intersection, union = _overlap(_ordered(predicted).clamp(0, 1), truth)
    ious = torch.where(present & (union > 0), intersection / union.clamp(min=1e-12), 0.0)
    return ious.flatten(1).to(torch.float64).sum(1), present.sum().float()


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU, [...] in -1..1, of boxes [..., 4] (ymin, xmin, ymax, xmax); swapped sides are sorted.

    IoU minus the fraction of the enclosing box that neither covers (Rezatofighi et al., CVPR 2019), so that disjoint
    boxes have a gradient. It is 0 for two empty boxes at the same position.
    """
    a, b = _ordered(a), _ordered(b)
    intersection, union = _overlap(a, b)
    hull = _area(torch.minimum(a, b)[..., :2], torch.maximum(a, b)[..., 2:])
    return intersection / union.clamp(min=1e-12) - (hull - union) / hull.clamp(min=1e-12)


def _boxes(outputs: Tensor, target: Mapping[str, Tensor], first_frame: int) -> tuple[Tensor, Tensor, Tensor]:
    """Presence, truth (zeros where absent) and outputs, from `first_frame` on."""
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
