"""The demo copy has the official layout of Something-Something v2, and only motion tells its classes apart."""

import dataclasses
import json

import av
import numpy as np
import pytest
from scipy.stats import ks_2samp, kstest

from readouts.datasets.ssv2 import open_ssv2
from rvm_bench.demo.ssv2 import DIRECTIONS, FPS, FRAMES, HEIGHT_PX, WIDTHS_PX, Stage, draw_stage, write
from rvm_bench.errors import UserError

RIGHT, LEFT, DOWN, UP = (1, 0), (-1, 0), (0, 1), (0, -1)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "SSv2"
    calls = []
    write(folder, training=3, validation=1, progress=lambda name, frames: calls.append((name, frames)))
    assert sorted(int(name) for name, _ in calls) == list(range(1, 17))
    assert all(FRAMES[0] <= frames <= FRAMES[1] for _, frames in calls)
    return folder


@pytest.fixture(scope="module")
def stages():
    return [draw_stage((7, number)) for number in range(24)]


def listed(folder, split):
    return json.loads((folder / f"something-something-v2-{split}.json").read_text())


def decoded(file):
    """The codec, the rate and the frames [T, H, W, 3] of a video."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return stream.codec_context.name, stream.average_rate, np.stack(frames)


def places(stages, direction, share):
    """Where the things are when `share` of their clips has passed, as a share of the image, [stages, 2]."""
    return np.array(
        [
            stage.place(direction, round(share * (stage.frames - 1))) / stage.background.shape[1::-1]
            for stage in stages
        ]
    )  # fmt: skip


def test_the_copy_is_in_the_official_layout_and_the_reader_finds_all_of_it(copy):
    names = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    jsons = {f"something-something-v2-{name}.json" for name in ("train", "validation", "labels")}
    assert names == jsons | {f"20bn-something-something-v2/{i}.webm" for i in range(1, 17)}
    assert {key for entry in listed(copy, "train") for key in entry} == {"id", "label", "template", "placeholders"}
    opened = open_ssv2(copy)
    assert opened.classes == tuple(sorted(template.replace("[", "").replace("]", "") for template in DIRECTIONS))
    for split, scenes in ((opened.training, 3), (opened.evaluation, 1)):
        assert not split.missing
        assert np.bincount([example.label for example in split.examples]).tolist() == [scenes] * 4
    assert len(opened.problems()) == 3, "only that it has other numbers of classes and videos"


def test_every_video_is_vp9_and_has_the_frames_that_were_drawn(copy):
    for entry in listed(copy, "validation"):
        codec, rate, frames = decoded(copy / "20bn-something-something-v2" / f"{entry['id']}.webm")
        assert codec in ("vp9", "libvpx-vp9")
        assert rate == FPS
        stage = draw_stage((0, 1, 0))
        assert frames.shape == (stage.frames, *stage.background.shape)
        assert frames.shape[1] == HEIGHT_PX
        assert frames.shape[2] in WIDTHS_PX
        truth = stage.render(DIRECTIONS[entry["template"]], 9)
        assert np.abs(frames[9].astype(int) - truth).mean() < 12


@pytest.mark.parametrize(("one", "other"), [(RIGHT, LEFT), (DOWN, UP)])
def test_played_backwards_a_video_is_the_one_of_the_opposite_class(stages, one, other):
    for stage in stages[:3]:
        for t in range(stage.frames):
            np.testing.assert_array_equal(stage.render(one, t), stage.render(other, stage.frames - 1 - t))


def test_from_uniform_places_half_way_every_frame_of_every_class_has_uniform_places():
    """Exactly so: a full grid of places is moved onto itself."""
    background, thing = np.zeros((12, 16, 3), np.uint8), np.zeros((12, 16, 4), np.float32)
    grid = [(x + 0.25, y + 0.25) for x in range(16) for y in range(12)]
    for direction in DIRECTIONS.values():
        for t in (0, 3, 10, 40):
            cells = set()
            for middle in grid:
                stage = Stage(background=background, thing=thing, middle_xy=np.array(middle), speed_px=2.0, frames=41)
                cells.add(tuple(np.floor(stage.place(direction, t)).astype(int).tolist()))
            assert len(cells) == len(grid)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_places_at_any_time_are_uniform_and_the_same_for_all_classes(stages, share):
    of_class = [places(stages, direction, share) for direction in DIRECTIONS.values()]
    for axis in (0, 1):
        for one in of_class:
            assert kstest(one[:, axis], "uniform").pvalue > 0.01
            for other in of_class:
                assert ks_2samp(one[:, axis], other[:, axis]).pvalue > 0.01


def test_two_frames_of_the_file_tell_the_class(copy):
    """What differs from the background is the same in both, but for where it is."""
    for number, (split, scenes) in enumerate((("train", 3), ("validation", 1))):
        stages = [draw_stage((0, number, scene)) for scene in range(scenes)]
        for entry in listed(copy, split):
            frames = decoded(copy / "20bn-something-something-v2" / f"{entry['id']}.webm")[-1]
            stage = min(stages, key=lambda stage: distance(frames, stage))
            first, second = (np.abs(frames[t].astype(float) - stage.background).sum(axis=2) for t in (10, 14))
            moved = shift(first - first.mean(), second - second.mean())
            expected = np.array(DIRECTIONS[entry["template"]]) * 4 * stage.speed_px
            np.testing.assert_allclose(moved, expected, atol=2)


def distance(frames, stage):
    if frames.shape[1:] != stage.background.shape:
        return np.inf
    return np.abs(np.median(frames[::4], axis=0) - stage.background).mean()


def shift(first, second):
    """By how many pixels (x, y) the second picture is the first one moved, on a torus: the peak of the correlation."""
    correlation = np.fft.ifft2(np.fft.fft2(second) * np.conj(np.fft.fft2(first))).real
    at = np.array(np.unravel_index(correlation.argmax(), correlation.shape))
    size = np.array(correlation.shape)
    return ((at + size // 2) % size - size // 2)[::-1]


def test_the_middle_square_of_a_frame_shows_some_of_the_thing_nearly_wherever_it_is(stages):
    shown = []
    for stage in stages:
        margin = (stage.background.shape[1] - HEIGHT_PX) // 2
        for x in np.linspace(0, stage.background.shape[1], 12):
            still = dataclasses.replace(stage, middle_xy=np.array([x, 40.0]), speed_px=0.0, frames=1)
            change = (still.render(RIGHT, 0).astype(int) - stage.background)[:, margin : margin + HEIGHT_PX]
            shown.append((np.abs(change).sum(axis=2) > 20).sum() > 40)
    assert np.mean(shown) > 0.93


def test_the_copy_is_the_same_every_time_and_changes_with_the_seed(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write(tmp_path / name, seed=seed, training=1, validation=0)
    one, two, three = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*") if path.is_file()}
        for name in ("one", "two", "three")
    )
    assert len(one) == 4 + 3
    assert one == two
    assert all(one[name] != three[name] for name in one if name.endswith(".webm"))


def test_an_existing_copy_is_never_overwritten(copy):
    before = (copy / "something-something-v2-labels.json").read_bytes()
    with pytest.raises(UserError, match=r"labels\.json exists"):
        write(copy)
    assert (copy / "something-something-v2-labels.json").read_bytes() == before
