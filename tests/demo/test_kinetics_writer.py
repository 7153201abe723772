"""The demo copy has the layout of Kinetics-700-2020, and its videos differ as real ones do."""

import csv
import itertools
import re

import av
import numpy as np
import pytest

from readouts.datasets.kinetics import COLUMNS, open_kinetics
from rvm_bench.demo.kinetics import ACTIONS, FRAMES, RATES, SIZES_HW, draw_scene, write
from rvm_bench.errors import UserError


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder, and the number of frames that was told of every video."""
    folder = tmp_path_factory.mktemp("demo") / "K700"
    frames = {}
    write(folder, training=1, validation=1, progress=frames.__setitem__)
    return folder, frames


def rows(folder, split):
    with (folder / f"{split}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def decoded(file):
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return stream.codec_context.name, stream.average_rate, np.stack(frames)


def test_the_copy_is_in_the_official_layout_and_the_reader_finds_all_of_it(written):
    folder, _ = written
    expected = {"train.csv", "val.csv"}
    for split in ("train", "val"):
        ids = [row["youtube_id"] for row in rows(folder, split)]
        assert ids == sorted(ids)
        for row in rows(folder, split):
            assert tuple(row) == COLUMNS
            assert re.fullmatch(r"[A-Za-z0-9_-]{11}", row["youtube_id"])
            start, end = int(row["time_start"]), int(row["time_end"])
            assert end == start + 10
            expected.add(f"{split}/{row['youtube_id']}_{start:06d}_{end:06d}.mp4")
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == expected
    opened = open_kinetics(folder)
    assert opened.classes == tuple(sorted(action.label for action in ACTIONS))
    for split in (opened.training, opened.evaluation):
        assert not split.missing
        assert np.bincount([example.label for example in split.examples]).tolist() == [1] * len(ACTIONS)
    assert len(opened.problems()) == 3, "only that it has other numbers of classes and videos"


def test_every_video_is_h264_with_all_its_frames_and_moves(written):
    folder, told = written
    sizes, rates = set(), set()
    for file in folder.rglob("*.mp4"):
        codec, rate, frames = decoded(file)
        assert codec == "h264"
        assert rate in RATES
        assert len(frames) == told[file.stem]
        assert FRAMES[0] <= len(frames) <= FRAMES[1]
        assert frames.shape[1:3] in SIZES_HW
        clips = [
            frames[start : start + 32 : 2].astype(int) for start in np.linspace(0, len(frames) - 32, 7).astype(int)
        ]
        assert all(np.abs(one - other).mean() > 0.5 for one, other in itertools.pairwise(clips))
        sizes.add(frames.shape[1:3])
        rates.add(rate)
    assert len(sizes) > 2
    assert len(rates) > 2


def test_ids_may_begin_with_a_hyphen():
    from rvm_bench.demo.kinetics import _youtube_id

    rng = np.random.default_rng(0)
    ids = [_youtube_id(rng) for _ in range(60)]
    assert len(set(ids)) == 60
    assert 0 < sum(i.startswith("-") for i in ids) < 30


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.label)
def test_any_seed_has_its_bodies_in_view_half_way(action):
    for seed in range(3):
        scene = draw_scene((seed,), action)
        shown = np.bincount(scene.render(scene.frames // 2).instances.ravel(), minlength=len(scene.bodies) + 1)
        assert len(scene.bodies) == action.scene.things + action.scene.figures
        assert (shown[1:].sum() / shown.sum()) > 0.01


def test_the_copy_is_the_same_every_time_and_changes_with_the_seed(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write(tmp_path / name, seed=seed, actions=ACTIONS[:2], training=0, validation=1)
    one, two, three = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*") if path.is_file()}
        for name in ("one", "two", "three")
    )
    assert len(one) == 2 + 2
    assert one == two
    assert not {name for name in one if name.endswith(".mp4")} & set(three)
    assert one["val.csv"] != three["val.csv"]


def test_an_existing_copy_is_never_overwritten(written):
    folder, _ = written
    before = (folder / "val.csv").read_bytes()
    with pytest.raises(UserError, match=r"train\.csv exists"):
        write(folder)
    assert (folder / "val.csv").read_bytes() == before
