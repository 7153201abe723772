"""Batches: the same for any workers, hosts and resume; full although files are damaged, until too many are."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest

from rvm_bench.errors import UserError
from rvm_bench.media.video.writer import write_video
from rvm_bench.rvm.train.data.loader import TrainingLoader
from rvm_bench.rvm.train.data.mixture import Mixture
from rvm_bench.rvm.train.data.procedural import ProceduralScene
from rvm_bench.rvm.train.data.sampling import SampleConfig
from rvm_bench.rvm.train.data.sources import Source

pytest.importorskip("grain")

SMALL = SampleConfig(size_px=32, patch_px=4, seed=3)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Four sound videos and a damaged one."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        scene = ProceduralScene(number, 48)
        height, width = (side // 2 * 2 for side in scene.size_hw)
        frames = [scene.frame(k)[:height, :width] for k in range(64)]
        write_video(folder / f"{number}.mp4", frames, fps=Fraction(25))
    (folder / "damaged.mp4").write_bytes((folder / "0.mp4").read_bytes()[:2000])
    return folder


def mixture(folder):
    return Mixture([Source(kind="folder", place=folder, fps=25), Source(kind="procedural")], SMALL)


def batches(count, made, **options):
    with TrainingLoader(made, **{"batch": 4, "left_out_limit": 1.0, **options}) as loader:
        return [next(loader) for _ in range(count)]


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_batch_has_the_shapes_and_types_that_training_takes(videos):
    (batch,) = batches(1, mixture(videos))
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        "source": ((4, 4, 32, 32, 3), "uint8"),
        "target": ((4, 4, 32, 32, 3), "uint8"),
        "deltas": ((4, 4), "int32"),
        "inds_restore": ((4, 4, 64), "int32"),
    }


def test_a_batch_is_its_samples_in_order(videos):
    made = mixture(videos)
    second = batches(2, made)[1]
    for place in range(4):
        sample, _ = made.readable_sample(4 + place)
        assert same({name: array[place] for name, array in second.items()}, sample)


def test_hosts_share_the_batches_of_one(videos):
    whole = batches(3, mixture(videos))
    parts = [batches(3, mixture(videos), host=(index, 2)) for index in range(2)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert same(batch, {name: np.concatenate([share[name] for share in shares]) for name in batch})


def test_worker_processes_change_nothing_and_a_run_goes_on_where_it_was(videos, caplog):
    alone = batches(5, mixture(videos))
    with TrainingLoader(mixture(videos), batch=4, workers=2, left_out_limit=1.0) as loader:
        for expected in alone[:2]:
            assert same(next(loader), expected)
        state = json.loads(json.dumps(loader.state()))
    assert state["step"] == 2
    assert len(json.dumps(state)) < 2000
    caplog.clear()
    resumed = TrainingLoader(mixture(videos), batch=4, left_out_limit=1.0)
    resumed.restore(state)
    assert all(same(next(resumed), expected) for expected in alone[2:])
    assert resumed.state()["left_out"] == state["left_out"] + len(caplog.messages)


def test_a_state_of_other_data_is_refused(videos):
    state = TrainingLoader(mixture(videos), batch=4).state()
    with pytest.raises(UserError, match="its batch was 4 and is 8"):
        TrainingLoader(mixture(videos), batch=8).restore(state)
    other = Mixture([Source(kind="procedural")], SMALL)
    with pytest.raises(UserError, match="its sources was"):
        TrainingLoader(other, batch=4).restore(state)


def test_damaged_files_are_left_out_by_name_and_counted_and_the_batch_stays_full(videos, caplog):
    made = Mixture([Source(kind="folder", place=videos)], SMALL)
    loader = TrainingLoader(made, batch=8, left_out_limit=1.0)
    for _ in range(4):
        assert len(next(loader)["deltas"]) == 8
    state = loader.state()
    lines = caplog.messages
    assert state["left_out"] == len(lines) > 0
    assert "damaged.mp4" in state["first_left_out"]
    assert all("damaged.mp4" in line for line in lines)
    # One file in five is damaged, and so is every fifth draw.
    assert 3 <= len(lines) <= 20


def test_training_stops_beyond_the_limit_and_names_the_first_file(videos):
    made = Mixture([Source(kind="folder", place=videos)], SMALL)
    loader = TrainingLoader(made, batch=20, left_out_limit=0.01)
    with pytest.raises(UserError, match=r"samples could not be read, more than 1\.00%.*damaged\.mp4") as raised:
        list(itertools.islice(loader, 20))
    assert "\n" not in str(raised.value)
    # Ten are 1 % of the least number that the limit counts as drawn.
    assert 10 < loader.state()["left_out"] < 25


def test_one_damaged_file_stops_training_where_none_is_allowed(videos):
    made = Mixture([Source(kind="folder", place=videos)], SMALL)
    with pytest.raises(UserError, match=r"1 of|2 of|3 of"):
        batches(4, made, left_out_limit=0.0)


@pytest.mark.parametrize("workers", [0, 1])
def test_data_of_which_nothing_can_be_read_is_an_error_in_one_line(tmp_path, workers):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    made = Mixture([Source(kind="folder", place=tmp_path)], SMALL)
    with pytest.raises(UserError, match=r"17 draws in a row.*broken\.mp4"):
        batches(1, made, workers=workers)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": 5, "host": (0, 2)}, "cannot be shared by 2 hosts"),
        ({"host": (2, 2)}, "host 2 of 2 does not exist"),
        ({"workers": -1}, "-1 workers"),
        ({"left_out_limit": 2.0}, "left_out_limit"),
    ],
)
def test_a_loader_that_cannot_be_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        TrainingLoader(Mixture([Source(kind="procedural")], SMALL), **{"batch": 4, **options})
