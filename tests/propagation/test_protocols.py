"""Presets and overrides of the DAVIS protocol: DINO's equals DINO's own steps, and every constant has an effect."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
from dino_steps import first_labels_as_dino, frames_as_dino, mask_as_dino, propagate_as_dino
from layouts import DAVIS_COPY, write_davis

from propagation.knn.propagator import Propagator
from propagation.labels import heat_to_mask, mask_to_hard_heat
from propagation.metrics import region_similarity
from propagation.tasks.davis import DavisProtocol, DavisTask
from propagation.tasks.protocol import PropagationProtocol
from rvm_bench.api.overrides import off_protocol, override
from rvm_bench.errors import UserError
from rvm_bench.media.images import read_labels, read_rgb

SIZES = [(480, 854), (480, 910), (480, 720), (480, 640), (480, 1138), (854, 480), (60, 110), (101, 203)]


@pytest.fixture(scope="module")
def small():
    """The official protocol at an input that the patch of 16 does not divide."""
    return DavisProtocol(input_height_px=150, input_width_px=275, radius=4, n_context=3, temperature=0.1)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return DavisTask().open(write_davis(tmp_path_factory.mktemp("data") / "DAVIS", DAVIS_COPY)).videos


@pytest.fixture(scope="module")
def records_under_small(pixels, small, videos):
    return [DavisTask(small).measure(pixels, video) for video in videos]


def test_the_dino_preset_is_what_its_script_has_as_defaults():
    protocol = DavisProtocol.dino()
    assert protocol.id == "davis-2017-val-dino/1"
    assert (protocol.topk, protocol.temperature, protocol.n_context) == (5, 0.1, 7)
    assert protocol.input_size((480, 854)) == (480, 832)
    assert protocol.resolution == "native"
    offsets = torch.arange(-14, 15)
    reached = ~protocol.rules.beyond_radius(offsets[:, None], offsets)
    assert reached.sum() == 25 * 25
    assert reached[2:27, 2:27].all()
    assert DavisTask.presets["dino"]() == protocol
    assert {"id", "topk", "radius", "fill", "norm_mask"} <= off_protocol(protocol, DavisProtocol()).keys()


@pytest.mark.parametrize("native_hw", SIZES)
def test_the_input_size_follows_the_short_side(native_hw):
    frame = np.zeros((*native_hw, 3), np.uint8)
    assert DavisProtocol.dino().input_size(native_hw) == frames_as_dino([frame]).shape[1:3]
    assert DavisProtocol().input_size(native_hw) == DavisProtocol().input_hw == (480, 880)


@pytest.mark.parametrize("native_hw", SIZES)
def test_masks_go_to_the_grid_and_back_as_with_pillow(native_hw):
    rng = np.random.default_rng(0)
    mask = cv2.resize(rng.integers(0, 3, (9, 13), dtype=np.uint8), native_hw[::-1], interpolation=cv2.INTER_NEAREST)
    height, width = DavisProtocol.dino().input_size(native_hw)
    grid_hw = height // 16, width // 16
    heat, ids = mask_to_hard_heat(mask, grid_hw)
    np.testing.assert_array_equal(heat, first_labels_as_dino(mask, grid_hw))
    soft = rng.random((*grid_hw, 3)).astype(np.float32) * [1, 0.3, 0.05]
    ours = heat_to_mask(soft, ids, (16 * grid_hw[0], 16 * grid_hw[1]), native_hw, norm_mask=True)
    assert (ours == mask_as_dino(soft, 16, native_hw)).mean() > 0.9999


def test_norm_mask_lets_a_faint_object_win_where_it_is_strongest():
    soft = np.zeros((4, 6, 2), np.float32)
    soft[..., 0], soft[1, 4] = 1, (0.6, 0.4)
    ids = np.array([0, 5])
    assert not heat_to_mask(soft, ids, (64, 96), (64, 96)).any()
    assert heat_to_mask(soft, ids, (64, 96), (64, 96), norm_mask=True)[24, 72] == 5


def test_norm_mask_leaves_a_lone_or_empty_channel_alone():
    soft = np.ones((4, 6, 1), np.float32)
    assert (heat_to_mask(soft, np.array([3]), (64, 96), (30, 40), norm_mask=True) == 3).all()
    soft = np.stack([np.linspace(1, 2, 24).reshape(4, 6), np.zeros((4, 6))], -1).astype(np.float32)
    assert not heat_to_mask(soft, np.array([0, 5]), (64, 96), (30, 40), norm_mask=True).any()


@pytest.mark.parametrize("number", [0, 1])
def test_a_video_under_the_dino_preset_scores_what_dinos_own_steps_score(pixels, videos, number):
    video = videos[number]
    record = DavisTask(DavisProtocol.dino()).measure(pixels, video)
    features = pixels.encode(frames_as_dino([read_rgb(file) for file in video.frames]))
    truth = np.stack([read_labels(file) for file in video.masks])
    soft = propagate_as_dino(features, first_labels_as_dino(truth[0], features.shape[1:3]))
    masks = np.stack([mask_as_dino(one, pixels.card.patch, video.native_hw) for one in soft])
    for o in record["objects"]:
        expected = region_similarity(truth == o["id"], masks == o["id"])[1:-1]
        np.testing.assert_allclose(o["J_frames"], expected, atol=2e-3)
        assert (expected > 0.03).all()


def test_at_the_input_resolution_the_true_masks_are_resized_by_nearest_neighbour(pixels, videos, small):
    task = DavisTask(dataclasses.replace(small, resolution="input"))
    video = videos[0]
    record = task.measure(pixels, video)
    truth = np.stack([cv2.resize(read_labels(m), (275, 150), interpolation=cv2.INTER_NEAREST) for m in video.masks])
    held = region_similarity(truth[1:-1] == 1, np.broadcast_to(truth[0] == 1, truth[1:-1].shape))
    assert record["first_mask"][0]["J"] == pytest.approx(held.mean())
    assert small.scored_size((60, 110)) == (60, 110)
    assert task.protocol.scored_size((60, 110)) == (150, 275)


OTHER_VALUES = {
    "input_height_px": "130",
    "input_width_px": "250",
    "size_rule": "short-side",
    "resize": "bilinear-uint8",
    "topk": "3",
    "temperature": "0.05",
    "n_context": "1",
    "radius": "2",
    "normalize": "false",
    "distance": "chebyshev",
    "exempt_first": "false",
    "fill": "empty",
    "keep_ties": "true",
    "first_from": "given",
    "label_init": "nearest",
    "upsample": "patch",
    "norm_mask": "true",
    "resolution": "input",
    "boundary_tolerance": "0.03",
}
ONE_VALUE = {"frames_scored", "average"}


def test_every_constant_has_another_value_or_only_one():
    assert OTHER_VALUES.keys() | ONE_VALUE | {"id"} == {f.name for f in dataclasses.fields(DavisProtocol)}


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_every_constant_has_an_effect(pixels, videos, small, records_under_small, name):
    """It changes the record of some video."""
    changed = override(small, [f"{name}={OTHER_VALUES[name]}"])
    assert list(off_protocol(changed, small)) == [name]
    task = DavisTask(changed)
    assert any(
        json.dumps(task.measure(pixels, video)) != json.dumps(before)
        for video, before in zip(videos, records_under_small, strict=True)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frames_scored=0..T-1", r"frames_scored=0..T-1: expected 1..T-2"),
        ("average=videos", "average=videos: expected objects"),
        ("resize=nearest", "resize=nearest: expected lanczos-uint8 or bilinear-uint8"),
        ("distance=manhattan", "distance=manhattan: expected euclidean or chebyshev"),
        ("topk=0", "topk=0: expected at least 1"),
        ("input_height_px=0", "input_height_px=0: expected at least 1"),
        ("boundary_tolerance=0", "boundary_tolerance=0: expected above 0"),
        ("tok=5", "unknown constant of davis-2017-val/1 'tok'; did you mean topk"),
    ],
)
def test_a_value_out_of_range_is_refused(text, message):
    with pytest.raises(UserError) as error:
        override(DavisProtocol(), [text])
    assert str(error.value).startswith(message)


def test_the_protocol_hands_its_rules_to_the_propagator():
    rules = DavisProtocol.dino().rules
    propagator = Propagator(torch.zeros(2, 2, 2), **dataclasses.asdict(rules))
    assert propagator.rules == rules
    assert {f.name for f in dataclasses.fields(rules)} <= {f.name for f in dataclasses.fields(PropagationProtocol)}
