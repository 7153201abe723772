"""Saved predictions: complete, at native size, in the official evaluator's layout, and equal to what was scored."""

import numpy as np
import pytest

from propagation.metrics import region_similarity
from propagation.tasks.davis import DavisProtocol, DavisTask
from rvm_bench.media.images import read_labels
from rvm_bench.runs.engine import evaluate


@pytest.fixture
def task():
    return DavisTask(DavisProtocol(input_height_px=96, input_width_px=176))


def test_what_is_saved_is_what_was_scored(task, pixels, davis_copy, tmp_path):
    task.save_predictions(tmp_path / "out")
    result = evaluate(pixels, task, data=davis_copy, out=tmp_path / "runs")
    for video, record in zip(task.open(davis_copy).videos, result.records, strict=True):
        saved = np.stack([read_labels(tmp_path / "out" / video.name / f"{f.stem}.png") for f in video.frames])
        truth = np.stack([read_labels(mask) for mask in video.masks])
        assert saved.shape == truth.shape
        for scored in record["objects"]:
            j = region_similarity(truth[1:-1] == scored["id"], saved[1:-1] == scored["id"])
            np.testing.assert_allclose(j, scored["J_frames"], atol=1e-12)


def test_a_finished_run_still_writes_predictions_that_are_missing(task, pixels, davis_copy, tmp_path):
    before = evaluate(pixels, task, data=davis_copy, out=tmp_path / "runs")
    records = (before.path / "records.jsonl").read_bytes()
    task.save_predictions(tmp_path / "out")
    evaluate(pixels, task, data=davis_copy, out=tmp_path / "runs")
    assert len(list((tmp_path / "out").rglob("*.png"))) == 13
    assert (before.path / "records.jsonl").read_bytes() == records
    lost = tmp_path / "out" / "beta" / "00001.png"
    lost.unlink()
    evaluate(pixels, task, data=davis_copy, out=tmp_path / "runs")
    assert lost.exists()
