"""Selection with a defined order among ties, and the plans that cut a grid into tiles."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from propagation.knn.tiles import CostModel, choose_plan, make_plan, reach_of
from propagation.knn.topk import pack_keys, topk_keys, topk_with_tie, unpack_keys

INF = float("inf")


def test_keys_return_the_values_and_indices_they_were_made_of():
    values = torch.tensor([-INF, -2.5, -1e-40, 0.0, 1e-40, 0.7, 3e38])
    index = torch.tensor([0, 1, 2**32 - 1, 5, 7, 2**31, 3])
    back, index_back = unpack_keys(pack_keys(values, index))
    assert back.tolist() == values.tolist()
    assert index_back.tolist() == index.tolist()


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.sampled_from([-INF, -1.5, -0.25, -0.0, 0.0, 0.25, 1.5]), min_size=1, max_size=12), st.integers(1, 15)
)
def test_the_top_k_keys_are_those_of_a_stable_sort(values, k):
    keys = topk_keys(pack_keys(torch.tensor([values]), torch.arange(len(values))), k)
    kept, index = unpack_keys(keys)
    expected = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    assert index[0, : len(expected)].tolist() == expected
    assert kept[0].tolist() == [values[i] for i in expected] + [-INF] * (k - len(expected))


def test_subtracting_from_a_key_adds_to_its_index():
    value, index = unpack_keys(pack_keys(torch.tensor([-0.5]), torch.tensor([3])) - 40)
    assert (value.item(), index.item()) == (-0.5, 43)


def test_the_value_of_a_tie_for_the_last_place_is_returned():
    values = torch.tensor([[5.0, 4, 3, 2], [5, 4, 4, 2], [5, 4, 4, 4], [5, -INF, -INF, -INF]])
    largest, columns, tie = topk_with_tie(values, 2)
    assert largest.tolist() == [[5, 4], [5, 4], [5, 4], [5, -INF]]
    assert columns[:, 0].tolist() == [0, 0, 0, 0]
    assert [math.isnan(value) for value in tie] == [True, False, False, True]
    assert tie[1:3].tolist() == [4, 4]
    assert topk_with_tie(values, 4)[2].isnan().all()
    assert topk_with_tie(values, 9)[0].shape == (4, 4)


@pytest.mark.parametrize(("radius", "reach"), [(20, 19), (0.5, 0), (1, 0), (1.01, 1), (2.5, 2), (1e9, 55), (INF, 55)])
def test_the_reach_is_the_last_whole_cell_below_the_radius(radius, reach):
    assert reach_of(radius, 55) == reach


@pytest.mark.parametrize("cuts", [(1, 1), (4, 3), (7, 2), (99, 99)])
def test_tiles_cover_each_cell_once_and_windows_hold_all_they_reach(cuts):
    plan = make_plan((13, 5), 3, *cuts)
    for spans, length in ((plan.strips, 13), (plan.bands, 5)):
        assert [i for s in spans for i in range(s.start, s.stop)] == list(range(length))
        for s in spans:
            assert (s.window_start, s.window_stop) == (max(0, s.start - 3), min(length, s.stop + 3))


def test_the_chosen_plan_keeps_to_its_budget_and_costs_no_more_than_others():
    model = CostModel(budget_bytes=3_000_000)
    plan = choose_plan((40, 24), 6, 20, model)
    assert 4 * 20 * plan.largest_tile <= model.budget_bytes
    others = [make_plan((40, 24), 6, strips, bands) for strips in (2, 5, 10, 40) for bands in (1, 2, 4, 24)]
    fitting = [p for p in others if 4 * 20 * p.largest_tile <= model.budget_bytes]
    assert fitting
    assert model.cost(plan) <= min(map(model.cost, fitting))


def test_a_budget_below_one_cell_gives_the_smallest_tiles():
    plan = choose_plan((6, 4), 2, 20, CostModel(budget_bytes=1))
    assert (len(plan.strips), len(plan.bands)) == (6, 4)
