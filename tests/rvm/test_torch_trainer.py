"""The torch trainer: a plain AdamW step, however it is laid out; what is saved is what goes on."""

import dataclasses
import gc
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import random_batch, small_recipe

from rvm_bench.errors import UserError
from rvm_bench.rvm.torch.objective import loss
from rvm_bench.rvm.torch.weights import places
from rvm_bench.rvm.train.torch.trainer import TorchTrainer
from rvm_bench.rvm.train.torch.untrained import untrained
from rvm_bench.rvm.train.trainer import Layout, decayed

RATE = 5e-3


def run(trainer: TorchTrainer, first: int, last: int) -> list[float]:
    batches = (random_batch(trainer.recipe, number, trainer.host) for number in range(first, last))
    return [float(trainer.step(batch, RATE)["loss"]) for batch in batches]


def test_a_step_is_that_of_adamw_written_out():
    recipe = small_recipe(clip_norm=0.02, weight_decay=0.3)
    model = untrained(recipe.model, seed=recipe.seed, start=recipe.start)
    kernels = {place.ours for place in places(recipe.model) if all(map(decayed, place.theirs))}
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in model.named_parameters()}
    with TorchTrainer(recipe, Layout(), "cpu") as trainer:
        for step in range(1, 4):
            batch = random_batch(recipe, step)
            model.zero_grad()
            expected, _ = loss(model, batch, mask_ratio=recipe.mask_ratio)
            expected.backward()
            norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
            with torch.no_grad():
                for name, p in model.named_parameters():
                    gradient = p.grad * min(1.0, recipe.clip_norm / float(norm))
                    first, second = moments[name]
                    first.mul_(recipe.beta1).add_((1 - recipe.beta1) * gradient)
                    second.mul_(recipe.beta2).add_((1 - recipe.beta2) * gradient**2)
                    if name in kernels:
                        p *= 1 - RATE * recipe.weight_decay
                    scaled = (second / (1 - recipe.beta2**step)).sqrt() + recipe.eps
                    p -= RATE * first / (1 - recipe.beta1**step) / scaled
            found = trainer.step(batch, RATE)
            assert float(found["loss"]) == pytest.approx(float(expected.detach()), rel=1e-5)
            assert float(found["gradient_norm"]) == pytest.approx(float(norm), rel=1e-4)
        assert float(norm) > recipe.clip_norm
        for name, p in trainer.model.named_parameters():
            torch.testing.assert_close(p.detach(), model.get_parameter(name).detach(), rtol=0, atol=3e-5, msg=name)


@pytest.mark.parametrize("layout", [Layout(accumulate=4), Layout(recompute=True)], ids=["accumulate", "recompute"])
def test_parts_and_recomputation_change_no_loss(layout):
    recipe = small_recipe()
    with TorchTrainer(recipe, Layout(), "cpu") as plain, TorchTrainer(recipe, layout, "cpu") as other:
        np.testing.assert_allclose(run(other, 0, 4), run(plain, 0, 4), rtol=1e-5)


def test_a_restored_training_goes_on_with_the_same_bits(tmp_path):
    recipe = small_recipe()
    with TorchTrainer(recipe, Layout(), "cpu") as unbroken:
        run(unbroken, 0, 3)
        unbroken.save(tmp_path / "state")
        with TorchTrainer(recipe, Layout(), "cpu") as resumed:
            resumed.restore(tmp_path / "state")
            assert run(resumed, 3, 6) == run(unbroken, 3, 6)
            for name, array in resumed.arrays().items():
                np.testing.assert_array_equal(array, unbroken.arrays()[name], err_msg=name)


def test_checkpoints_that_are_damaged_or_of_another_recipe_are_refused(tmp_path):
    recipe = small_recipe()
    with TorchTrainer(recipe, Layout(), "cpu") as trainer:
        trainer.save(tmp_path / "state")
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="empty cannot be read as a torch checkpoint of this recipe"):
            trainer.restore(tmp_path / "empty")
    wider = dataclasses.replace(recipe.model, mlp=64)
    with (
        TorchTrainer(small_recipe(model=wider), Layout(), "cpu") as other,
        pytest.raises(UserError, match="state cannot be read as a torch checkpoint of this recipe"),
    ):
        other.restore(tmp_path / "state")
    for file in (tmp_path / "state").glob("*.distcp"):
        os.truncate(file, file.stat().st_size // 2)
    with (
        TorchTrainer(recipe, Layout(), "cpu") as again,
        pytest.raises(UserError, match="state cannot be read as a torch checkpoint of this recipe"),
    ):
        again.restore(tmp_path / "state")


def test_the_ablation_without_a_core_trains_and_has_no_official_file(tmp_path):
    recipe = small_recipe(aggregator="self_attention")
    with TorchTrainer(recipe, Layout(), "cpu") as trainer:
        batch = random_batch(recipe, 0)
        dark = {**batch, "target": batch["target"] // 4}  # training starts from middle grey
        losses = [float(trainer.step(dark, RATE)["loss"]) for _ in range(4)]
        assert losses[-1] < losses[0] / 2
        with pytest.raises(UserError, match="has no recurrent core"):
            trainer.arrays()


@pytest.mark.parametrize(
    ("layout", "message"),
    [(Layout(fsdp=2), "1 devices cannot be divided into groups of 2"), (Layout(accumulate=3), "a batch of 8 clips")],
)
def test_a_layout_that_cannot_be_is_refused(layout, message):
    with pytest.raises(UserError, match=message):
        TorchTrainer(small_recipe(), layout, "cpu")


def test_bfloat16_products_keep_float32_weights():
    with TorchTrainer(small_recipe(dtype="bfloat16"), Layout(), "cpu") as trainer:
        losses = run(trainer, 0, 3)
        assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    with TorchTrainer(small_recipe(), Layout(), "cpu") as exact:
        np.testing.assert_allclose(losses, run(exact, 0, 3), rtol=2e-2)


def torchrun(folder: Path) -> dict[str, list[float]]:
    """What two processes print that run this file as a script."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}")
    command = [sys.executable, *launcher, __file__, str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_processes_of_fsdp_compute_what_one_does_and_share_its_checkpoints(tmp_path):
    recipe = small_recipe()
    with TorchTrainer(recipe, Layout(), "cpu") as one:
        before = run(one, 0, 3)
        one.save(tmp_path / "one")
        after = run(one, 3, 6)
        weights = one.arrays()
    found = torchrun(tmp_path)
    np.testing.assert_allclose(found["before"], before, rtol=1e-5)
    np.testing.assert_allclose(found["after"], after, rtol=1e-5)
    np.testing.assert_allclose(found["replicated"], before, rtol=1e-5)
    with np.load(tmp_path / "weights.npz") as saved:
        for name, array in weights.items():
            np.testing.assert_allclose(saved[name], array, atol=1e-4, err_msg=name)
    with TorchTrainer(recipe, Layout(), "cpu") as again:
        again.restore(tmp_path / "two")
        np.testing.assert_allclose(run(again, 3, 6), after, rtol=1e-5)


def as_one_of_two(folder: Path) -> None:
    """Trains sharded and saves; goes on from one process's checkpoint, sharded; and trains replicated."""
    recipe = small_recipe()
    torch.distributed.init_process_group("gloo")
    with TorchTrainer(recipe, Layout(recompute=True), "cpu") as sharded:
        before = run(sharded, 0, 3)
        sharded.save(folder / "two")
    with TorchTrainer(recipe, Layout(accumulate=2), "cpu") as resumed:
        resumed.restore(folder / "one")
        after = run(resumed, 3, 6)
        weights = resumed.arrays()
    with TorchTrainer(recipe, Layout(fsdp=1), "cpu") as copied:
        replicated = run(copied, 0, 3)
    if copied.leads:
        np.savez(folder / "weights.npz", **weights)
        print(json.dumps({"before": before, "after": after, "replicated": replicated}))
    del sharded, resumed, copied
    gc.collect()  # the groups of their meshes end before the interpreter does
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    as_one_of_two(Path(sys.argv[1]))
