"""The public interface: cheap to import, complete, and as docs/api.md says."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import rvm_bench
import rvm_bench.api
from rvm_bench.errors import UserError
from rvm_bench.fetch.weights import cache_folder

ROOT = Path(__file__).parents[2]
TASK, PAGE = ROOT / "examples/still_camera.py", ROOT / "docs/api.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_importing_the_interface_imports_neither_torch_nor_pandas():
    code = "import sys, rvm_bench, rvm_bench.api; print({'torch', 'pandas', 'cv2', 'scipy'} & set(sys.modules) or '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


@pytest.mark.parametrize("module", [rvm_bench, rvm_bench.api], ids=lambda module: module.__name__)
def test_every_name_that_is_offered_is_there(module):
    assert set(module.__all__) <= set(dir(module))
    assert [name for name in module.__all__ if getattr(module, name) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'Encoders'"):
        module.Encoders  # noqa: B018


def test_the_page_lists_exactly_the_names_of_the_interface():
    table = PAGE.read_text().partition("## What is in it")[2].partition("##")[0]
    listed = re.findall(r"`(\w+)`", table)
    assert sorted(listed) == sorted(rvm_bench.api.__all__)
    assert f"(now {rvm_bench.api.CONTRACT_VERSION})" in PAGE.read_text()


def test_the_pages_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE.read_text())
    assert len(links) > 3
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


def test_the_pages_model_and_task_are_short():
    model, task = blocks("python")[:2]
    assert task == TASK.read_text()
    assert len(model.splitlines()) <= 15
    assert len(task.splitlines()) <= 60


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The page's model, its task and a folder of data, in the working directory."""
    model, task = blocks("python")[:2]
    (tmp_path / "mean_colour.py").write_text(model)
    (tmp_path / "still_camera.py").write_text(task)
    (tmp_path / "DIR").mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    frame = colours.repeat(16, 0).repeat(16, 1)
    np.save(tmp_path / "DIR/still.npy", np.stack([frame] * 3))
    np.save(tmp_path / "DIR/moved.npy", np.stack([frame, frame, np.roll(frame, 16, axis=1)]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("still_camera", "mean_colour", "rvm_bench_plugin_mean_colour"):
        sys.modules.pop(name, None)


def test_the_pages_model_runs_on_the_pages_task(written):
    known = {}
    exec(blocks("python")[2], known)
    results = known["results"]
    assert [(result.model, result.task) for result in results] == [
        ("pixels", "still-camera"),
        ("mean-colour", "still-camera"),
    ]
    assert [result.value for result in results] == [0.5, 0.5]
    frame = results.to_frame()
    assert list(frame["value"]) == [50.0, 50.0]
    assert list(rvm_bench.load_results()["model"]) == ["mean-colour", "pixels"]


def test_what_a_task_leaves_out_is_refused_in_one_line(written):
    from rvm_bench.api.registry import find_model

    task = __import__("still_camera").StillCamera()
    encoder = find_model("mean_colour.py:MeanColour")()
    assert task.estimate_seconds(encoder, task.open(written / "DIR")) is None
    with pytest.raises(UserError, match="still-camera has no demo data; give --data DIR"):
        rvm_bench.evaluate(encoder, task, data="demo")
    assert not any((cache_folder() / "demo").rglob("STILL"))


def test_the_pages_entry_points_lead_to_what_it_writes(written):
    groups = tomllib.loads(blocks("toml")[0])["project"]["entry-points"]
    assert set(groups) == {"rvm_bench.tasks", "rvm_bench.models"}
    for entries in groups.values():
        for name, value in entries.items():
            module, _, attribute = value.partition(":")
            cls = getattr(__import__(module), attribute)
            assert name == (cls.name if module == "still_camera" else cls.card.name)


def test_a_plugin_can_ask_for_the_version_of_the_contract(monkeypatch):
    check = blocks("python")[3]
    exec(check, {})
    monkeypatch.setattr(rvm_bench.api, "CONTRACT_VERSION", rvm_bench.api.CONTRACT_VERSION + 1)
    with pytest.raises(UserError, match="update my-plugin"):
        exec(check, {})
