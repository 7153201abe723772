"""Colour augmentation: as often as it should be, alike in all frames of a clip, and drawn the same way every time."""

import cv2
import numpy as np
import pytest

from readouts.tasks import color_augmentation as augment
from readouts.tasks.color_augmentation import colour

DRAWS = 1500


class Given:
    """A generator whose numbers are known: the first two decide, the others are the sizes."""

    def __init__(self, *, apply=0.0, gray=1.0, brightness=0.0, saturation=1.0, contrast=1.0, hue=0.0):
        self.decisions = apply, gray
        self.sizes = [brightness, saturation, contrast, hue]

    def random(self, count):
        assert count == 2
        return self.decisions

    def uniform(self, low, high):
        size = self.sizes.pop(0)
        assert low <= size <= high
        return size


def noise(frames=3, height=6, width=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def flat(*rgb):
    return np.broadcast_to(np.array(rgb, np.uint8), (2, 4, 4, 3)).copy()


def is_gray(clip):
    return bool((clip == clip[..., :1]).all())


def test_colour_is_changed_in_four_of_five_clips_and_one_of_five_is_gray():
    rng = np.random.default_rng(0)
    clip = noise(1, 3, 3)
    results = [colour(clip, rng) for _ in range(DRAWS)]
    gray = np.mean([is_gray(result) for result in results])
    same = np.mean([np.array_equal(result, clip) for result in results])
    # Three standard deviations of a share over so many draws are 0.031.
    assert gray == pytest.approx(0.2, abs=0.035)
    assert same == pytest.approx(0.2 * 0.8, abs=0.035)


def test_all_frames_of_a_clip_are_changed_alike():
    clip = np.repeat(noise(1), 5, axis=0)
    results = [colour(clip, np.random.default_rng(seed)) for seed in range(20)]
    assert all((result == result[0]).all() for result in results)
    assert len({result.tobytes() for result in results}) > 10


def test_a_clip_is_left_alone_where_neither_applies():
    clip = noise()
    assert np.array_equal(colour(clip, Given(apply=0.8, gray=0.2, brightness=0.1, hue=0.1)), clip)


def test_sizes_of_nothing_change_nothing_but_rounding():
    clip = noise()
    difference = colour(clip, Given()).astype(int) - clip
    assert np.abs(difference).max() <= 1


def test_the_same_numbers_are_drawn_whatever_they_decide():
    decided = set()
    for seed in range(40):
        drawn, plain = np.random.default_rng(seed), np.random.default_rng(seed)
        colour(noise(1, 2, 2), drawn)
        apply, gray = plain.random(2)
        plain.random(4)
        assert drawn.random() == plain.random()
        decided.add((apply < augment.COLOUR_PROBABILITY, gray < augment.GRAY_PROBABILITY))
    assert len(decided) == 4


def test_a_clip_stays_uint8_of_its_shape_and_the_given_one_is_not_touched():
    clip = noise(2, 7, 9)
    before = clip.copy()
    for seed in range(10):
        result = colour(clip, np.random.default_rng(seed))
        assert result.dtype == np.uint8
        assert result.shape == clip.shape
    assert np.array_equal(clip, before)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("brightness", [-augment.BRIGHTNESS, augment.BRIGHTNESS])
def test_values_beyond_black_and_white_are_cut_off_and_do_not_wrap_around(value, brightness):
    result = colour(flat(value, value, value), Given(brightness=brightness))
    assert (np.abs(result.astype(int) - value) <= 32).all()


def test_brightness_is_added():
    assert (colour(flat(100, 100, 100), Given(brightness=32 / 255)) == 132).all()


def test_gray_is_luma_in_all_three_channels():
    result = colour(flat(200, 100, 50), Given(apply=1.0, gray=0.0))
    assert is_gray(result)
    assert result[0, 0, 0, 0] == round(0.2989 * 200 + 0.5870 * 100 + 0.1140 * 50)


def test_gray_comes_after_the_other_changes():
    result = colour(flat(200, 100, 50), Given(gray=0.0, brightness=20 / 255))
    assert is_gray(result)
    assert result[0, 0, 0, 0] == pytest.approx(0.2989 * 220 + 0.5870 * 120 + 0.1140 * 70, abs=1)


@pytest.mark.parametrize(("turn", "expected"), [(1 / 6, (255, 255, 0)), (-1 / 6, (255, 0, 255)), (0.0, (255, 0, 0))])
def test_red_turned_by_a_sixth_is_yellow_or_magenta(turn, expected):
    assert (np.abs(colour(flat(255, 0, 0), Given(hue=turn)).astype(int) - expected) <= 1).all()


def test_a_hue_is_turned_by_its_share_of_a_full_turn_even_through_zero():
    red_by_10_degrees = flat(255, 42, 0)
    result = colour(red_by_10_degrees, Given(hue=-0.1)).astype(np.float32) / 255
    found = cv2.cvtColor(result[0], cv2.COLOR_RGB2HSV)[0, 0, 0]
    assert found == pytest.approx(9.9 - 36 + 360, abs=1)


def test_saturation_moves_colours_to_and_from_gray():
    clip = flat(200, 100, 100)
    less, more = (colour(clip, Given(saturation=size))[0, 0, 0].astype(int) for size in (0.6, 1.4))
    assert less == pytest.approx([200, 140, 140], abs=1)
    assert more == pytest.approx([200, 60, 60], abs=1)


def test_contrast_is_around_the_mean_of_each_frame_and_channel():
    clip = np.stack([np.full((2, 2, 3), 60, np.uint8), np.full((2, 2, 3), 180, np.uint8)])
    clip[:, 0] += 20
    result = colour(clip, Given(contrast=1.4)).astype(int)
    assert result[:, 0, 0, 0] == pytest.approx([70 + 14, 190 + 14], abs=1)
    assert result[:, 1, 0, 0] == pytest.approx([70 - 14, 190 - 14], abs=1)
