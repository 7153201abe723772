"""Losses of point tracks and boxes: cases worked by hand, the released numbers, and sums that do not mind the parts."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from readouts import metrics
from readouts.heads.tracking import BoxHeadConfig, PointHeadConfig, PointTracks
from readouts.losses import (
    BatchPointsLoss,
    average_jaccard,
    box_l2,
    box_smooth_l1_giou,
    generalised_iou,
    mean_box_iou,
    points_loss,
)

TERMS = ("huber", "visible", "certainty")


def batch(seed=0, *, replicas=2, clips=4, frames=5, queries=6):
    """Raw outputs near the truth for each replica, and a target with hidden points and invalid queries."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0.1, 0.9, (clips, frames, queries, 2))
    near = points + rng.normal(size=(replicas, *points.shape)) * rng.choice([0.002, 0.02, 0.2], (queries, 1))
    near = near.clip(0.01, 0.99)
    logits = rng.normal(1, 2, (replicas, clips, frames, queries, 2))
    valid = rng.random((clips, queries)) < 0.7
    target = {
        "points": torch.from_numpy(points),
        "visible": torch.from_numpy((rng.random((clips, frames, queries)) < 0.7) & valid[:, None]),
        "query_mask": torch.from_numpy(valid),
    }
    return torch.from_numpy(np.concatenate([np.log(near / (1 - near)), logits], axis=-1)), target


def released_total(outputs, target):
    """The released loss of one replica's outputs."""
    tracks = PointTracks.from_outputs(outputs)
    return points_loss(
        tracks.points,
        target["points"],
        tracks.logits_visible,
        tracks.logits_certainty,
        target["visible"][..., None].double(),
        target["query_mask"][..., None].double(),
    )


def part_of(target, where):
    return {name: value[where] for name, value in target.items()}


@pytest.mark.parametrize("mask_is_given", [True, False])
def test_every_term_of_the_points_loss_is_the_released_one(golden, mask_is_given):
    arrays = golden("points_loss.npz")
    arguments = {name.removeprefix("input_"): torch.from_numpy(arrays[name]) for name in arrays if "input" in name}
    if not mask_is_given:
        del arguments["target_mask"]
    terms = points_loss(**arguments)
    assert float(terms.total) == pytest.approx(float(arrays["output_total"]), abs=1e-7)
    for name in TERMS:
        term, values = getattr(terms, name), getattr(terms, f"{name}_values")
        assert float(term) == pytest.approx(float(arrays[f"output_{name}_weighted"]), abs=1e-7)
        np.testing.assert_allclose(values, arrays[f"output_{name}_values"], atol=1e-6)


@pytest.mark.parametrize(("shift_px", "in_px"), [(0, 0), (0.5, 0.125), (1, 0.5), (3, 2.5), (7, 6.5)])
def test_a_shift_costs_its_square_below_a_pixel_and_its_length_above(shift_px, in_px):
    truth = torch.full((1, 4, 2, 2), 0.5, dtype=torch.float64)
    logits, ones = torch.zeros(1, 4, 2, 1).double(), torch.ones(1, 4, 2, 1).double()
    pred = truth + torch.tensor([0.0, shift_px / 224]).double()
    terms = points_loss(pred, truth, logits, 20 * ones, ones, ones[:, 0])
    assert float(terms.huber) == pytest.approx(100 * in_px / 224**2, abs=1e-9)
    assert float(terms.visible) == pytest.approx(0.1 * np.log(2))
    assert float(terms.certainty) == pytest.approx(0.1 * 20 * (shift_px > 6), abs=1e-6)


def test_what_is_called_certain_does_not_move_the_point():
    outputs, target = batch(replicas=1)
    points = outputs[0, ..., :2].sigmoid().requires_grad_()
    valid, seen = target["query_mask"][..., None].double(), target["visible"][..., None].double()
    terms = points_loss(points, target["points"], outputs[0, ..., 2:3], outputs[0, ..., 3:], seen, valid)
    assert not terms.certainty.requires_grad
    assert torch.autograd.grad(terms.huber, points)[0].abs().sum() > 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_sums_of_parts_make_up_the_released_total_of_each_replica(seed, parts):
    outputs, target = batch(seed)
    loss = BatchPointsLoss()
    expected = [float(released_total(one, target).total) for one in outputs]
    total, count = loss(outputs, target)
    assert (total / count).tolist() == pytest.approx(expected, rel=1e-9)
    pieces = np.array_split(np.arange(4), parts)
    divisors = sum(loss.divisors(part_of(target, piece)) for piece in pieces)
    sums = [loss(outputs[:, piece], part_of(target, piece), divisors) for piece in pieces]
    together = sum(total for total, _ in sums) / sum(count for _, count in sums)
    assert together.tolist() == pytest.approx(expected, rel=1e-9)


def test_parts_with_divisors_of_their_own_are_averaged():
    outputs, target = batch()
    loss = BatchPointsLoss()
    halves = [(outputs[:, piece], part_of(target, piece)) for piece in (slice(0, 2), slice(2, 4))]
    sums = [loss(*half) for half in halves]
    expected = [np.mean([float(released_total(out[r], wanted).total) for out, wanted in halves]) for r in (0, 1)]
    together = sum(total for total, _ in sums) / sum(count for _, count in sums)
    assert together.tolist() == pytest.approx(expected)


def test_what_is_hidden_or_padding_has_no_part_in_loss_and_gradient():
    outputs, target = batch()
    hidden = ~(target["visible"] & target["query_mask"][:, None])
    spoiled = outputs.clone()
    spoiled[:, ~target["query_mask"][:, None].expand_as(hidden)] = 7
    target_spoiled = target | {"points": target["points"].masked_fill(hidden[..., None], np.nan)}
    found = []
    for given_outputs, given_target in ((outputs, target), (spoiled, target_spoiled)):
        leaf = given_outputs.clone().requires_grad_()
        total, _ = BatchPointsLoss()(leaf, given_target)
        total.sum().backward()
        found.append((total.detach(), leaf.grad))
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])
    assert found[0][1][:, hidden][..., :2].eq(0).all()


def test_a_batch_without_a_valid_query_costs_nothing():
    outputs, target = batch()
    empty = {"points": target["points"]} | {name: target[name] & False for name in ("visible", "query_mask")}
    total, count = BatchPointsLoss()(outputs, empty)
    assert (total.tolist(), float(count)) == ([0, 0], 4)
    assert float(released_total(outputs[0], empty).total) == 0


@pytest.mark.parametrize("name", ["pred_points", "logits_visible", "target_vis", "query_mask", "target_mask"])
def test_arguments_whose_shapes_do_not_fit_are_refused_by_name(golden, name):
    arrays = golden("points_loss.npz")
    arguments = {name.removeprefix("input_"): torch.from_numpy(arrays[name]) for name in arrays if "input" in name}
    with pytest.raises(ValueError, match=f"^{name} .*; expected"):
        points_loss(**arguments | {name: arguments[name][..., 0]})


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_average_jaccard_is_that_of_the_metric_for_each_replica(seed):
    outputs, target = batch(seed)
    target["visible"][0] = False
    total, count = average_jaccard(outputs, target)
    for one, found in zip(outputs, (total / count).tolist(), strict=True):
        tracks = PointTracks.from_outputs(one)
        scores = metrics.tapvid(
            np.zeros((4, 6, 3)),
            ~target["visible"].transpose(1, 2).numpy(),
            256 * target["points"].transpose(1, 2).numpy(),
            ~tracks.visible[..., 0].transpose(1, 2).numpy(),
            256 * tracks.points.transpose(1, 2).numpy(),
            query_mask=target["query_mask"].numpy(),
        )["average_jaccard"]
        somewhere = target["visible"][:, 1:].flatten(1).any(1).numpy()
        assert int(count) == somewhere.sum()
        assert found == pytest.approx(scores[somewhere].mean())


def boxes(seed=0, *, replicas=2):
    """Raw outputs, some with swapped ends or outside of the picture, and a target with absent boxes."""
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.uniform(0, 1, (3, 4, 5, 2, 2)), axis=-2).reshape(3, 4, 5, 4)
    present = rng.random((3, 4, 5)) < 0.7
    present[0, 1, 0] = True
    outputs = ends + rng.normal(0, 0.3, (replicas, *ends.shape))
    target = np.where(present[..., None], ends, rng.choice([0, np.nan]))
    return torch.from_numpy(outputs), {"boxes": torch.from_numpy(target), "present": torch.from_numpy(present)}


def test_l2_of_boxes_is_the_mean_over_present_sides_after_the_query():
    outputs, target = boxes()
    total, count = box_l2(outputs, target)
    present = target["present"][:, 1:]
    expected = [(one[:, 1:][present] - target["boxes"][:, 1:][present]).square().mean() for one in outputs]
    assert (total / count).tolist() == pytest.approx([float(value) for value in expected])
    everything, places = box_l2(outputs, target, first_frame=0)
    assert places == 4 * target["present"].sum() > count
    assert (everything > total).all()


@pytest.mark.parametrize("loss", [box_l2, box_smooth_l1_giou])
def test_boxes_found_exactly_cost_nothing_and_absent_ones_have_no_gradient(loss):
    outputs, target = boxes()
    leaf = target["boxes"].nan_to_num().expand_as(outputs).clone().requires_grad_()
    assert loss(leaf, target)[0].tolist() == pytest.approx([0, 0], abs=1e-12)
    leaf = outputs.clone().requires_grad_()
    loss(leaf, target)[0].sum().backward()
    counted = target["present"].clone()
    counted[:, 0] = False
    assert leaf.grad.isfinite().all()
    assert leaf.grad[:, ~counted].eq(0).all()
    assert (leaf.grad[:, counted] != 0).any(-1).all()


def test_smooth_l1_and_giou_are_weighed_as_stated():
    target = {"boxes": torch.tensor([[[[0, 0, 0.5, 0.5]]]] * 2).view(1, 2, 1, 4), "present": torch.ones(1, 2, 1)}
    outputs = torch.tensor([0.5, 0.5, 1, 1]).expand(1, 1, 2, 1, 4)
    total, count = box_smooth_l1_giou(outputs, target)
    assert float(total / count) == pytest.approx(0.25 / 2 + 0.5 * (1 + 0.5))
    total, count = box_smooth_l1_giou(outputs, target, beta=0.1, giou_weight=0)
    assert float(total / count) == pytest.approx(0.5 - 0.05)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1),
        ((0, 0, 2, 2), (2, 2, 0, 0), 1),
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7 - 2 / 9),
        ((0, 0, 1, 1), (0, 9, 1, 10), -0.8),
        ((0, 0, 4, 4), (1, 1, 3, 3), 0.25),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0),
    ],
)
def test_generalised_overlap_is_what_one_counts_on_paper(one, other, expected):
    one, other = (torch.tensor(box, dtype=torch.float64) for box in (one, other))
    assert float(generalised_iou(one, other)) == float(generalised_iou(other, one)) == pytest.approx(expected)


box = st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4).map(lambda ends: torch.tensor(ends).double())


@settings(max_examples=100, deadline=None)
@given(box, box)
def test_generalised_overlap_is_symmetric_at_most_the_overlap_and_in_bounds(one, other):
    found = float(generalised_iou(one, other))
    assert found == pytest.approx(float(generalised_iou(other, one)), abs=1e-12)
    near, far = (torch.sort(ends.view(2, 2), dim=0).values.flatten().numpy() for ends in (one, other))
    assert -1 - 1e-9 <= found <= metrics.box_iou(near, far) + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 1))
def test_the_overlap_of_boxes_is_that_of_the_metric_for_each_replica(seed, first_frame):
    outputs, target = boxes(seed)
    total, count = mean_box_iou(outputs, target, first_frame=first_frame)
    arrays = target["boxes"].numpy(), target["present"].numpy()
    expected = [metrics.mean_box_iou(one.numpy(), *arrays, first_frame=first_frame) for one in outputs]
    assert (total / count).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "loss",
    [
        BatchPointsLoss(),
        box_l2,
        functools.partial(box_smooth_l1_giou, beta=0.1),
        functools.partial(BatchPointsLoss(resolution=20), divisors=torch.tensor([9.0, 70.0]).double()),
    ],
)
def test_gradients_are_those_of_finite_differences(loss):
    outputs, target = boxes(3) if "box" in repr(loss) else batch(3, clips=2, frames=3, queries=3)
    outputs = outputs[:, :2, :3, :3].clone().requires_grad_()
    target = {name: value[:2, :3, :3] if value.ndim > 2 else value[:2, :3] for name, value in target.items()}
    assert torch.autograd.gradcheck(lambda leaf: loss(leaf, target)[0], outputs, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "loss", "measure", "least"),
    [
        (PointHeadConfig, BatchPointsLoss(), average_jaccard, 0.6),
        (BoxHeadConfig, box_smooth_l1_giou, mean_box_iou, 0.5),
    ],
)
def test_heads_learn_to_leave_what_stands_still_where_it_is(config, loss, measure, least):
    head = config(frames=4, channels=8, params=64, heads=2, width=64, bases=3, temporal_tile_size=2).build(replicas=2)
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0)
    generator = torch.Generator().manual_seed(0)
    count = head.config.coordinates
    for step in range(400):
        queries = torch.rand(4, 16, count, generator=generator)
        ends = queries.view(4, 16, -1, 2)
        queries = (ends.sort(dim=2).values if count == 4 else ends).flatten(2)
        truth = queries[:, None].expand(-1, 4, -1, -1)
        ones = torch.ones(4, 4, 16, dtype=torch.bool)
        target = {"points": truth, "visible": ones, "query_mask": ones[:, 0], "boxes": truth, "present": ones}
        outputs = head.outputs(torch.randn(4, 4, 6, 8, generator=generator), queries)
        total, places = loss(outputs, target)
        optimiser.zero_grad()
        (total.sum() / places).backward()
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - step / 400)
        optimiser.step()
    total, places = measure(outputs, target)
    assert (total / places > least).all()
