"""Runs of the readout tasks, from the command line to the score, on tiny procedural copies and with raw pixels."""

import json
import shutil

import pytest
from safetensors.torch import load_file
from small_tasks import HEADLINES, OFFICIAL, SCORED, SMALL, as_options, opened, result_of

from readouts.tasks.ssv2 import SSv2Task
from rvm_bench.api.registry import find_task
from rvm_bench.errors import UserError
from rvm_bench.fetch.locate import demo_folder

NAMES = ("ssv2", "kinetics", "scannet")


@pytest.mark.parametrize("name", NAMES)
def test_a_run_fits_a_head_and_scores_it_and_later_calls_only_read_it(run, copies, tmp_path, name):
    code, out, err = run(name, copies)
    assert code == 0, err
    assert f"pixels on {name}: {HEADLINES[name]} " in out
    folder, result = result_of(tmp_path)
    assert (folder / "fit/readout.safetensors").exists()
    assert result["metric"]["key"] == HEADLINES[name]
    low, high = result["interval"]
    assert low <= result["score"][HEADLINES[name]] <= high
    assert result["videos"] == SCORED[name]
    assert result["coverage"]["official"] == OFFICIAL[name]
    assert result["coverage"]["in_official"] == 0
    assert not result["official_split"]
    assert not result["partial"]
    assert result["off_protocol"].keys() == SMALL.keys()
    assert result["stamp"]["task"]["protocol"]["steps"] == 6
    assert "features" not in result["stamp"]["task"]
    floor = result["metric"]["floor"]
    assert floor in result["score"]

    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    code, again, err = run(name, copies)
    assert code == 0, err
    assert again.splitlines()[-1] == out.splitlines()[-1]
    assert "readouts of" not in again
    changed = {file.name for file, at in before.items() if file.stat().st_mtime_ns != at}
    assert changed <= {"records.jsonl"}

    records = (folder / "records.jsonl").read_bytes()
    (folder / "records.jsonl").write_bytes(records[: len(records) // 2])
    (folder / "result.json").unlink()
    code, out, err = run(name, copies)
    assert code == 0, err
    assert "this readout is fitted; it is only read" in out
    assert (folder / "records.jsonl").read_bytes() == records
    readout = folder / "fit/readout.safetensors"
    assert readout.stat().st_mtime_ns == before[readout]
    assert result_of(tmp_path)[1]["score"] == result["score"]


def test_cached_and_uncached_runs_are_different_runs_and_reading_or_writing_the_cache_is_not(
    run, copies, tmp_path, monkeypatch
):
    monkeypatch.setenv("RVM_BENCH_CACHE", str(tmp_path / "cache"))
    scores = {}
    for mode in ("off", "write", "read"):
        code, out, err = run("ssv2", copies, "--cache", mode, fixed_clips=True)
        assert code == 0, err
        scores[mode] = out.splitlines()[-1]
        kept = [name for file in (tmp_path / "cache").rglob("*.safetensors") for name in load_file(file)]
        # The 12 training videos, each once; a scored clip is seen once and not kept.
        assert len(kept) == (0 if mode == "off" else 12)
    assert scores["write"] == scores["read"]
    runs = sorted((tmp_path / "runs/ssv2").iterdir())
    told = [json.loads((path / "run.json").read_text()) for path in runs]
    assert len(runs) == 2
    assert {content["task"].get("features") for content in told} == {None, "bfloat16"}


def test_cache_and_workers_are_refused_where_nothing_is_fitted(cli, davis_copy):
    for option in (("--cache", "write"), ("--workers", "2")):
        code, _, err = cli("run", "--model", "pixels", "--task", "davis", "--data", davis_copy, *option)
        assert code == 2
        assert err == "rvm-bench: davis fits no head; leave out --cache and --workers\n"


def test_an_unknown_cache_mode_is_refused_with_the_known_ones(run, copies):
    code, _, err = run("ssv2", copies, "--cache", "wrote")
    assert code == 2
    assert err.count("\n") == 1
    assert "wrote" in err
    assert "write" in err


def test_an_unknown_protocol_is_refused_with_the_known_ones(run, copies):
    code, _, err = run("kinetics", copies, "--protocol", "demos")
    assert code == 2
    assert "demo" in err


def test_demo_data_brings_its_own_protocol_and_other_data_does_not(cli, copies, tmp_path, monkeypatch):
    monkeypatch.setenv("RVM_BENCH_CACHE", str(tmp_path / "cache"))
    task = find_task("ssv2")
    monkeypatch.setattr(
        SSv2Task, "write_demo", lambda self, to: shutil.copytree(copies / "ssv2", to, dirs_exist_ok=True)
    )
    assert demo_folder(task).is_relative_to(tmp_path)
    few = ("--set", "steps=5", "--set", "warmup_steps=1", "--set", "batch=2", "--set", "held_out_least=2")
    for data, out in (("demo", "of-demo"), (copies, "of-folder")):
        small = few if data == "demo" else tuple(as_options(SMALL))
        code, _, err = cli("run", "--model", "pixels", "--task", "ssv2", "--data", data, "--out", out, *small)
        assert code == 0, err
        (file,) = (tmp_path / out).glob("ssv2/*/result.json")
        result = json.loads(file.read_text())
        assert result["stamp"]["task"]["protocol"]["fixed_clips"] == (data == "demo")
        assert ("fixed_clips" in result["off_protocol"]) == (data == "demo")
        assert "steps" in result["off_protocol"]


def test_scannet_prints_ten_times_what_it_keeps(run, cli, copies, tmp_path):
    code, out, _ = run("scannet", copies)
    assert code == 0
    folder, result = result_of(tmp_path)
    raw = result["score"]["AbsRel"]
    printed = f"{10 * raw:.2f}"
    assert f"AbsRel {printed} [" in out
    assert "] x10, 2 videos" in out
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    assert raw == pytest.approx(sum(r["abs_rel"] for r in records) / sum(r["pixels"] for r in records))
    assert {record["frames"] for record in records} == {32}
    table = cli("table", "--list")[1]
    assert f" {printed} " in table


@pytest.mark.parametrize("changes", [{"side_px": 36}, {"frames": 15}])
def test_sizes_that_patches_do_not_fill_are_refused(run, copies, changes):
    code, _, err = run("scannet", copies, **changes)
    assert code == 2
    assert next(iter(changes)) in err
    assert "multiple" in err
    assert err.count("\n") == 1


def test_scans_too_short_for_a_clip_are_refused_and_not_scored_as_perfect(run, copies):
    code, _, err = run("scannet", copies, stride=4)
    assert code == 2
    assert "scene9100_00 has 32 frames" in err
    assert "takes 61" in err
    with pytest.raises(UserError, match="set another stride"):
        opened("scannet", copies, stride=4)
