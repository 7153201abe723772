"""Where a training starts: what is decoded is grey, contents count more than places, gates are open."""

import numpy as np
import pytest
import torch

from rvm_bench.rvm.checkpoint import SIZES
from rvm_bench.rvm.torch.weights import from_arrays
from rvm_bench.rvm.train.initial import GREY, initial_arrays

SIDE = 128


@pytest.fixture(scope="module", params=["rvm-demo", "rvm-tiny"])
def start(request):
    return from_arrays(initial_arrays(SIZES[request.param], start="contents"), "a start").eval()


@pytest.fixture(scope="module")
def frames():
    """Smooth pictures, float32 [1, 6, 3, H, W]."""
    coarse = torch.rand(6, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1)[None]


@torch.inference_mode()
def test_the_update_gate_is_open_for_any_token(start, frames):
    tokens = start.encoder(frames.flatten(0, 1))
    update = torch.sigmoid(start.core.input_gates(tokens)).chunk(2, dim=-1)[0]
    assert 0.8 < float(update.mean()) < 0.95
    assert float((update > 0.5).float().mean()) > 0.9


@torch.inference_mode()
def test_contents_outweigh_places(start, frames):
    """The share of the features' variance that the patch's place explains, over pictures; of Xavier's start, most."""

    def by_place(model):
        tokens = model.encoder(frames.flatten(0, 1))[:, 1:]
        places = tokens.mean(0)
        return float(places.var(0).sum() / tokens.flatten(0, 1).var(0).sum())

    plain = from_arrays(initial_arrays(start.config), "Xavier's").eval()
    assert by_place(start) < 0.25 < 0.5 < by_place(plain)


@torch.inference_mode()
def test_what_is_decoded_is_nearly_grey(start, frames):
    grid = SIDE // start.config.patch
    inds_restore = torch.stack([torch.randperm(grid**2) for _ in range(2)])[None]
    decoded = start.reconstruct(frames[:, :4], frames[:, 4:], torch.tensor([[4, 9]]), inds_restore)
    assert float((decoded - GREY).square().mean().sqrt()) < 0.2


def test_the_same_seed_gives_the_same_start_and_another_one_another():
    one, again, other = (initial_arrays(SIZES["rvm-demo"], seed, "contents") for seed in (0, 0, 1))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["rnn_core/input_update/kernel"], other["rnn_core/input_update/kernel"])
