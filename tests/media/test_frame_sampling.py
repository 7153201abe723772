"""Clips: the frames that the official samplers take, by hand and for any video."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvm_bench.errors import UserError
from rvm_bench.media.frame_sampling import consecutive_clips, linspaced_clips, middle_clip, random_clip

SIZES = {"length": st.integers(1, 400), "frames": st.integers(1, 32), "stride": st.integers(1, 5)}


def test_the_middle_clip_leaves_as_much_before_as_after_its_span():
    np.testing.assert_array_equal(middle_clip(40, 16, 2), np.arange(4, 36, 2))
    np.testing.assert_array_equal(middle_clip(41, 16, 2), np.arange(4, 36, 2))
    np.testing.assert_array_equal(middle_clip(32, 16, 2), np.arange(0, 32, 2))


def test_a_short_video_is_padded_with_its_last_frame():
    np.testing.assert_array_equal(middle_clip(5, 4, 2), [0, 2, 4, 4])
    np.testing.assert_array_equal(random_clip(5, 4, 2, np.random.default_rng(0)), [0, 2, 4, 4])
    np.testing.assert_array_equal(linspaced_clips(5, 4, 2, 3), [[0, 2, 4, 4]] * 3)
    np.testing.assert_array_equal(middle_clip(1, 3, 2), [0, 0, 0])


def test_spaced_clips_start_with_the_video_and_their_spans_end_with_it():
    np.testing.assert_array_equal(linspaced_clips(300, 16, 2, 7)[:, 0], [0, 44, 89, 134, 178, 223, 268])
    np.testing.assert_array_equal(linspaced_clips(10, 2, 2, 4), [[0, 2], [2, 4], [4, 6], [6, 8]])


def test_random_clips_start_anywhere_but_on_the_last_possible_frame():
    rng = np.random.default_rng(0)
    starts = [random_clip(12, 4, 2, rng)[0] for _ in range(400)]
    counts = np.bincount(starts)
    assert list(np.flatnonzero(counts)) == [0, 1, 2, 3]  # 4 would fit; kauldron leaves it out
    assert counts.min() > 60


@given(**SIZES, clips=st.integers(2, 9), seed=st.integers(0, 99))
def test_every_clip_is_in_the_video_and_keeps_its_stride_until_the_last_frame(length, frames, stride, clips, seed):
    several = linspaced_clips(length, frames, stride, clips)
    single = [middle_clip(length, frames, stride), random_clip(length, frames, stride, np.random.default_rng(seed))]
    assert several.shape == (clips, frames)
    assert (np.diff(several[:, 0]) >= 0).all()
    for clip in [*several, *single]:
        assert clip.shape == (frames,)
        assert clip.dtype == np.int64
        assert clip[0] >= 0
        np.testing.assert_array_equal(clip, np.minimum(clip[0] + stride * np.arange(frames), length - 1))
        assert length <= frames * stride or clip[0] + frames * stride <= length


@pytest.mark.parametrize(("length", "frames", "stride"), [(0, 16, 2), (10, 0, 2), (10, 16, 0)])
def test_a_clip_of_nothing_is_refused(length, frames, stride):
    with pytest.raises(UserError, match="must be at least 1"):
        middle_clip(length, frames, stride)


def test_one_spaced_clip_is_refused():
    with pytest.raises(UserError, match="middle_clip"):
        linspaced_clips(100, 16, 2, 1)


@pytest.mark.parametrize(
    ("frames", "stride", "starts"),
    [(16, 1, [0]), (15, 1, []), (47, 1, [0, 16]), (48, 1, [0, 16, 32]), (31, 2, [0]), (30, 2, []), (64, 2, [0, 32])],
)
def test_consecutive_clips_follow_one_another_without_overlap(frames, stride, starts):
    windows = consecutive_clips(frames, 16, stride)
    assert [int(window[0]) for window in windows] == starts
    for window in windows:
        np.testing.assert_array_equal(np.diff(window), stride)
        assert len(window) == 16
        assert window[-1] < frames
    with pytest.raises(UserError, match="stride of a clip is 0"):
        consecutive_clips(frames, 16, 0)
