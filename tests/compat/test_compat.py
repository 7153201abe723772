"""The plug-in of contract version 1, installed with pip in a folder, runs as it did when it was written."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rvm_bench.formats.hashes import manifest_sha256

PACKAGE = Path(__file__).parent / "contract_1"
FROZEN_SHA256 = "57be42ddfef3cce168e6fb59a84b28acdd3a0fa210eb94d5da045ca1b4e579ce"
"""Of the plug-in's files. It never changes: where a release breaks the plug-in, the release is at fault."""


def sources():
    return sorted(file for file in PACKAGE.rglob("*") if file.suffix in {".py", ".toml"})


def test_the_plugin_is_frozen():
    files = ((file.relative_to(PACKAGE).as_posix(), file) for file in sources())
    assert manifest_sha256(files) == FROZEN_SHA256


def test_the_plugin_imports_the_public_interface_only():
    imported = {
        node.module
        for file in sources()
        if file.suffix == ".py"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    assert {module for module in imported if module.startswith("rvm_bench")} == {"rvm_bench.api"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder into which pip installed the plug-in."""
    folder = tmp_path_factory.mktemp("installed")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", "-q", *options, "--target", str(folder), str(PACKAGE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def rvm_bench(installed, tmp_path):
    """Runs the command line with the plug-in in an empty folder: (exit code, standard output, standard error)."""
    work = tmp_path / "work"
    work.mkdir()
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH", "")]))

    def call(*arguments):
        command = [sys.executable, "-m", "rvm_bench", *map(str, arguments)]
        done = subprocess.run(command, cwd=work, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return call


@pytest.fixture
def still(tmp_path):
    """A static video, one that moves by a patch of 16 px, and one of which only one row of four moves."""
    data = tmp_path / "STILL"
    data.mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    first = colours.repeat(16, 0).repeat(16, 1)
    moved, part = np.roll(first, 16, axis=1), first.copy()
    part[:16] = moved[:16]
    for name, last in {"hall_1": first, "hall_2": part, "yard_1": moved}.items():
        np.save(data / f"{name}.npy", np.stack([first, first, last, last]))
    (data / "val.txt").write_text("hall_1\nhall_2\nyard_1\n")
    return data


def results(folder):
    found = (json.loads(file.read_text()) for file in folder.glob("runs/*/*/result.json"))
    return {(result["model"], result["task"]): result for result in found}


def test_its_model_and_ours_run_on_its_task(rvm_bench, still, tmp_path):
    code, out, err = rvm_bench("run", "--model", "compat-differences,pixels", "--task", "compat-still", "--data", still)
    assert code == 0, err
    # 24 of 24, 18 of 24 and 0 of 24 patches.
    assert "compat-differences on compat-still: matched 58.3" in out
    found = results(tmp_path / "work")
    assert set(found) == {("compat-differences", "compat-still"), ("pixels", "compat-still")}
    mine = found["compat-differences", "compat-still"]
    assert mine["score"] == {"matched": pytest.approx(100 * 42 / 72), "chance": pytest.approx(100 * 3 / 72)}
    assert mine["official_split"]
    assert mine["weights_kind"] == "none"
    assert mine["stamp"]["environment"]["plugins"] == {"rvm-bench-compat-1": "1.0"}
    (table,) = (tmp_path / "work").glob("runs/compat-still/compat-differences-*/matched.csv")
    assert table.read_text().splitlines()[1:] == ["hall_1,24,24", "hall_2,18,24", "yard_1,0,24"]


def test_its_model_runs_on_our_task(rvm_bench, tmp_path):
    code, _, err = rvm_bench("run", "--model", "compat-differences", "--task", "davis", "--data", "demo")
    assert code == 0, err
    result = results(tmp_path / "work")["compat-differences", "davis"]
    assert 0 < result["score"]["J&F"] < 100
    assert result["videos"] == 4


def test_options_presets_constants_and_damaged_videos_do_what_they_did(rvm_bench, still, tmp_path):
    (still / "hall_2.npy").write_bytes((still / "hall_2.npy").read_bytes()[:300])
    base = ("run", "--model", "compat-differences", "--task", "compat-still", "--data", still)
    code, _, err = rvm_bench(*base)
    assert (code, "hall_2.npy cannot be read" in err) == (2, True)
    chosen = ("--option", "gain=0", "--protocol", "cosine", "--set", "frames=3", "--allow-missing")
    code, _, err = rvm_bench(*base, *chosen)
    assert code == 0, err
    result = results(tmp_path / "work")["compat-differences", "compat-still"]
    assert result["off_protocol"]["frames"] == [4, 3]
    assert result["off_protocol"]["similarity"] == ["euclidean", "cosine"]
    assert (result["partial"], result["videos"]) == (True, 2)
    assert result["stamp"]["encoder"]["options"] == {"gain": 0}


def test_a_task_without_demo_data_and_estimate_says_so(rvm_bench, still, tmp_path):
    base = ("run", "--model", "compat-differences", "--task", "compat-still")
    code, _, err = rvm_bench(*base, "--data", "demo")
    assert code == 2
    assert "compat-still has no demo data; give --data DIR" in err
    assert err.count("\n") == 1
    code, out, _ = rvm_bench(*base, "--data", still, "--dry-run")
    assert (code, "no estimate" in out) == (0, True)
    assert not (tmp_path / "work/runs").exists()
