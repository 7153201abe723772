"""The weights of rvm-demo that come with the package: the right file, of the recipe's model, and trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rvm_bench import load_encoder
from rvm_bench.api.registry import find_model
from rvm_bench.fetch.weights import fetch
from rvm_bench.media.resize import center_crop
from rvm_bench.rvm.masking import draw
from rvm_bench.rvm.train.data.procedural import ProceduralScene
from rvm_bench.rvm.train.recipes import rvm_demo

RECIPE = rvm_demo()
LOG = Path(__file__).parents[2] / "results" / "rvm_demo_log.jsonl"
HELD_OUT = 10**9
"""Seeds of scenes that no training has drawn."""


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("rvm-demo", device="cpu")


def test_the_file_is_the_one_that_its_card_describes(encoder):
    card = find_model("rvm-demo").card
    path = fetch(card)
    assert path.stat().st_size == card.weights.size_bytes < 8 * 2**20
    assert encoder.weights.to_dict() == {"kind": "file", "path": path.name, "sha256": card.weights.sha256}
    assert encoder.model.config == RECIPE.model
    assert encoder.encode(np.zeros((2, 64, 96, 3), np.uint8)).shape == (2, 4, 6, card.width)


def test_random_weights_of_its_size_are_still_to_be_had(encoder):
    untrained = load_encoder("rvm-demo", weights="random", device="cpu")
    assert untrained.weights.to_dict() == {"kind": "random", "seed": 0}
    assert untrained.model.config == encoder.model.config


def test_the_log_is_of_the_whole_recipe():
    lines = [json.loads(line) for line in LOG.read_text().splitlines()]
    assert lines[-1]["step"] == RECIPE.steps
    assert max(line["learning_rate"] for line in lines) == pytest.approx(RECIPE.learning_rate, rel=1e-3)
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]


@torch.inference_mode()
def test_it_decodes_scenes_that_it_has_not_seen_better_than_copies_or_mean_colours(encoder):
    clips = 12
    scenes = [ProceduralScene(HELD_OUT + number, RECIPE.size_px) for number in range(clips)]
    times = [0, 1, 2, 3, 9, 14, 19, 24]
    pixels = np.stack(
        [[center_crop(scene.frame(t), (RECIPE.size_px, RECIPE.size_px)) for t in times] for scene in scenes]
    )
    video = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3) / 255
    source, target = video[:, :4], video[:, 4:]
    deltas = torch.tensor([[t - times[3] for t in times[4:]]] * clips)
    inds_restore, _ = draw((8, 8), seed=0, batch=clips, targets=4, shared=False, ratio=RECIPE.mask_ratio)
    decoded = encoder.model.reconstruct(
        source, target, deltas, torch.as_tensor(inds_restore), mask_ratio=RECIPE.mask_ratio
    )
    error = (decoded - target.permute(0, 1, 3, 4, 2)).square().mean()
    copied = (source[:, 3:] - target).square().mean()
    mean_colour = (target - target.mean((3, 4), keepdim=True)).square().mean()
    assert error < 0.8 * copied
    assert error < 0.75 * mean_colour
