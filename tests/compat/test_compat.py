"""A plug-in package that was written for contract version 1, against `rvm_bench.api` alone, installs and runs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PLUGIN = Path(__file__).parent / "plugin"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The plug-in, built and installed by pip into a folder of its own."""
    folder = tmp_path_factory.mktemp("compat")
    shutil.copytree(PLUGIN, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    command = [*pip, "--no-build-isolation", "--no-index", "--target", str(folder / "site"), str(folder / "source")]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder / "site"


@pytest.fixture
def run(site, tmp_path):
    """`rvm-bench` with the plug-in, from an empty folder: (exit code, standard output, standard error)."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", str(ROOT))]),
        "RVM_BENCH_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    (tmp_path / "empty").mkdir()

    def call(*arguments):
        command = [sys.executable, "-m", "rvm_bench", *map(str, arguments)]
        done = subprocess.run(command, env=environment, cwd=tmp_path / "empty", capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return call


def test_the_plugin_names_nothing_but_the_api():
    for file in PLUGIN.rglob("*.py"):
        names = [line for line in file.read_text().splitlines() if "rvm_bench" in line and "import" in line]
        assert all(line.startswith("from rvm_bench.api import ") for line in names), file


def test_its_model_and_task_run_beside_ours(run, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "TINY").mkdir()
    for index in range(3):
        clip = rng.integers(0, 80 * (index + 1), (6, 16, 24, 3), dtype=np.uint8)
        np.save(tmp_path / "TINY" / f"clip{index}.npy", clip)
    code, out, err = run("run", "--model", "tiny-colour,pixels", "--task", "tiny-brightness", "--data", tmp_path)
    assert code == 0, err
    assert "tiny-colour on tiny-brightness: correlation 1.000" in out
    (file,) = (tmp_path / "empty/runs/tiny-brightness").glob("tiny-colour-*/result.json")
    result = json.loads(file.read_text())
    assert result["random_weights"]
    assert result["stamp"]["requested"]["model"] == "tiny-colour"
    assert run("table", "--list")[0] == 0


def test_its_options_are_part_of_the_identity_and_what_it_lacks_is_one_line(run, tmp_path):
    (tmp_path / "TINY").mkdir()
    np.save(tmp_path / "TINY/clip.npy", np.zeros((2, 16, 16, 3), np.uint8))
    arguments = ("run", "--model", "tiny-colour", "--task", "tiny-brightness", "--data", tmp_path)
    for gain in (1, 2):
        assert run(*arguments, "--option", f"gain={gain}")[0] == 0
    assert len(list((tmp_path / "empty/runs/tiny-brightness").iterdir())) == 2
    code, _, err = run("run", "--model", "tiny-colour", "--task", "tiny-brightness", "--data", "demo")
    assert code == 2
    assert "tiny-brightness has no demo data; give --data DIR" in err
    code, out, _ = run(*arguments, "--dry-run")
    assert code == 0
    assert "no estimate" in out
    code, _, err = run(*arguments, "--set", "frames=99")
    assert code == 2
    assert "frames=99: expected 1 to 64" in err
    assert "Traceback" not in err


def test_its_model_runs_on_our_task(run):
    code, out, err = run("run", "--model", "tiny-colour", "--task", "davis", "--data", "demo", "--shard", "1/4")
    assert code == 0, err
    assert "tiny-colour on davis: 1 videos recorded" in out
