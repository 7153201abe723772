"""The heads that follow points and boxes: parity with the released ones, and one function however it is computed."""

import json
import math

import numpy as np
import pytest
import torch

from readouts.heads.attention import AttentionReadout, ReadoutConfig
from readouts.heads.tracking import (
    BoxHead,
    BoxHeadConfig,
    PointHead,
    PointHeadConfig,
    PointTracks,
    fourier_features,
    from_released,
)
from rvm_bench.errors import UserError

POINTS = PointHeadConfig(frames=6, channels=10, params=12, heads=4, width=8, bases=5, temporal_tile_size=3)
BOXES = BoxHeadConfig(frames=6, channels=10, params=12, heads=2, width=8, bases=5)
KINDS = pytest.mark.parametrize("config", [POINTS, BOXES], ids=["points", "boxes"])
RELEASED = {"points": (PointHead, 4, 2), "boxes": (BoxHead, 2, 16)}


def released_arrays(golden, kind):
    file, prefix = golden("point_box_heads.npz"), f"param:{kind}:"
    return {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}


@pytest.fixture
def released(golden):
    """Gives (head, features, coordinates, expected outputs by name) of the golden case of a kind."""

    def load(kind):
        file, (head, num_heads, frames_per_query) = golden("point_box_heads.npz"), RELEASED[kind]
        module = head.from_arrays(released_arrays(golden, kind), num_heads=num_heads, frames_per_query=frames_per_query)
        coordinates = file["input_points_xy" if kind == "points" else "input_boxes_yxyx"]
        prefix = f"output_{kind}_"
        expected = {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}
        return (
            module.requires_grad_(False),
            torch.from_numpy(file["input_features"]),
            torch.from_numpy(coordinates),
            expected,
        )

    return load


def sample(config, *, batch=2, queries=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, config.frames, 7, config.channels, generator=generator)
    return features, torch.rand(batch, queries, config.coordinates, generator=generator)


def disturbed(config, **options):
    """A head with no parameter left at zero or one."""
    head = config.build(**options)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return head


def outputs_and_gradients(head, features, coordinates):
    head.zero_grad()
    outputs = head.outputs(features, coordinates)
    weights = torch.randn(outputs.shape[1:], generator=torch.Generator().manual_seed(1))
    (outputs * weights).sum().backward()
    return outputs.detach(), {name: p.grad for name, p in head.named_parameters() if p.grad is not None}


def test_fourier_features_are_sines_by_frequency_and_then_cosines():
    features = fourier_features(torch.tensor([[0.5, 0.25]]), bases=3)[0]
    half, diagonal = 1.0, math.sqrt(0.5)
    expected = [half, diagonal, 0, 1, 0, 0, 0, diagonal, -1, 0, 1, -1]
    assert features.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", RELEASED)
@pytest.mark.parametrize("chunk", [1000, 3])
def test_outputs_are_those_of_the_released_head(released, kind, chunk):
    head, features, coordinates, expected = released(kind)
    head.block.chunk = chunk
    found = {
        "fourier": fourier_features(coordinates),
        "query_embedding": head.embed(coordinates)[0],
    }
    if kind == "points":
        tracks = head(features, coordinates)
        found |= {
            "values": tracks.points,
            "logits_visible": tracks.logits_visible,
            "logits_certainty": tracks.logits_certainty,
            "visible": tracks.visible.float(),
        }
        assert 0 < expected["visible"].mean() < 1
    else:
        found |= {"values": head(features, coordinates), "q1_values": head(features, coordinates[:, :1])}
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.shape == expected[name].shape
        np.testing.assert_allclose(value, expected[name], atol=5e-6, err_msg=name)


def test_a_head_has_as_many_parameters_as_the_papers_sizes_make():
    for config, millions in (
        (PointHeadConfig(frames=16, channels=384), 11.07),
        (BoxHeadConfig(frames=16, channels=1024), 12.48),
    ):
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in config.build().parameters())
        assert count / 1e6 == pytest.approx(millions, abs=0.006)


@KINDS
def test_queries_do_not_see_one_another(config):
    head, (features, coordinates) = disturbed(config), sample(config)
    whole = head.outputs(features, coordinates).detach()
    assert whole.shape == (1, 2, 6, 5, 4)
    order = torch.tensor([3, 0, 4, 1, 2])
    np.testing.assert_allclose(head.outputs(features, coordinates[:, order]).detach(), whole[:, :, :, order], atol=1e-5)
    for count in (0, 1):
        alone = head.outputs(features, coordinates[:, :count]).detach()
        assert alone.shape == (1, 2, 6, count, 4)
        np.testing.assert_allclose(alone, whole[:, :, :, :count], atol=1e-5)


@KINDS
def test_chunked_equals_unchunked_in_outputs_and_gradients(config):
    inputs = sample(config)
    whole, parts = (outputs_and_gradients(disturbed(config, chunk=chunk), *inputs) for chunk in (100, 4))
    np.testing.assert_allclose(whole[0], parts[0], atol=1e-5)
    for name in whole[1]:
        np.testing.assert_allclose(whole[1][name], parts[1][name], atol=2e-4, err_msg=name)


@KINDS
def test_replicas_equal_heads_of_their_own(config):
    features, coordinates = sample(config)
    together = config.build(replicas=3, seeds=(5, 0, 2))
    outputs, gradients = outputs_and_gradients(together, features, coordinates)
    for replica, seed in enumerate((5, 0, 2)):
        alone = config.build(seeds=(seed,))
        for mine, theirs in zip(together.parameters(), alone.parameters(), strict=True):
            assert torch.equal(mine[replica], theirs[0])
        one, one_gradients = outputs_and_gradients(alone, features, coordinates)
        np.testing.assert_allclose(outputs[replica], one[0], atol=1e-5)
        for name, gradient in one_gradients.items():
            np.testing.assert_allclose(gradients[name][replica], gradient[0], atol=2e-4, err_msg=name)
    assert len(outputs) == 3
    called = together(features, coordinates)
    shape = called.points.shape if isinstance(called, PointTracks) else called.shape
    assert shape == (3, 2, 6, 5, config.coordinates)


def test_a_tile_of_time_speaks_for_its_own_frames():
    head, (features, coordinates) = disturbed(POINTS), sample(POINTS)
    before = head.outputs(features, coordinates).detach()
    head.tile.data[:, 1] += 1
    changed = (head.outputs(features, coordinates).detach() != before).any(-1).any(-1).any(1)[0]
    assert changed.tolist() == [False, False, True, True, False, False]


def test_a_point_is_visible_where_both_probabilities_together_exceed_a_half():
    logits = torch.tensor([[0.0, 0.0, 9.0, 0.1], [0.0, 0.0, 0.9, 0.9], [0.0, 0.0, 0.8, 0.8], [0.0, 0.0, 9.0, -0.1]])
    tracks = PointTracks.from_outputs(logits)
    assert tracks.visible[:, 0].tolist() == [True, True, False, False]
    assert tracks.points.eq(0.5).all()


@KINDS
def test_a_replica_goes_through_released_names_and_back(config):
    head, inputs = disturbed(config, replicas=3), sample(config)
    sizes = json.loads(json.dumps(head.config.describe()))
    back = from_released(head.arrays(2), sizes)
    assert (type(back), back.config) == (type(head), config)
    np.testing.assert_allclose(head.outputs(*inputs)[2].detach(), back.outputs(*inputs)[0].detach(), atol=1e-5)


def test_a_readout_with_learned_queries_is_found_again_by_its_sizes_too():
    config = ReadoutConfig(
        frames=2, channels=4, params=4, heads=2, outputs=3, queries=4, output_shape=(2, 2, 6, 1), patch=(1, 1, 3)
    )
    arrays = AttentionReadout(config).arrays()
    sizes = json.loads(json.dumps(config.describe()))
    for told in (sizes, {name: size for name, size in sizes.items() if name != "kind"}):
        back = from_released(arrays, told)
        assert (type(back), back.config) == (AttentionReadout, config)
    with pytest.raises(UserError, match="unknown kind of readout 'point'; did you mean points"):
        from_released(arrays, sizes | {"kind": "point"})


@pytest.mark.parametrize("kind", RELEASED)
def test_every_array_must_be_there_under_its_name_in_its_shape(golden, kind):
    arrays, (head, num_heads, frames_per_query) = released_arrays(golden, kind), RELEASED[kind]

    def load(changed):
        head.from_arrays(changed, num_heads=num_heads, frames_per_query=frames_per_query)

    for name, array in arrays.items():
        without = {key: value for key, value in arrays.items() if key != name}
        with pytest.raises(UserError, match=f"missing: {name}"):
            load(without)
        with pytest.raises(UserError, match=f"unexpected: {name}_ema"):
            load(arrays | {f"{name}_ema": array})
        for wrong in (np.concatenate([array, array], axis=-1), array[..., None]):
            with pytest.raises(UserError, match="of another shape: "):
                load(arrays | {name: wrong})


def test_a_head_of_the_other_kind_is_refused(golden):
    with pytest.raises(UserError, match=r"query_initializer/layers_1/Dense_0/kernel \(128, 24\), expected \(64, 24\)"):
        PointHead.from_arrays(released_arrays(golden, "boxes"), num_heads=2, frames_per_query=16)
    with pytest.raises(UserError, match="unexpected: temporal_tile_posenc/embeddings"):
        BoxHead.from_arrays(released_arrays(golden, "points"), num_heads=4, frames_per_query=16)


def test_wrong_sizes_are_refused(golden):
    with pytest.raises(UserError, match="16 frames cannot be divided into 3 temporal tiles"):
        PointHeadConfig(frames=16, channels=4, temporal_tile_size=3)
    for frames in (0, 3):
        with pytest.raises(UserError, match=f"16 frames cannot be divided among queries of {frames} frames"):
            PointHead.from_arrays(released_arrays(golden, "points"), num_heads=4, frames_per_query=frames)
    features, coordinates = sample(POINTS)
    head = POINTS.build()
    for wrong in (None, coordinates[0], coordinates[..., :1]):
        with pytest.raises(ValueError, match=r"expected \[B, Q, 2\]"):
            head(features, wrong)
    with pytest.raises(ValueError, match=r"expected \[B, 6, N, 10\]"):
        head(features[:, :5], coordinates)
