"""Propagation equals a stable sort of the whole affinity, and the released code, on ties and on any grid and plan."""

import numpy as np
import pytest
import torch
from brute_force import brute_force, one_hot_case, random_case
from hypothesis import given, settings
from hypothesis import strategies as st

from propagation.knn.propagator import Propagator, normalize, propagate
from rvm_bench.errors import UserError

PROTOCOL = {"topk": 7, "radius": 20, "n_context": 20, "temperature": 0.7}


def stream(features, heat, *, tiles=None, **options):
    propagator = Propagator(heat, tiles=tiles, **options)
    return torch.stack([propagator.step(feature_map) for feature_map in features])


def test_a_still_video_of_distinct_cells_keeps_its_labels():
    cells = torch.eye(24).view(4, 6, 24)
    heat = torch.zeros(4, 6, 2)
    heat[:2, :, 0], heat[2:, :, 1] = 1, 1
    soft = propagate(cells.expand(9, -1, -1, -1), heat, **{**PROTOCOL, "topk": 1})
    torch.testing.assert_close(soft, heat.expand_as(soft))


def test_labels_follow_an_object_that_shifts_by_one_cell_a_frame():
    generator = torch.Generator().manual_seed(0)
    wide = normalize(torch.randn(6, 20, 64, generator=generator))
    features = torch.stack([wide[:, t : t + 10] for t in range(8)])
    heat = torch.zeros(6, 10, 2)
    heat[..., 0] = 1
    heat[2:4, 8:] = torch.tensor([0.0, 1.0])
    soft = propagate(features, heat, topk=1, radius=2, n_context=3, temperature=0.7)
    for t in range(8):
        object_cells = soft[t, ..., 1] > 0.5
        assert object_cells[2:4, 8 - t : 10 - t].all()


def test_without_a_queue_the_context_is_frame_0_alone():
    features, heat = random_case((3, 4, 5, 8))
    soft = propagate(features, heat, **{**PROTOCOL, "n_context": 0, "topk": 1})
    nearest = (features[2].view(20, 8) @ features[0].view(20, 8).T).argmax(1)
    torch.testing.assert_close(soft[2].view(20, -1), heat.view(20, -1)[nearest])


@pytest.mark.parametrize("name", ["a", "b"])
def test_soft_labels_equal_those_of_the_released_code(golden, name):
    arrays = golden(f"propagation_seg_{name}.npz")
    options = {key: arrays[key].item() for key in PROTOCOL}
    soft = propagate(torch.from_numpy(arrays["features"]), torch.from_numpy(arrays["heat"]), **options)
    assert soft.dtype == torch.float32
    np.testing.assert_allclose(soft.numpy(), arrays["soft_labels"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("n_context", [0, 1, 3, 20])
@pytest.mark.parametrize("radius", [1, 2.5, 4, 100])
def test_every_context_length_and_radius_equals_brute_force(n_context, radius):
    features, heat = random_case((25, 5, 8, 12))
    options = {"topk": 5, "radius": radius, "n_context": n_context, "temperature": 0.7}
    expected = brute_force(features, heat, **options)
    np.testing.assert_allclose(propagate(features, heat, **options).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("grid", [(9, 4), (4, 9), (6, 6), (1, 11), (11, 1), (7, 13)])
@pytest.mark.parametrize("case", [random_case, one_hot_case])
def test_wide_tall_and_narrow_grids_equal_brute_force(grid, case):
    features, heat = case((8, *grid, 6))
    options = {"topk": 4, "radius": 3, "n_context": 4, "temperature": 0.5}
    expected = brute_force(features, heat, **options)
    np.testing.assert_allclose(propagate(features, heat, **options).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("n_context", [1, 3, 20])
@pytest.mark.parametrize("kinds", [1, 2, 5])
def test_among_equal_affinities_the_lower_slot_then_the_lower_cell_wins(n_context, kinds):
    features, heat = one_hot_case((24, 4, 7, kinds), seed=kinds)
    options = {"topk": 7, "radius": 3, "n_context": n_context, "temperature": 0.7}
    expected = brute_force(features, heat, **options)
    np.testing.assert_allclose(propagate(features, heat, **options).numpy(), expected, atol=1e-5)


def test_in_a_black_video_every_query_selects_the_first_cells_of_frame_0():
    heat = torch.rand(30, 20, 3, generator=torch.Generator().manual_seed(0))
    soft = propagate(torch.zeros(4, 30, 20, 5), heat, **PROTOCOL)
    first_cells = heat.view(-1, 3)[:7].mean(0)
    torch.testing.assert_close(soft, first_cells.expand_as(soft))


def test_a_tie_between_copies_of_frame_0_and_its_real_entry_goes_to_the_copy():
    """At t = 1 with n_context = 2, slots 0 and 1 hold the given labels of frame 0 and slot 2 the predicted ones."""
    features = torch.zeros(2, 1, 3, 2)
    features[..., 0] = 1
    heat = torch.tensor([[[1.0], [2.0], [4.0]]])
    soft = propagate(features, heat, topk=5, radius=1, n_context=2, temperature=1.0)
    # t = 0, each cell: slot 0 (1, 2, 4), then itself twice. t = 1: the same, its own entry being the 5th.
    at_0 = (7 + 2 * heat[0, :, 0]) / 5
    torch.testing.assert_close(soft[0, 0, :, 0], at_0)
    torch.testing.assert_close(soft[1, 0, :, 0], (7 + heat[0, :, 0] + at_0) / 5)


def test_cells_beyond_the_radius_get_no_weight_even_if_fewer_than_topk_are_in_radius():
    """With 4 cells, radius 1 and one queue frame there are 5 valid entries; of topk = 9 the other 4 get no weight."""
    features, heat = random_case((3, 2, 2, 6))
    options = {"topk": 9, "radius": 1, "n_context": 1, "temperature": 0.7}
    expected = brute_force(features, heat, **{**options, "topk": 5})
    np.testing.assert_allclose(propagate(features, heat, **options).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("n_context", [0, 2])
def test_a_topk_above_the_size_of_the_context_selects_every_entry(n_context):
    features, heat = random_case((4, 2, 3, 6))
    options = {"radius": 100, "n_context": n_context, "temperature": 0.7}
    expected = brute_force(features, heat, topk=6 * (n_context + 1), **options)
    np.testing.assert_allclose(propagate(features, heat, topk=50, **options).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("tiles", [(1, 1), (2, 1), (1, 3), (3, 2), (4, 5), (100, 100)])
@pytest.mark.parametrize("case", [random_case, one_hot_case])
def test_the_result_does_not_depend_on_how_the_grid_is_cut(tiles, case):
    features, heat = case((9, 7, 11, 6))
    options = {"topk": 6, "radius": 3, "n_context": 4, "temperature": 0.7}
    torch.testing.assert_close(
        stream(features, heat, tiles=tiles, **options), stream(features, heat, **options), rtol=0, atol=1e-6
    )


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_random_settings_equal_brute_force(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    case = data.draw(st.sampled_from([random_case, one_hot_case]))
    shape = (draw(1, 8), draw(1, 6), draw(1, 6), draw(1, 5))
    features, heat = case(shape, seed=draw(0, 1000))
    if shape[-1] == 1 and case is random_case:
        features = features * 0.5  # rows of +-0.5: ties of both signs
    options = {
        "topk": draw(1, 12),
        "radius": data.draw(st.sampled_from([0.5, 1, 1.5, 2, 3, 50])),
        "n_context": draw(0, 5),
        "temperature": data.draw(st.sampled_from([0.07, 0.7, 1.0])),
    }
    tiles = data.draw(st.none() | st.tuples(st.integers(1, 6), st.integers(1, 6)))
    expected = brute_force(features, heat, **options)
    np.testing.assert_allclose(stream(features, heat, tiles=tiles, **options).numpy(), expected, atol=1e-5)


def test_streaming_equals_the_whole_video_and_leaves_its_input_alone():
    features, heat = random_case((9, 5, 4, 6))
    options = {**PROTOCOL, "n_context": 3}
    untouched, buffer = features.clone(), torch.empty(5, 4, 6)
    propagator = Propagator(heat, **options)
    streamed = []
    for feature_map in features:
        buffer.copy_(feature_map)  # the caller reuses one buffer
        streamed.append(propagator.step(buffer))
        streamed[-1].mul_(1)
    torch.testing.assert_close(torch.stack(streamed), propagate(features, heat, **options), rtol=0, atol=0)
    torch.testing.assert_close(features, untouched, rtol=0, atol=0)


def test_changing_a_returned_map_does_not_change_the_context():
    features, heat = random_case((4, 5, 4, 6))
    expected = propagate(features, heat, **PROTOCOL)
    propagator = Propagator(heat, **PROTOCOL)
    for t, feature_map in enumerate(features):
        soft = propagator.step(feature_map)
        torch.testing.assert_close(soft, expected[t], rtol=0, atol=0)
        soft.zero_()


def test_appended_frames_are_context_with_their_labels():
    features, heat = random_case((6, 4, 5, 6))
    expected = propagate(features, heat, **PROTOCOL)
    propagator = Propagator(heat, **PROTOCOL)
    for t in range(5):
        propagator.append(features[t], expected[t])
    torch.testing.assert_close(propagator.step(features[5]), expected[5])


def held_bytes(*owners) -> int:
    tensors = [value for owner in owners for value in vars(owner).values() if isinstance(value, torch.Tensor)]
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def test_memory_does_not_grow_with_the_video():
    features, heat = random_case((40, 6, 5, 4))
    propagator = Propagator(heat, **{**PROTOCOL, "n_context": 5})
    held = []
    for feature_map in features:
        propagator.step(feature_map)
        owners = propagator, propagator._context, propagator._search
        held.append((held_bytes(*owners), *(len(vars(owner)) for owner in owners)))
    assert len(set(held)) == 1
    context_bytes = 4 * 6 * (6 * 5) * (4 + 3)
    assert held[0][0] >= context_bytes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_computed_in_float32(dtype):
    features, heat = random_case((4, 4, 5, 6))
    features = features.to(dtype)
    soft = propagate(features, heat.to(dtype), **PROTOCOL)
    expected = propagate(features.float(), heat.to(dtype).float(), **PROTOCOL)
    assert soft.dtype == torch.float32
    torch.testing.assert_close(soft, expected, rtol=0, atol=0)


def test_normalize_gives_unit_float32_rows_and_keeps_zero_tokens():
    rows = normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float16))
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused_with_the_frame(bad):
    features, heat = random_case((4, 4, 5, 6))
    features[2, 1, 1, 0] = bad
    with pytest.raises(UserError, match="frame 2"):
        propagate(features, heat, **PROTOCOL)
    with pytest.raises(UserError, match="frame 0"):
        Propagator(heat, **PROTOCOL).append(features[2])
    propagator = Propagator(heat, **PROTOCOL)
    with pytest.raises(UserError, match="frame 0"):
        propagator.step(features[2])
    soft = propagator.step(features[0])
    torch.testing.assert_close(soft, propagate(features[:1], heat, **PROTOCOL)[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("option", "value"), [("topk", 0), ("radius", 0), ("n_context", -1), ("temperature", 0), ("radius", float("nan"))]
)
def test_an_option_out_of_range_is_named(option, value):
    features, heat = random_case((1, 4, 5, 6))
    with pytest.raises(UserError, match=option):
        propagate(features, heat, **{**PROTOCOL, option: value})


def test_shapes_that_do_not_fit_are_refused():
    features, heat = random_case((2, 4, 5, 6))
    for wrong in (features[:, :3], features[0], features[:0], features[..., :0]):
        with pytest.raises(UserError, match="features"):
            propagate(wrong, heat, **PROTOCOL)
    with pytest.raises(UserError, match="labels of frame 0"):
        propagate(features, heat[0], **PROTOCOL)
    with pytest.raises(UserError, match="labels of frame 0"):
        propagate(features, heat * float("nan"), **PROTOCOL)
    propagator = Propagator(heat, **PROTOCOL)
    propagator.step(features[0])
    with pytest.raises(UserError, match="frame 1"):
        propagator.step(features[1, ..., :5])
    with pytest.raises(UserError, match="labels"):
        propagator.append(features[1], heat[..., :2])
