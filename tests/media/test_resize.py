"""Resizing: sizes as stated, the antialiased triangle filter to one grey level, and crops that fit."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvm_bench.errors import UserError
from rvm_bench.media.resize import center_crop, crop, random_crop, resize, short_side, square


def triangle(size: int, new: int) -> np.ndarray:
    """[new, size]: weights of the filter by its definition: pixel centres, as wide as the scale when shrinking."""
    scale = size / new
    distance = (np.arange(size) + 0.5) - (np.arange(new)[:, None] + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(distance) / max(scale, 1))
    return weights / weights.sum(axis=1, keepdims=True)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60), st.integers(0, 9))
def test_resizing_is_within_a_grey_level_of_the_exact_filter_whatever_the_sizes(h, w, new_h, new_w, seed):
    frames = np.random.default_rng(seed).integers(0, 256, (2, h, w, 3), dtype=np.uint8)
    out = resize(frames, (new_h, new_w))
    exact = np.einsum("yi,nijc,xj->nyxc", triangle(h, new_h), frames.astype(float), triangle(w, new_w))
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    assert np.abs(out - exact).max() <= 1.01


def test_the_size_that_frames_have_leaves_them_untouched():
    frames = np.random.default_rng(0).integers(0, 256, (2, 7, 9, 3), dtype=np.uint8)
    assert resize(frames, (7, 9)) is frames


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [((240, 320), (224, 298)), ((320, 240), (298, 224)), ((99, 175), (224, 395)), ((1, 1000), (224, 224000))],
)
def test_a_short_side_keeps_the_aspect_ratio_rounded_down(size_hw, expected):
    assert short_side(224)(size_hw) == expected
    assert square(224)(size_hw) == (224, 224)


def test_size_rules_travel_to_other_processes():
    assert pickle.loads(pickle.dumps(short_side(64)))((128, 256)) == (64, 128)
    assert pickle.loads(pickle.dumps(square(64)))((128, 256)) == (64, 64)


def test_crops_are_where_they_say():
    frames = np.arange(2 * 7 * 10 * 3).reshape(2, 7, 10, 3)
    np.testing.assert_array_equal(center_crop(frames, (4, 4)), frames[:, 1:5, 3:7])
    np.testing.assert_array_equal(center_crop(frames, (7, 10)), frames)
    np.testing.assert_array_equal(crop(frames, (2, 5), (3, 4)), frames[:, 2:5, 5:9])


def test_random_crops_reach_every_corner_and_stay_inside():
    rng = np.random.default_rng(0)
    places = {random_crop((5, 6), (4, 4), rng) for _ in range(200)}
    assert places == {(top, left) for top in range(2) for left in range(3)}


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="does not fit in frames of 8x5"):
        center_crop(np.zeros((1, 5, 8, 3), np.uint8), (6, 6))
    with pytest.raises(UserError, match="does not fit"):
        random_crop((5, 8), (4, 9), np.random.default_rng(0))
    with pytest.raises(UserError, match="at least 1"):
        short_side(0)
