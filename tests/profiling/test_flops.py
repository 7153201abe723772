"""FLOPs by torch's counter against the formula, and against what a single layer must cost."""

import numpy as np
import pytest
import torch

from baselines.vit.config import ViTConfig
from baselines.vit.encoder import ClipViT
from baselines.vit.model import ViT
from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ImageEncoder
from rvm_bench.fetch.load import load_encoder
from rvm_bench.profiling.flops import NotCounted, count_flops
from rvm_bench.profiling.points import AT_ONCE, STREAM
from rvm_bench.rvm.train.cost import forward_flops
from rvm_bench.rvm.train.recipes import find_recipe

WIDTH, LAYERS = 24, 2


class OneLayer(ImageEncoder):
    card = EncoderCard(name="one-layer", family="toy", patch=8, width=5)

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 5)

    def forward_frames(self, frames):
        return self.layer(torch.nn.functional.avg_pool2d(frames, 8).permute(0, 2, 3, 1))


class LooksAtValues(OneLayer):
    def forward_frames(self, frames):
        return super().forward_frames(frames if frames.mean() > 0 else -frames)


def clip_vit():
    config = ViTConfig(width=WIDTH, layers=LAYERS, heads=2, hidden=96, tubelet=2, grid=(8, 2, 2), resize="trilinear")
    card = EncoderCard(name="clip-vit", family="toy", patch=16, width=WIDTH, frames=16)
    return ClipViT(card, ViT(config), {"propagation": LAYERS}, "linear").to("cpu")


def clip_flops(tokens):
    """Embedding, then per block projections, MLP and both products of attention."""
    block = 8 * tokens * WIDTH**2 + 4 * tokens * WIDTH * 96 + 4 * tokens**2 * WIDTH
    return 2 * tokens * 3 * 2 * 16**2 * WIDTH + LAYERS * block


def test_a_multiply_add_counts_as_two():
    assert count_flops(OneLayer(), STREAM, 7, 32) == 7 * 4 * 4 * 2 * 3 * 5


def test_rvm_costs_what_the_formula_says():
    recipe = find_recipe("rvm_s")
    parts = forward_flops(recipe)
    per_frame = (parts.sources + parts.core) / recipe.source_frames
    encoder = load_encoder("rvm-s", weights="random", device="cpu")
    side = encoder.card.patch * int(recipe.patches**0.5)
    assert count_flops(encoder, STREAM, 12, side) / 12 == pytest.approx(per_frame, rel=0.001)


def test_windows_cost_the_same_and_all_frames_at_once_cost_more():
    encoder = clip_vit()
    assert count_flops(encoder, STREAM, 64, 32) == 4 * clip_flops(8 * 4)
    assert count_flops(encoder, AT_ONCE, 64, 32) == clip_flops(32 * 4)
    assert count_flops(encoder, AT_ONCE, 16, 32) == count_flops(encoder, STREAM, 16, 32)


def test_a_padded_window_is_paid_in_full():
    assert count_flops(clip_vit(), STREAM, 17, 32) == 2 * clip_flops(8 * 4)


def test_counting_leaves_the_encoder_as_it_was():
    encoder = load_encoder("rvm-tiny", weights="random", device="cpu")
    video = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    before = encoder.encode(video)
    count_flops(encoder, STREAM, 4, 32)
    assert encoder.device == torch.device("cpu")
    np.testing.assert_array_equal(encoder.encode(video), before)


def test_bfloat16_takes_as_many():
    in_float32, in_bfloat16 = (
        count_flops(load_encoder("rvm-tiny", weights="random", device="cpu", dtype=dtype), STREAM, 4, 32)
        for dtype in ("float32", "bfloat16")
    )
    assert in_float32 == in_bfloat16


@pytest.mark.parametrize(
    ("build", "why"),
    [(LooksAtValues, "without values"), (lambda: load_encoder("pixels", device="cpu"), "no product")],
)
def test_what_cannot_be_counted_is_said(build, why):
    with pytest.raises(NotCounted, match=why):
        count_flops(build(), STREAM, 3, 32)
