"""Evaluation: the same result however often it is interrupted or split, and a stamp that says what was done."""

import dataclasses
import json

import pytest
from toys import Ones, ToyProtocol, ToyTask

from rvm_bench.api.task import FitsHeads
from rvm_bench.errors import UserError
from rvm_bench.runs.engine import evaluate
from rvm_bench.runs.fingerprint import describe_run, fingerprint


@pytest.fixture
def numbers(tmp_path):
    folder = tmp_path / "TOY"
    folder.mkdir()
    for name, value in {"a": 1, "b": 2, "c": 6}.items():
        (folder / f"{name}.txt").write_text(str(value))
    return folder


class Breaks(ToyTask):
    """Stops the evaluation at the second video, as a crash does."""

    def measure(self, encoder, video, tick=lambda: None):
        if video.name == "b":
            raise RuntimeError("power cut")
        return super().measure(encoder, video)


Breaks.__module__, Breaks.__qualname__ = ToyTask.__module__, ToyTask.__qualname__


def test_the_score_comes_from_the_records(tmp_path, numbers):
    result = evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path / "runs")
    assert [record["video"] for record in result.records] == ["a", "b", "c"]
    assert result.value == 6.0
    assert result.interval[0] < 6.0 < result.interval[1]
    assert result.remaining == ()


def test_a_broken_run_goes_on_where_it_stopped_and_ends_in_the_same_bytes(tmp_path, numbers):
    whole = evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        evaluate(Ones(), Breaks(), data=numbers, out=tmp_path / "broken")
    task = ToyTask()
    resumed = evaluate(Ones(), task, data=numbers, out=tmp_path / "broken")
    assert task.measured == ["b", "c"]
    assert (resumed.score, resumed.interval) == (whole.score, whole.interval)
    assert (resumed.path / "records.jsonl").read_bytes() == (whole.path / "records.jsonl").read_bytes()


def test_a_finished_run_is_only_read(tmp_path, numbers):
    first = evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path)
    stamp = (first.path / "result.json").read_bytes()
    task = ToyTask()
    again = evaluate(Ones(), task, data=numbers, out=tmp_path)
    assert (task.measured, again.score, (again.path / "result.json").read_bytes()) == ([], first.score, stamp)


def test_a_result_that_does_not_follow_from_the_records_is_replaced(tmp_path, numbers):
    result = evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path)
    file = result.path / "result.json"
    file.write_text(file.read_text().replace('"mean": 6.0', '"mean": 9.0'))
    assert evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path).value == 6.0
    assert json.loads(file.read_text())["score"] == {"mean": 6.0}


def test_shards_give_the_result_of_one_process(tmp_path, numbers):
    whole = evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path / "whole")
    part = evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path / "parts", shard=(2, 2))
    assert (part.score, part.remaining) == ({}, ("a", "c"))
    assert not (part.path / "result.json").exists()
    merged = evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path / "parts", shard=(1, 2))
    assert (merged.score, merged.interval) == (whole.score, whole.interval)
    assert (merged.path / "records.jsonl").read_bytes() == (whole.path / "records.jsonl").read_bytes()


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 0)])
def test_a_shard_that_does_not_exist_is_refused(tmp_path, numbers, shard):
    with pytest.raises(UserError, match="expected i/n"):
        evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path, shard=shard)


class Fits(FitsHeads, ToyTask):
    """Notes whether there was anything to fit for."""

    def fit(self, encoder, folder):
        self.fits = [*getattr(self, "fits", []), folder.name]

    def fit_summary(self, folder):
        return None


def test_what_is_fitted_is_fitted_before_the_first_video_and_not_for_a_finished_run(tmp_path, numbers):
    task = Fits()
    for _ in range(2):
        evaluate(Ones(), task, data=numbers, out=tmp_path)
    assert task.fits == ["fit"]


def test_a_shard_without_videos_left_fits_alone_nothing_but_takes_part_under_torchrun(tmp_path, numbers, monkeypatch):
    alone = Fits()
    evaluate(Ones(), Fits(), data=numbers, out=tmp_path, shard=(1, 2))
    evaluate(Ones(), alone, data=numbers, out=tmp_path, shard=(1, 2))
    assert not hasattr(alone, "fits")
    # The second process of two has a video left, and waits in its fit for the first one.
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    evaluate(Ones(), Fits(), data=numbers, out=tmp_path)
    together = Fits()
    result = evaluate(Ones(), together, data=numbers, out=tmp_path)
    assert (together.fits, together.measured, result.remaining) == (["fit"], [], ("b",))


def test_missing_data_stops_unless_allowed_and_is_stamped(tmp_path, numbers):
    (numbers / "b.txt").write_text("")
    with pytest.raises(UserError, match=r"b\.txt is empty"):
        evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path)
    result = evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path, allow_missing=True)
    stored = json.loads((result.path / "result.json").read_text())
    assert stored["partial"]
    assert stored["coverage"]["missing"] == ["b.txt"]
    assert result.value == 7.0


def test_the_stamp_says_what_was_done(tmp_path, numbers):
    result = evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path)
    stored = json.loads((result.path / "result.json").read_text())
    stamp = stored["stamp"]
    assert stamp["task"]["protocol"] == {"id": "toy/1", "factor": 2.0}
    assert stamp["encoder"]["card"]["name"] == "ones"
    assert (len(stamp["encoder"]["weights"]["sha256"]), len(stamp["data"]["manifest_sha256"])) == (32, 64)
    assert stamp["encoder"]["dtype"] == "float32"
    assert {"commit", "dirty", "version"} <= stamp["code"].keys()
    assert {"libraries", "processor", "threads", "python"} <= stamp["environment"].keys()
    assert stamp["wall_s"] >= 0
    assert stamp["peak_memory_mb"]["resident"] > 1
    assert stored["interval_level"] == 0.95
    assert stored["official_split"]


def test_demo_data_is_written_on_first_use(tmp_path):
    assert evaluate(Ones(), ToyTask(), data="demo", out=tmp_path).value == 2.0


def changed(**card):
    encoder = Ones()
    encoder.card = dataclasses.replace(encoder.card, **card)
    return encoder


def with_attribute(name, value):
    encoder = Ones()
    setattr(encoder, name, value)
    return encoder


def test_everything_that_can_change_the_number_changes_the_fingerprint(numbers):
    import torch

    def of(encoder=None, task=None):
        encoder, task = encoder or Ones(), task or ToyTask()
        return fingerprint(describe_run(encoder, task, task.open(numbers, allow_missing=True)))

    base = of()
    assert of() == base
    variants = [
        of(task=ToyTask(ToyProtocol(factor=2.0000001))),
        of(task=ToyTask(ToyProtocol(id="toy/2"))),
        of(changed(name="other")),
        of(changed(pixel_mean=(0.0, 0.0, 0.1))),
        of(Ones(level=1.0000001)),
        of(with_attribute("dtype", torch.bfloat16)),
        of(with_attribute("chunk", 5)),
        of(with_attribute("options", {"positions": "release"})),
    ]
    (numbers / "c.txt").write_text("6.0")
    variants.append(of())
    (numbers / "d.txt").write_text("")
    variants.append(of())
    assert len({base, *variants}) == 1 + len(variants)


def test_a_change_of_a_plugins_source_is_another_fingerprint(numbers, tmp_path, monkeypatch):
    import importlib
    import sys

    monkeypatch.syspath_prepend(tmp_path)
    source = "from toys import Ones\nclass Mine(Ones):\n    scale = 1\n"
    prints = []
    for text in (source, source, source.replace("1", "2")):
        (tmp_path / "plugin_under_test.py").write_text(text)
        sys.modules.pop("plugin_under_test", None)
        importlib.invalidate_caches()
        module = importlib.import_module("plugin_under_test")
        prints.append(fingerprint(describe_run(module.Mine(), ToyTask(), ToyTask().open(numbers))))
    assert prints[0] == prints[1] != prints[2]
