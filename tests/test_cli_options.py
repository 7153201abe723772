"""The options that a researcher needs: other constants, other protocols, predictions, and every task from nothing."""

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest
from layouts import the_run

from rvm_bench.api import registry
from rvm_bench.api.registry import find_task, list_models, list_tasks
from rvm_bench.cli.arguments import Failures
from rvm_bench.cli.run import _runnable
from rvm_bench.formats.files import whole_lines

RECURRENT = Path(__file__).parents[1] / "examples/recurrent_conv.py"


def result_of(folder):
    return json.loads((the_run(folder) / "result.json").read_text())


def test_another_constant_is_another_run_and_is_marked(cli, davis_copy, tmp_path):
    base = ("run", "--model", "pixels", "--task", "davis", "--data", davis_copy, "--out")
    cli(*base, "official")
    assert cli(*base, "changed", "--set", "topk=5", "--set", "radius=12")[0] == 0
    official, changed = result_of(tmp_path / "official"), result_of(tmp_path / "changed")
    assert official["off_protocol"] == {}
    assert changed["off_protocol"] == {"topk": [7, 5], "radius": [20, 12]}
    assert official["stamp"]["fingerprint"] != changed["stamp"]["fingerprint"]
    assert "off protocol: constants differ" in cli("table", "--runs", "changed")[1]


def test_a_constant_set_to_its_own_value_changes_nothing(cli, davis_copy, tmp_path):
    base = ("run", "--model", "pixels", "--task", "davis", "--data", davis_copy, "--out", "runs")
    cli(*base)
    cli(*base, "--set", "topk=7")
    assert result_of(tmp_path / "runs")["off_protocol"] == {}


def test_the_dino_preset_runs_and_is_marked(cli, davis_copy, tmp_path):
    code, out, _ = cli("run", "--model", "pixels", "--task", "davis", "--data", davis_copy, "--protocol", "dino")
    assert (code, "J&F" in out) == (0, True)
    result = result_of(tmp_path / "runs")
    assert result["stamp"]["task"]["protocol"]["id"] == "davis-2017-val-dino/1"
    assert result["off_protocol"]["topk"] == [7, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "topq=5"], "did you mean topk"),
        (["--set", "topk=many"], "expected a whole number"),
        (["--set", "topk"], "expected name=value"),
        (["--set", "topk=0"], "topk=0: expected at least 1"),
        (["--set", "resolution=nativ"], "native"),
        (["--protocol", "dinho"], "did you mean dino"),
    ],
)
def test_a_wrong_option_is_one_line(cli, davis_copy, options, message):
    code, _, err = cli("run", "--model", "pixels", "--task", "davis", "--data", davis_copy, *options)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_predictions_are_saved_per_task_and_model(cli, davis_copy, tmp_path):
    base = ("run", "--model", "pixels", "--data", davis_copy, "--save-predictions", "out")
    assert cli(*base, "--task", "davis")[0] == 0
    assert sorted(p.name for p in (tmp_path / "out/davis/pixels/beta").iterdir()) == [f"{t:05d}.png" for t in range(4)]
    code, _, err = cli(*base, "--task", "ssv2")
    assert code == 2
    assert "leave out --save-predictions" in err


def test_options_of_some_of_the_tasks_do_not_stop_the_others(cli, davis_copy, tmp_path):
    base = ("run", "--model", "pixels", "--data", davis_copy, "--task", "davis,ssv2")
    out, err = cli(*base, "--save-predictions", "out", "--workers", "2")[1:]
    assert "pixels on davis: J&F" in out
    assert (tmp_path / "out/davis/pixels/beta/00000.png").is_file()
    assert "ssv2: cannot save predictions, only records" in err
    assert "fits no head" not in err


def test_repeated_models_and_tasks_all_run(cli, davis_copy):
    chosen = (
        "--model",
        "pixels",
        "--model",
        f"{RECURRENT}:RecurrentConv",
        "--task",
        "davis",
        "--task",
        "davis-stability",
    )
    _, out, err = cli("run", *chosen, "--data", davis_copy)
    assert "pixels on davis: J&F" in out
    assert "recurrent-conv on davis: J&F" in out
    assert err.count(" on davis-stability: ") == 2  # the copy is too small for this task


def test_a_plugin_that_cannot_be_imported_stops_no_other_model(cli, davis_copy, monkeypatch):
    broken = metadata.EntryPoint("broken", "no_such_package:Model", "rvm_bench.models")
    installed = registry.entry_points
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [*installed(group=group), *([broken] if group == broken.group else [])]
    )
    code, out, err = cli("run", "--model", "pixels", "--task", "davis", "--data", davis_copy)
    assert (code, err) == (0, "")
    assert "pixels on davis: J&F" in out
    failures = Failures()
    assert {"pixels", "rvm-demo"} <= set(_runnable(None, failures)) < set(list_models())
    assert failures.mistakes == 1


@pytest.mark.slow
@pytest.mark.parametrize("task", list_tasks())
def test_every_task_runs_from_nothing_and_resumes_to_the_same_bytes(cli, tmp_path, task):
    short = ("--set", "steps=20", "--set", "warmup_steps=5") if hasattr(find_task(task).protocol, "steps") else ()
    base = ("run", "--model", "pixels", "--task", task, "--data", "demo", *short, "--out")
    assert cli(*base, "whole")[0] == 0
    whole = the_run(tmp_path / "whole")
    result = json.loads((whole / "result.json").read_text())
    low, high = result["interval"]
    assert low <= result["score"][result["metric"]["key"]] <= high
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    broken = the_run(tmp_path / "broken")
    first = whole_lines(broken / "records.jsonl")[0]
    (broken / "records.jsonl").write_text(first + "\n" + first[: len(first) // 2])
    (broken / "result.json").unlink()
    assert cli(*base, "broken")[0] == 0
    assert (broken / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
    assert json.loads((broken / "result.json").read_text())["score"] == result["score"]
