"""The command line as a user meets it: results, mistakes, interruptions."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import metadata

import pytest
from layouts import the_run
from PIL import Image

# What a shell runs in the background is deaf to Ctrl-C, and so are its children unless they say otherwise.
SLOW_PLUGIN = """
import signal
import time
from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ImageEncoder
from torch.nn.functional import avg_pool2d

signal.signal(signal.SIGINT, signal.default_int_handler)

class Slow(ImageEncoder):
    card = EncoderCard(name="slow", family="slow", patch=16, width=3)
    def forward_frames(self, frames):
        time.sleep(PAUSE)
        return avg_pool2d(frames, 16).permute(0, 2, 3, 1)

def build():
    return Slow()
"""


def test_it_says_its_version(cli):
    code, out, _ = cli("--version")
    assert (code, out.strip()) == (0, f"rvm-bench {metadata.version('rvm-bench')}")


def test_a_run_ends_in_a_score_and_a_table(cli, davis_copy, tmp_path):
    code, out, _ = cli("run", "--model", "pixels", "--task", "davis", "--data", davis_copy)
    assert code == 0
    assert "pixels on davis: J&F " in out
    result = json.loads((the_run(tmp_path / "runs") / "result.json").read_text())
    assert 0 < result["score"]["J&F"] <= 100
    low, high = result["interval"]
    assert low <= result["score"]["J&F"] <= high
    assert not result["official_split"]

    rows = list(csv.DictReader(io.StringIO(cli("table", "--list", "--format", "csv")[1])))
    assert [row["model"] for row in rows] == ["pixels"]
    assert float(rows[0]["score"]) == result["score"]["J&F"]
    assert re.search(r"^\| davis +\| pixels +\|", cli("table", "--list", "--format", "md")[1], re.MULTILINE)
    assert "own split: not exactly the official split" in cli("table", "--list")[1]
    (row,) = csv.DictReader(io.StringIO(cli("table", "--format", "csv")[1]))
    assert (row["model"], float(row["davis"]), row["vip"]) == ("pixels", result["score"]["J&F"], "")
    assert cli("compare", "pixels", "pixels", "--task", "davis")[1].count("p = 1") == 1
    assert cli("diff", the_run(tmp_path / "runs"), the_run(tmp_path / "runs"))[:2] == (0, "")


def test_a_data_root_holds_the_task_under_its_usual_name(cli, davis_copy, monkeypatch):
    assert cli("data", "check", "davis", "--data", davis_copy.parent)[0] == 1
    monkeypatch.setenv("RVM_BENCH_DATA", str(davis_copy.parent))
    assert "not in the official split" in cli("data", "check", "davis")[1]


def test_a_finished_run_is_read_and_not_repeated(cli, davis_copy, tmp_path):
    command = ("run", "--model", "pixels", "--task", "davis", "--data", davis_copy)
    cli(*command)
    stamp = (the_run(tmp_path / "runs") / "result.json").read_bytes()
    assert cli(*command)[0] == 0
    assert (the_run(tmp_path / "runs") / "result.json").read_bytes() == stamp


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "pixles", "--task", "davis", "--data", "DAVIS"], "did you mean pixels"),
        (["--model", "pixels", "--task", "davsi", "--data", "DAVIS"], "did you mean davis"),
        (["--model", "pixels", "--task", "davis"], "--data demo"),
        (["--model", "pixels", "--task", "davis", "--data", "nowhere"], "no such data folder: nowhere"),
        (["--model", "pixels", "--task", "davis", "--data", "DAVIS/JPEGImages"], "val.txt is missing"),
        (["--model", "pixels", "--task", "davis", "--data", "DAVIS", "--shard", "3/2"], "expected i/n"),
        (["--model", "pixels", "--task", "davis", "--data", "DAVIS", "--option", "x"], "expected key=value"),
        (["--model", "rvm-tiny", "--task", "davis", "--data", "DAVIS"], "--weights random"),
        (["--model", "rvm-tiny", "--task", "davis", "--data", "DAVIS", "--weights", "no.npz"], "no such weights file"),
        (["--model", "rvm-s,rvm-b", "--task", "davis", "--data", "DAVIS", "--weights", "x.npz"], "one at a time"),
        (["--model", ",", "--task", "davis", "--data", "DAVIS"], "empty list of names"),
        (["--model", "pixels", "--task", "davis", "--data", "DAVIS", "--device", "cuda:9"], "not available"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(cli, davis_copy, arguments, message):
    code, out, err = cli("run", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err


def test_one_failing_pair_does_not_stop_the_others(cli, davis_copy, tmp_path):
    code, out, err = cli("run", "--model", "rvm-tiny,pixles,pixels", "--task", "davis", "--data", davis_copy)
    assert code == 2
    assert "pixels on davis: J&F" in out
    assert "rvm-tiny" in err
    assert "pixles" in err


def test_a_defect_of_a_plugin_is_shown_in_full_and_is_exit_code_1(cli, davis_copy, tmp_path):
    (tmp_path / "broken.py").write_text(SLOW_PLUGIN.replace("time.sleep(PAUSE)", "frames / None"))
    code, out, err = cli("run", "--model", "broken.py:build,pixels", "--task", "davis", "--data", davis_copy)
    assert code == 1
    assert "TypeError" in err
    assert "pixels on davis: J&F" in out


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(cli, davis_copy, tmp_path):
    code, out, _ = cli("run", "--model", "pixels", "--task", "davis", "--data", davis_copy, "--dry-run")
    assert code == 0
    assert "3 videos (0 recorded), 13 frames, 0 of 30 official videos" in out
    assert "left on this machine" in out
    assert not (tmp_path / "runs").exists()


def test_shards_and_their_merge_equal_one_process(cli, davis_copy, tmp_path):
    base = ("run", "--model", "pixels", "--task", "davis", "--data", davis_copy, "--out")
    cli(*base, "whole")
    assert "1 left to other shards" in cli(*base, "one", "--shard", "1/2")[1]
    cli(*base, "two", "--shard", "2/2")
    code, out, _ = cli("merge", the_run(tmp_path / "one"), the_run(tmp_path / "two"), "--out", "all")
    assert (code, "3 videos recorded" in out) == (0, True)
    assert cli(*base, "all")[0] == 0
    whole, merged = the_run(tmp_path / "whole"), the_run(tmp_path / "all")
    assert (whole / "records.jsonl").read_bytes() == (merged / "records.jsonl").read_bytes()
    results = [json.loads((run / "result.json").read_text()) for run in (whole, merged)]
    assert results[0]["score"] == results[1]["score"]
    assert results[0]["interval"] == results[1]["interval"]


def test_missing_data_is_named_and_can_be_allowed(cli, davis_copy, tmp_path):
    (davis_copy / "JPEGImages/480p/beta/00002.jpg").unlink()
    base = ("run", "--model", "pixels", "--task", "davis", "--data", davis_copy)
    code, _, err = cli(*base)
    assert code == 2
    assert "beta/00002.jpg is missing" in err
    assert cli(*base, "--allow-missing")[0] == 0
    result = json.loads((the_run(tmp_path / "runs") / "result.json").read_text())
    assert result["partial"]
    assert "beta/00002.jpg is missing" in result["coverage"]["missing"][0]
    assert "partial: incomplete videos were left out" in cli("table")[1]


def test_data_check_lists_every_finding(cli, davis_copy):
    Image.new("L", (10, 10)).save(davis_copy / "Annotations/480p/gamma/00001.png")
    (davis_copy / "JPEGImages/480p/alpha/00000.jpg").write_bytes(b"not a jpeg")
    code, out, _ = cli("data", "check", "davis", "--data", davis_copy)
    assert code == 1
    assert "gamma/00001.png is 10x10 px" in out
    assert "alpha/00000.jpg cannot be read" in out
    assert "soapbox: not in ImageSets/2017/val.txt" in out


def test_weights_info_says_licence_size_and_source(cli):
    _, out, _ = cli("weights", "info", "rvm-l")
    assert "pretrain_rvm_large16_256_202497301.npz" in out
    assert "CC-BY-4.0" in out
    assert "1.64 GB" in out
    assert cli("weights", "fetch", "pixels")[0] == 2


def start(tmp_path, data, out, pause):
    (tmp_path / "slow.py").write_text(SLOW_PLUGIN.replace("PAUSE", str(pause)))
    command = [sys.executable, "-m", "rvm_bench", "run", "--model", "slow.py:build", "--task", "davis"]
    return subprocess.Popen(
        [*command, "--data", data, "--out", out],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_lines(folder, count):
    deadline = time.monotonic() + 60
    while sum(len(file.read_bytes().splitlines()) for file in folder.glob("*/*/records*.jsonl")) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_run_resumes_to_the_same_bytes(davis_copy, tmp_path):
    finished = {}
    for name, kills in {"unbroken": [], "killed": [1, 2]}.items():
        out = tmp_path / name
        for lines in kills:
            process = start(tmp_path, davis_copy, out, 0.2)
            wait_for_lines(out, lines)
            process.kill()
            process.communicate()
            assert not list(out.glob("*/*/result.json"))
        process = start(tmp_path, davis_copy, out, 0.2)
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 0, output
        result = json.loads((the_run(out) / "result.json").read_text())
        finished[name] = (
            (the_run(out) / "records.jsonl").read_bytes(),
            json.dumps(result["score"]),
            json.dumps(result["interval"]),
        )
    assert finished["killed"] == finished["unbroken"]


def test_ctrl_c_leaves_a_run_that_can_be_resumed(davis_copy, tmp_path):
    out = tmp_path / "runs"
    process = start(tmp_path, davis_copy, out, 0.3)
    wait_for_lines(out, 1)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "the same command resumes" in output
    assert "Traceback" not in output
    assert len((the_run(out) / "records.jsonl").read_text().splitlines()) >= 1
