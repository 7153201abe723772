"""Every option in which published code differs equals the brute force, alone and combined."""

import itertools

import numpy as np
import pytest
import torch
from brute_force import brute_force, one_hot_case, random_case
from dino_steps import propagate_as_dino
from hypothesis import given, settings
from hypothesis import strategies as st

from propagation.knn.propagator import Propagator, propagate
from rvm_bench.errors import UserError

CHOICES = {
    "distance": ["euclidean", "chebyshev"],
    "exempt_first": [True, False],
    "fill": ["first", "empty"],
    "keep_ties": [False, True],
    "first_from": ["propagated", "given"],
}
COMBINATIONS = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]
DINO = {
    "distance": "chebyshev",
    "exempt_first": False,
    "fill": "empty",
    "keep_ties": True,
    "first_from": "given",
}
NUMBERS = {"topk": 4, "radius": 3, "n_context": 3, "temperature": 0.7}


@pytest.mark.parametrize(("option", "value"), [(name, value) for name in CHOICES for value in CHOICES[name]])
@pytest.mark.parametrize("case", [random_case, one_hot_case])
def test_each_option_alone_equals_brute_force(option, value, case):
    features, heat = case((8, 5, 8, 6))
    options = {**NUMBERS, option: value}
    np.testing.assert_allclose(
        propagate(features, heat, **options).numpy(), brute_force(features, heat, **options), atol=1e-5
    )


@pytest.mark.parametrize("choices", COMBINATIONS, ids=lambda c: "-".join(str(value) for value in c.values()))
def test_every_combination_equals_brute_force(choices):
    for case in (random_case, one_hot_case):
        features, heat = case((6, 6, 4, 5))
        options = {**NUMBERS, **choices}
        np.testing.assert_allclose(
            propagate(features, heat, **options).numpy(), brute_force(features, heat, **options), atol=1e-5
        )


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_random_settings_and_tilings_equal_brute_force(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    case = data.draw(st.sampled_from([random_case, one_hot_case]))
    features, heat = case((draw(1, 7), draw(1, 6), draw(1, 6), draw(1, 5)), seed=draw(0, 1000))
    options = {
        "topk": draw(1, 12),
        "radius": data.draw(st.sampled_from([0.5, 1, 1.5, 2, 3, 50])),
        "n_context": draw(0, 5),
        "temperature": data.draw(st.sampled_from([0.1, 0.7])),
        **data.draw(st.sampled_from(COMBINATIONS)),
    }
    tiles = data.draw(st.none() | st.tuples(st.integers(1, 6), st.integers(1, 6)))
    propagator = Propagator(heat, tiles=tiles, **options)
    soft = np.stack([propagator.step(feature_map).numpy() for feature_map in features])
    np.testing.assert_allclose(soft, brute_force(features, heat, **options), atol=1e-5)


@pytest.mark.parametrize("case", [random_case, one_hot_case])
def test_dinos_options_equal_dinos_own_steps(case):
    features, heat = case((12, 9, 11, 6))
    soft = propagate(features, heat, topk=5, radius=4, n_context=7, temperature=0.1, **DINO)
    expected = propagate_as_dino(features.numpy(), heat.numpy(), topk=5, reach=3, n_last=7, temperature=0.1)
    np.testing.assert_allclose(soft.numpy(), expected, atol=1e-5)


def test_without_ties_keep_ties_has_no_effect():
    features, heat = random_case((9, 6, 7, 8))
    options = {**NUMBERS, **DINO}
    kept = propagate(features, heat, **options)
    torch.testing.assert_close(kept, propagate(features, heat, **{**options, "keep_ties": False}), rtol=0, atol=0)


def test_in_a_black_video_every_cell_of_the_box_is_selected():
    heat = torch.rand(9, 30, 3, generator=torch.Generator().manual_seed(0))
    soft = propagate(torch.zeros(2, 9, 30, 5), heat, **{**NUMBERS, **DINO})
    for y, x in ((0, 0), (4, 15), (8, 29), (1, 28)):
        box = heat[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].flatten(0, 1)
        torch.testing.assert_close(soft[1, y, x], box.mean(0))


def test_entries_equal_to_the_topk_th_get_its_weight_and_smaller_ones_none():
    features = torch.zeros(2, 1, 4, 3)
    features[0, 0] = torch.tensor([[1, 0, 0], [0.6, 0.8, 0], [0.6, 0, 0.8], [0, 1, 0]])
    features[1, 0, :, 0] = 1
    heat = torch.eye(4)[None]
    soft = propagate(features, heat, topk=2, radius=9, n_context=1, temperature=0.4, **DINO)
    weights = torch.softmax(torch.tensor([1, 0.6, 0.6, -torch.inf]) / 0.4, 0)
    torch.testing.assert_close(soft[1, 0], weights.expand(4, 4))


def test_copies_of_frame_0_are_ties_that_are_all_selected():
    """At t = 1 frame 0 is in slots 0 and 1 with its given labels, and in slot 2 with the predicted ones."""
    features = torch.eye(6).view(1, 2, 3, 6).repeat(2, 1, 1, 1)
    _, heat = random_case((1, 2, 3, 1))
    options = {**NUMBERS, "topk": 1, "n_context": 2, "keep_ties": True}
    torch.testing.assert_close(propagate(features, heat, **options)[1], heat)
    options |= {"topk": 4, "temperature": 1.0, "radius": 1}
    np.testing.assert_allclose(
        propagate(features, heat, **options).numpy(), brute_force(features, heat, **options), atol=1e-6
    )


def test_a_box_of_radius_13_reaches_12_cells_to_each_side():
    features, heat = torch.zeros(2, 27, 27, 1), torch.zeros(27, 27, 2)
    heat[13 - 12, 13 - 12, 1] = 1
    soft = propagate(features, heat, topk=1, radius=13, n_context=7, temperature=0.1, **DINO)
    reached = soft[1, :, :, 1] > 0
    assert reached[: 13 + 1, : 13 + 1].all()
    assert reached.sum() == 14 * 14


def test_a_queue_that_starts_empty_never_holds_frame_0():
    features, heat = random_case((4, 4, 5, 3))
    options = {**NUMBERS, "fill": "empty", "n_context": 1}
    propagator = Propagator(heat, **options)
    for t, feature_map in enumerate(features):
        propagator.step(feature_map)
        assert propagator._context.slots_of_first.tolist() == [0]
        assert len(propagator._context.queue_slots) == (1 if t else 0)


def test_given_labels_come_out_unchanged_and_as_a_copy():
    features, heat = random_case((2, 4, 5, 6))
    propagator = Propagator(heat, **{**NUMBERS, **DINO})
    soft = propagator.step(features[0])
    torch.testing.assert_close(soft, heat, rtol=0, atol=0)
    soft.zero_()
    torch.testing.assert_close(propagator.step(features[1]), propagate(features, heat, **{**NUMBERS, **DINO})[1])


@pytest.mark.parametrize(("option", "value"), [("distance", "manhattan"), ("fill", "zeros"), ("first_from", "mask")])
def test_an_unknown_value_is_refused_with_the_known_ones(option, value):
    features, heat = random_case((1, 4, 5, 6))
    with pytest.raises(UserError, match=f"{option}={value}: expected {' or '.join(CHOICES[option])}"):
        propagate(features, heat, **{**NUMBERS, option: value})
