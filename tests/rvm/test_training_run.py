"""`rvm-bench train` and `export`: killed, stopped and resumed, it logs what an unbroken training logs."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_training import random_batch, small_recipe
from typer.testing import CliRunner

import rvm_bench
from rvm_bench.cli import app
from rvm_bench.errors import UserError
from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.train import run
from rvm_bench.rvm.train.data.pictures import GAP_PX, HIDDEN, strip
from rvm_bench.rvm.train.data.sources import Source
from rvm_bench.rvm.train.export import export, recipe_from
from rvm_bench.rvm.train.folder import PretrainingFolder, checkpoints
from rvm_bench.rvm.train.recipes import rvm_demo, rvm_s
from rvm_bench.rvm.train.run import TrainingOptions, train

pytest.importorskip("grain")

PROCEDURAL = [Source(kind="procedural")]
OFTEN = TrainingOptions(log_every=2, checkpoint_every=4, pictures_every=0, board=False)
COMMAND = (
    *("--recipe", "rvm_demo", "--steps", "12", "--set", "batch=2", "--set", "size_px=64", "--set", "mask_ratio=0.5"),
    *("--log-every", "2", "--checkpoint-every", "3", "--pictures-every", "0"),
)


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def started(out: Path, *options: str) -> subprocess.Popen[str]:
    """The command in a process of its own, which Ctrl-C reaches even where a shell runs the tests in the background."""
    listening = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import rvm_bench.cli as c; c.main()"
    )
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{listening}; import rvm_bench.cli; rvm_bench.cli.main()",
            "train",
            *COMMAND,
            "--out",
            str(out),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_step(out: Path, step: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if (out / "log.jsonl").exists() and len((out / "log.jsonl").read_text().splitlines()) * 2 >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached: {process.communicate()}")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    process = started(out)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    return out


def test_a_training_that_was_killed_goes_on_as_if_it_was_not(unbroken, tmp_path):
    process = started(tmp_path)
    wait_for_step(tmp_path, 8, process)
    process.kill()
    process.communicate()
    assert [path.name for path in checkpoints(tmp_path)] == ["00000003", "00000006"]
    again = started(tmp_path)
    output, errors = again.communicate(timeout=200)
    assert again.returncode == 0, errors
    assert f"{tmp_path}: 6 steps are done" in output
    assert (tmp_path / "log.jsonl").read_bytes() == (unbroken / "log.jsonl").read_bytes()
    assert [line["step"] for line in log(tmp_path)] == list(range(2, 13, 2))
    for folder in (tmp_path, unbroken):
        export(folder, folder / "weights.npz")
    assert (tmp_path / "weights.npz").read_bytes() == (unbroken / "weights.npz").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_is_asked_to_stop_keeps_its_last_step(unbroken, tmp_path, number):
    process = started(tmp_path)
    wait_for_step(tmp_path, 2, process)
    process.send_signal(number)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 130, errors
    done = int(checkpoints(tmp_path)[-1].name)
    assert 2 <= done < 12
    assert f"stopped after {done} steps, which are kept" in output
    assert log(tmp_path) == log(unbroken)[: done // 2]
    again = started(tmp_path)
    _, errors = again.communicate(timeout=200)
    assert again.returncode == 0, errors
    assert log(tmp_path) == log(unbroken)


def test_export_writes_an_official_file_that_the_harness_loads(unbroken, tmp_path):
    done = CliRunner().invoke(app, ["export", str(unbroken), "--out", str(tmp_path / "a.npz"), "--step", "9"])
    assert done.exit_code == 0, done.output
    assert "after 9 steps" in done.stdout
    arrays = checkpoint.read(tmp_path / "a.npz")
    assert checkpoint.check(arrays) == rvm_demo().model
    encoder = rvm_bench.load_encoder("rvm", weights=tmp_path / "a.npz")
    assert encoder.encode(np.zeros((2, 64, 64, 3), np.uint8)).shape == (2, 4, 4, 128)


def test_export_refuses_what_is_no_training(tmp_path, unbroken):
    with pytest.raises(UserError, match="is no folder of a pre-training"):
        export(tmp_path, tmp_path / "a.npz")
    with pytest.raises(UserError, match="has no checkpoint of step 5; it has 9, 12"):
        export(unbroken, tmp_path / "a.npz", 5)


def test_the_loss_falls_and_the_log_says_how_fast(tmp_path):
    recipe = small_recipe(steps=40)
    options = TrainingOptions(log_every=10, checkpoint_every=40, pictures_every=40, peak_flops=1e12)
    assert train(recipe, PROCEDURAL, tmp_path, options=options, device="cpu") == 40
    losses = [line["loss"] for line in log(tmp_path)]
    assert losses[-1] < 0.8 * losses[0]
    timings = [json.loads(line) for line in (tmp_path / "timings.jsonl").read_text().splitlines()]
    assert timings[0]["device"] == "cpu"
    assert timings[1].keys() == {"step", "seconds_per_step", "clips_per_s", "tflops_per_device", "mfu"}
    assert timings[1]["mfu"] == pytest.approx(timings[1]["tflops_per_device"], rel=1e-3)
    assert (tmp_path / "pictures/00000040.png").is_file()
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_finished_training_is_left_as_it_is(tmp_path, caplog):
    caplog.set_level("INFO")
    recipe = small_recipe(steps=4, warmup_steps=1)
    for _ in range(2):
        assert train(recipe, PROCEDURAL, tmp_path, options=OFTEN, device="cpu") == 4
    assert caplog.messages[-1] == f"{tmp_path}: all steps are done"
    assert [line["step"] for line in log(tmp_path)] == [2, 4]


def test_the_losses_do_not_depend_on_worker_processes(tmp_path):
    for workers in (0, 2):
        options = dataclasses.replace(OFTEN, workers=workers)
        train(
            small_recipe(steps=4),
            PROCEDURAL,
            tmp_path / str(workers),
            options=options,
            device="cpu",
        )
    assert log(tmp_path / "0") == log(tmp_path / "2")


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"learning_rate": 0.5}, "recipe.learning_rate 0.0005 -> 0.5"), ({"seed": 3}, "recipe.seed 0 -> 3")],
)
def test_another_recipe_does_not_go_on_in_the_folder(tmp_path, changes, what):
    recipe = small_recipe(steps=2, warmup_steps=1)
    train(recipe, PROCEDURAL, tmp_path, options=OFTEN, device="cpu")
    with pytest.raises(UserError, match="holds another training") as refused:
        train(dataclasses.replace(recipe, **changes), PROCEDURAL, tmp_path, options=OFTEN, device="cpu")
    assert what in str(refused.value)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_goes_on(tmp_path):
    recipe = small_recipe(steps=8)
    train(recipe, PROCEDURAL, tmp_path, options=OFTEN, device="cpu")
    expected = log(tmp_path)
    last = checkpoints(tmp_path)[-1]
    payload = max(last.glob("state/*"), key=lambda file: file.stat().st_size)
    content = bytearray(payload.read_bytes())
    content[len(content) // 2] ^= 1
    payload.write_bytes(content)
    with pytest.raises(UserError, match=f"{payload.name} is missing or damaged; delete {last}"):
        train(recipe, PROCEDURAL, tmp_path, options=OFTEN, device="cpu")
    for file in sorted(last.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    last.rmdir()
    assert train(recipe, PROCEDURAL, tmp_path, options=OFTEN, device="cpu") == 8
    assert log(tmp_path) == expected


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    recipe = small_recipe(steps=60, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(UserError, match=r"after \d+ steps the loss is .*the last checkpoint is from step"):
        train(recipe, PROCEDURAL, tmp_path, options=OFTEN, device="cpu")


def test_data_that_the_paper_names_has_to_be_given(tmp_path):
    with pytest.raises(UserError, match="rvm_s is trained on videos; name them, as --data ssv2=folder:DIR"):
        train(rvm_s(), [], tmp_path)


def test_an_unknown_backend_is_refused():
    with pytest.raises(UserError, match="unknown backend 'tensorflow'"):
        run.make_trainer(small_recipe(), "tensorflow", run.Layout())


def test_a_recipe_survives_json():
    recipe = rvm_demo()
    assert recipe_from(json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe


class Stub:
    """A trainer that has nothing to save."""

    def __init__(self, host: tuple[int, int]) -> None:
        self.host, self.leads = host, host[0] == 0

    def wait(self) -> None:
        """Alone."""

    def save(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)

    def restore(self, folder: Path) -> None:
        assert folder.is_dir()


def test_what_was_left_out_is_shared_anew_where_hosts_come_or_go(tmp_path):
    place = {"step": 7, "left_out": 5, "first_left_out": "a.mp4 is empty", "data": {}}
    with PretrainingFolder(tmp_path, {}) as folder:
        folder.save(7, Stub((0, 1)), place, keep=1)
        found = [folder.resume(Stub((host, 3))) for host in range(3)]
    assert [step for step, _ in found] == [7, 7, 7]
    assert [data["left_out"] for _, data in found] == [2, 2, 1]
    assert {data["first_left_out"] for _, data in found} == {"a.mp4 is empty"}


def test_an_unfinished_checkpoint_is_none(tmp_path):
    (tmp_path / "checkpoints/.unfinished/state").mkdir(parents=True)
    (tmp_path / "checkpoints/00000003").mkdir()
    with PretrainingFolder(tmp_path, {}) as folder:
        assert folder.resume(Stub((0, 1))) == (0, None)
        assert not (tmp_path / "checkpoints/.unfinished").exists()


def test_a_picture_shows_sources_and_what_is_seen_made_and_true():
    recipe = small_recipe()
    batch = random_batch(recipe, 0)
    decoded = np.full(batch["target"].shape, 0.5, np.float32)
    picture = strip(batch, decoded, recipe.model.patch, recipe.mask_ratio, clips=2, targets=1)
    side = recipe.size_px + 2 * GAP_PX
    assert picture.shape == (2 * side, 7 * side, 3)
    tiles = picture.reshape(2, side, 7, side, 3).swapaxes(1, 2)[..., GAP_PX:-GAP_PX, GAP_PX:-GAP_PX, :]
    np.testing.assert_array_equal(tiles[:, :4], batch["source"][:2])
    np.testing.assert_array_equal(tiles[:, 6], batch["target"][:2, 0])
    assert (tiles[:, 5] == 128).all()
    shown = (tiles[:, 4] == tiles[:, 6]).all(-1)
    assert (tiles[:, 4][~shown] == HIDDEN).all()
    assert shown.mean() == pytest.approx(0.25, abs=0.01)


@pytest.mark.slow
def test_jax_killed_and_resumed_logs_what_torch_logs_and_exports_its_weights(unbroken, tmp_path):
    pytest.importorskip("orbax.checkpoint")
    process = started(tmp_path, "--backend", "jax")
    wait_for_step(tmp_path, 8, process)
    process.kill()
    process.communicate()
    assert [path.name for path in checkpoints(tmp_path)] == ["00000003", "00000006"]
    again = started(tmp_path, "--backend", "jax")
    output, errors = again.communicate(timeout=200)
    assert again.returncode == 0, errors
    assert f"{tmp_path}: 6 steps are done" in output
    for line, expected in zip(log(tmp_path), log(unbroken), strict=True):
        assert line == pytest.approx(expected, rel=1e-3)
    export(tmp_path, tmp_path / "jax.npz")
    export(unbroken, tmp_path / "torch.npz")
    jax_weights, torch_weights = (checkpoint.read(tmp_path / f"{name}.npz") for name in ("jax", "torch"))
    for name, array in torch_weights.items():
        np.testing.assert_allclose(jax_weights[name], array, atol=2e-3, err_msg=name)
