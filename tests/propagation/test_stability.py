"""The stability curve: one propagation, read at five lengths in three ways."""

import csv
import dataclasses
import io

import numpy as np
import pytest
from layouts import write_davis

from propagation.tasks.davis import DavisProtocol, DavisTask
from propagation.tasks.stability import LENGTHS, DavisStabilityTask, StabilityProtocol
from rvm_bench.errors import UserError
from rvm_bench.runs.engine import evaluate

SMALL = {"input_height_px": 96, "input_width_px": 320}


def record(jf_by_frame, *, objects=1, appears=None):
    """J = F = jf at each frame; the last object is first shown at frame `appears`."""
    values = np.repeat(np.array([jf_by_frame(t) for t in range(1, 80)])[:, None], objects, axis=1)
    largest = [objects if appears is None or t >= appears else objects - 1 for t in range(80)]
    return {"largest_id": largest, "J": values.tolist(), "F": values.tolist(), "first_mask_JF": (values / 2).tolist()}


def task(mode="prefix"):
    return DavisStabilityTask(StabilityProtocol(mode=mode, **SMALL))


def test_a_steady_score_stays_at_100_percent():
    score = task().score([record(lambda t: 0.4)])
    assert [score[f"relative@{n}"] for n in LENGTHS] == pytest.approx([100] * 5)
    assert [score[f"J&F@{n}"] for n in LENGTHS] == pytest.approx([40] * 5)


@pytest.mark.parametrize(
    ("mode", "scored"),
    [
        ("prefix", lambda n: range(1, n - 1)),
        ("block", lambda n: range(max(1, n - 16), n)),
        ("frame", lambda n: [n - 1]),
    ],
)
def test_each_mode_averages_its_frames(mode, scored):
    score = task(mode).score([record(lambda t: t / 100)])
    for n in LENGTHS:
        assert score[f"J&F@{n}"] == pytest.approx(np.mean(list(scored(n))))


def test_a_score_of_0_at_the_first_length_gives_a_relative_score_of_0():
    score = task().score([record(lambda t: 0.0)])
    assert (score["J&F@16"], score["relative@80"]) == (0.0, 0.0)


def test_an_object_counts_only_from_the_length_that_shows_it():
    score = task("frame").score([record(lambda t: 1.0), record(lambda t: 0.5, objects=2, appears=40)])
    assert score["J&F@16"] == pytest.approx(75.0)
    assert score["J&F@48"] == pytest.approx(100 * 2 / 3)


def test_the_curve_is_a_row_per_length_with_intervals():
    records = [record(lambda t, slope=slope: 0.9 - slope * t / 100) for slope in (0.1, 0.3, 0.5)]
    rows = list(csv.DictReader(io.StringIO(task().artifacts(records)["curve.csv"])))
    assert [int(row["frames"]) for row in rows] == list(LENGTHS)
    assert float(rows[0]["relative"]) == 100
    last = rows[-1]
    assert float(last["relative_low"]) < float(last["relative"]) < float(last["relative_high"]) < 100


@pytest.fixture(scope="module")
def long_copy(tmp_path_factory):
    return write_davis(tmp_path_factory.mktemp("long") / "DAVIS", {"long": 82, "short": 20}, size_hw=(60, 320))


def test_only_sequences_of_more_than_80_frames_are_evaluated(long_copy, davis_copy):
    assert [video.name for video in task().open(long_copy).videos] == ["long"]
    with pytest.raises(UserError, match="no sequence of more than 80 frames"):
        task().open(davis_copy)


@pytest.fixture(scope="module")
def run(pixels, long_copy, tmp_path_factory):
    return evaluate(pixels, task(), data=long_copy, out=tmp_path_factory.mktemp("runs"))


def test_a_prefix_scores_as_the_davis_task_scores_the_cut_video(run, pixels, long_copy):
    score = task().score(run.records)
    davis = DavisTask(DavisProtocol(**SMALL))
    video = davis.open(long_copy).videos[0]
    for n in (16, 80):
        cut = dataclasses.replace(video, frames=video.frames[:n], masks=video.masks[:n])
        expected = davis.score([davis.measure(pixels, cut)])["J&F"]
        assert score[f"J&F@{n}"] == pytest.approx(expected)


def test_a_run_leaves_the_curve_beside_the_result(run):
    assert (run.path / "curve.csv").read_text().startswith("frames,J&F,")
    assert run.value == run.score["relative@80"]
