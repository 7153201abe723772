"""Training samples: which frames, which crops, which masks, and that all of it follows from the number alone."""

import math
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.media.video.reader import frame_times_s
from rvm_bench.media.video.writer import write_video
from rvm_bench.rvm.masking import visible_count
from rvm_bench.rvm.train.data.augment import CROP_RATIO, CROP_SCALE, augment, draw_crop, resized_crop
from rvm_bench.rvm.train.data.mixture import Mixture
from rvm_bench.rvm.train.data.procedural import FRAMES, ProceduralScene
from rvm_bench.rvm.train.data.sampling import SampleConfig
from rvm_bench.rvm.train.data.sources import Source
from rvm_bench.rvm.train.data.timing import clip_at_rate

SMALL = SampleConfig(size_px=32, patch_px=4, seed=5)


def counting_frames(count, size=48):
    """Frames whose gray level is twice their number."""
    return [np.full((size, size, 3), 2 * k, np.uint8) for k in range(count)]


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_clip_at_the_videos_own_rate_is_its_frames():
    times = np.arange(100) / 25
    for share in (0.0, 0.5, 0.999):
        numbers = clip_at_rate(times, 25, 64, share)
        assert np.array_equal(numbers, clip_at_rate(times, None, 64, share))
        assert np.array_equal(numbers, int(share * 37) + np.arange(64))


def test_a_lower_rate_skips_frames_and_a_higher_one_repeats_them():
    assert np.array_equal(clip_at_rate(np.arange(300) / 30, 10, 64, 0), 3 * np.arange(64))
    assert np.array_equal(clip_at_rate(np.arange(100) / 12, 24, 8, 0), [0, 0, 1, 1, 2, 2, 3, 3])


def test_a_short_video_gives_a_short_clip_and_repeats_nothing():
    assert np.array_equal(clip_at_rate(np.arange(40) / 25, 25, 64, 0.9), np.arange(40))
    assert np.array_equal(clip_at_rate(np.arange(40) / 20, 10, 64, 0.9), np.arange(20) * 2)


@given(
    steps=st.lists(st.floats(0.001, 0.3), min_size=1, max_size=200),
    fps=st.floats(1, 60),
    share=st.floats(0, 1, exclude_max=True),
)
@settings(max_examples=60, deadline=None)
def test_each_step_of_a_clip_shows_the_nearest_frame(steps, fps, share):
    times = np.concatenate([[0], np.cumsum(steps)])
    numbers = clip_at_rate(times, fps, 64, share)
    assert 1 <= len(numbers) <= 64
    assert 0 <= numbers[0] <= numbers[-1] < len(times)
    steps_s = times[numbers[0]] + np.arange(len(numbers)) / fps
    nearest = np.abs(times[:, None] - steps_s).min(axis=0)
    assert np.allclose(np.abs(times[numbers] - steps_s), nearest, atol=3e-6)
    if times[-1] * fps < 62.7:
        assert numbers[0] == 0


def test_a_variable_frame_rate_is_read_by_its_timestamps(tmp_path):
    file = tmp_path / "variable.mp4"
    shown_ms = np.cumsum([0] + [40] * 20 + [200] * 10 + [20] * 60)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=50)
        stream.width = stream.height = 48
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for stamp, image in zip(shown_ms, counting_frames(len(shown_ms)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = int(stamp), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    times = frame_times_s(file)
    assert np.allclose(times, shown_ms / 1000, atol=1e-6)
    numbers = clip_at_rate(times, 5, 64, 0)
    assert np.allclose(times[numbers], np.arange(len(numbers)) / 5, atol=0.021)
    assert np.array_equal(np.diff(numbers)[:3], [5, 5, 5])
    assert np.array_equal(np.diff(numbers)[5:13], np.ones(8))
    assert np.array_equal(np.diff(numbers)[-4:], [10, 10, 10, 10])


def test_times_are_of_shown_frames_in_either_way_of_reading(tmp_path):
    for name, fps in (("a.mp4", Fraction(30000, 1001)), ("b.webm", Fraction(25))):
        write_video(tmp_path / name, counting_frames(30), fps=fps)
        assert np.allclose(frame_times_s(tmp_path / name), np.arange(30) / float(fps), atol=1.1e-3)
    with av.open(str(tmp_path / "c.avi"), "w") as container:  # a codec whose packets are not sure to be one frame each
        stream = container.add_stream("mpeg4", rate=20, options={"bf": "2"})
        stream.width = stream.height = 48
        for image in counting_frames(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    assert np.allclose(frame_times_s(tmp_path / "c.avi"), np.arange(20) / 20, atol=1e-6)


def test_crops_keep_to_the_papers_ranges():
    rng = np.random.default_rng(0)
    boxes = np.array([draw_crop((480, 640), rng) for _ in range(3000)])
    top, left, height, width = boxes.T
    assert (boxes >= 0).all()
    assert (top + height <= 480).all()
    assert (left + width <= 640).all()
    scale, ratio = height * width / (480 * 640), width / height
    assert scale.min() > CROP_SCALE[0] - 0.005
    assert scale.max() <= CROP_SCALE[1]
    assert ratio.min() > CROP_RATIO[0] - 0.01
    assert ratio.max() < CROP_RATIO[1] + 0.01
    assert scale.min() < 0.31
    assert ratio.min() < 0.76
    assert ratio.max() > 1.24


@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_a_crop_fits_into_any_frame(height, width, seed):
    top, left, crop_h, crop_w = draw_crop((height, width), np.random.default_rng(seed))
    assert min(top, left) >= 0
    assert min(crop_h, crop_w) >= 1
    assert top + crop_h <= height
    assert left + crop_w <= width


def test_a_frame_of_any_shape_has_a_crop():
    assert draw_crop((10, 1000), np.random.default_rng(0)) == (0, 494, 10, 12)
    assert draw_crop((1000, 10), np.random.default_rng(0)) == (493, 0, 13, 10)


@pytest.mark.parametrize("box", [(3, 5, 20, 30), (0, 0, 64, 80), (10, 10, 50, 45)])
def test_resizing_is_pillows_bicubic_with_antialiasing(box):
    frame = np.random.default_rng(1).integers(0, 256, (64, 80, 3), np.uint8)
    top, left, height, width = box
    expected = Image.fromarray(frame[top : top + height, left : left + width])
    expected = np.asarray(expected.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(resized_crop(frame[None], box, 32)[0] - expected).max() <= 1


def test_a_flip_is_of_the_whole_clip_and_crops_are_of_frames_or_of_the_clip():
    ramp = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], (64, 64, 3))
    clip = np.broadcast_to(ramp, (6, 64, 64, 3))
    flips = 0
    for seed in range(60):
        frames = augment(clip, 32, np.random.default_rng(seed)).astype(int)
        rising = frames[:, 16, -1, 0] > frames[:, 16, 0, 0]
        assert rising.all() or not rising.any()
        flips += not rising[0]
        assert len({frame.tobytes() for frame in frames}) > 1
        alike = augment(clip, 32, np.random.default_rng(seed), crop_per="clip")
        assert len({frame.tobytes() for frame in alike}) == 1
    assert 15 < flips < 45


def test_a_sample_has_the_shapes_types_and_ranges_that_the_model_takes():
    mixture = Mixture([Source(kind="procedural")], SMALL)
    deltas = []
    for number in range(40):
        sample = mixture.sample(number)
        assert sample["source"].shape == sample["target"].shape == (4, 32, 32, 3)
        assert sample["source"].dtype == sample["target"].dtype == np.uint8
        assert sample["deltas"].dtype == sample["inds_restore"].dtype == np.int32
        assert np.array_equal(np.sort(sample["inds_restore"], axis=1), np.tile(np.arange(64), (4, 1)))
        deltas.append(sample["deltas"])
    deltas = np.concatenate(deltas)
    assert deltas.min() >= 4
    assert deltas.max() <= 48
    assert len(np.unique(deltas)) > 35
    assert abs(deltas.mean() - 26) < 4


def test_masks_hide_the_stated_share_and_differ_between_targets():
    config = SampleConfig(size_px=256, seed=1)
    inds = Mixture([Source(kind="procedural")], config).sample(0)["inds_restore"]
    assert inds.shape == (4, 256)
    assert ((inds < visible_count(256)).sum(axis=1) == 12).all()
    assert len({row.tobytes() for row in inds}) == 4


def test_the_same_number_is_the_same_sample_and_another_is_another():
    first, again = (Mixture([Source(kind="procedural")], SMALL) for _ in range(2))
    later = [first.sample(number) for number in (7, 3, 0)]
    assert all(same(a, again.sample(number)) for a, number in zip(later, (7, 3, 0), strict=True))
    assert not same(first.sample(0), first.sample(1))
    assert not same(first.sample(0), first.sample(0, attempt=1))
    other = Mixture([Source(kind="procedural")], SampleConfig(size_px=32, patch_px=4, seed=6))
    assert not same(first.sample(0), other.sample(0))


def test_sources_are_drawn_by_their_weights():
    names = "abc"
    mixture = Mixture(
        [Source(kind="procedural", weight=w, name=n) for n, w in zip(names, (1, 5, 14), strict=True)], SMALL
    )
    drawn = [mixture.source_of(number).name for number in range(4000)]
    for name, share in zip(names, (0.05, 0.25, 0.7), strict=True):
        assert abs(drawn.count(name) / 4000 - share) < 4 * math.sqrt(share * (1 - share) / 4000)


def test_frames_of_a_sample_are_four_in_a_row_and_the_targets_that_deltas_name(tmp_path):
    write_video(tmp_path / "count.mp4", counting_frames(110), fps=Fraction(25))
    for fps, step in ((25, 1), (12.5, 2), (None, 1)):
        mixture = Mixture([Source(kind="folder", place=tmp_path, fps=fps)], SMALL)
        starts = set()
        for number in range(12):
            sample = mixture.sample(number)
            source = np.rint(sample["source"].mean(axis=(1, 2, 3)) / 2).astype(int)
            target = np.rint(sample["target"].mean(axis=(1, 2, 3)) / 2).astype(int)
            assert np.abs(np.diff(source) - step).max() <= 1
            assert np.abs(target - source[3] - step * sample["deltas"]).max() <= 1
            starts.add(int(source[0]))
        assert len(starts) > 5 if step == 1 else max(starts) <= 1


def test_targets_of_a_short_video_lie_within_it(tmp_path):
    write_video(tmp_path / "short.mp4", counting_frames(20), fps=Fraction(25))
    mixture = Mixture([Source(kind="folder", place=tmp_path, fps=25)], SMALL)
    deltas = np.concatenate([mixture.sample(number)["deltas"] for number in range(30)])
    assert deltas.min() == 4
    assert deltas.max() == 16


def test_a_video_with_too_few_frames_is_named(tmp_path):
    write_video(tmp_path / "tiny.mp4", counting_frames(7), fps=Fraction(25))
    mixture = Mixture([Source(kind="folder", place=tmp_path, fps=25)], SMALL)
    with pytest.raises(DamagedFile, match=r"tiny\.mp4 has 7 frames at 25 a second; expected at least 8"):
        mixture.sample(0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size_px": 40}, "multiple of the patch"),
        ({"delta_max": 61}, "fits in 64 frames"),
        ({"delta_min": 50}, "fits in 64 frames"),
        ({"mask_ratio": 1.0}, "mask_ratio"),
        ({"size_px": 16, "mask_ratio": 0.95}, None),
        ({"targets": 0}, "targets is 0"),
        ({"crop_per": "video"}, "crop_per"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        SampleConfig(**changes)


def test_a_procedural_scene_moves_smoothly_and_is_painted_the_same_in_any_order():
    moved = 0
    for seed in range(20):
        scene = ProceduralScene(seed, 48)
        frames = {number: scene.frame(number) for number in (40, 0, 1)}
        assert min(frames[0].shape[:2]) == 48
        again = ProceduralScene(seed, 48)
        assert all(np.array_equal(again.frame(number), frames[number]) for number in (0, 1, 40))
        blurred = [cv2.GaussianBlur(frames[k], (0, 0), 2).astype(float) for k in (0, 1, 40)]
        near, far = (np.abs(blurred[0] - other).mean() for other in blurred[1:])
        moved += near < far
    assert moved >= 18
    with pytest.raises(IndexError):
        scene.frame(FRAMES)
