"""The JAX trainer takes torch's steps, computes the same on any layout, and resumes bit for bit."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rvm_bench.errors import UserError
from rvm_bench.rvm.checkpoint import expected_shapes
from rvm_bench.rvm.torch import objective as torch_objective
from rvm_bench.rvm.torch import weights as torch_weights
from rvm_bench.rvm.train.trainer import Layout, decayed

jax = pytest.importorskip("jax", reason="needs the extra `jax`")
optax = pytest.importorskip("optax", reason="needs the extra `jax`")
pytest.importorskip("flax", reason="needs the extra `jax`")
pytest.importorskip("orbax.checkpoint", reason="needs the extra `jax`")

import jax_training  # noqa: E402
from flax.traverse_util import unflatten_dict  # noqa: E402
from jax_training import RATES, RECIPE, batch, train  # noqa: E402

from rvm_bench.rvm.jax.model import RVM  # noqa: E402
from rvm_bench.rvm.jax.objective import loss  # noqa: E402
from rvm_bench.rvm.jax.weights import to_arrays  # noqa: E402
from rvm_bench.rvm.train.jax.trainer import JaxTrainer  # noqa: E402

REPORTS = 1e-5  # relative; measured 1e-6
WEIGHTS = 1e-5  # of weights that moved by up to 1e-2; measured 1e-6
QUICK = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "OMP_NUM_THREADS": "1"}


pytestmark = pytest.mark.usefixtures("quick_compilation")


@dataclasses.dataclass(kw_only=True)
class Alone:
    """A training of 5 steps on one device, saved before the first step and after 3."""

    folder: Path
    trainer: JaxTrainer
    initial: dict
    reports: np.ndarray
    halfway: dict
    final: dict


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    trainer = JaxTrainer(RECIPE, Layout())
    trainer.save(folder / "initial")
    initial = trainer.arrays()
    first = train(trainer, range(3))
    trainer.save(folder / "halfway")
    halfway = trainer.arrays()
    reports = np.concatenate([first, train(trainer, range(3, 5))])
    return Alone(
        folder=folder, trainer=trainer, initial=initial, reports=reports, halfway=halfway, final=trainer.arrays()
    )


@pytest.fixture(scope="module")
def sharded(alone, tmp_path_factory):
    """What 8 devices found, and the folder they wrote."""
    folder = tmp_path_factory.mktemp("sharded")
    shutil.copytree(alone.folder / "halfway", folder / "alone")
    flags = "--xla_cpu_multi_thread_eigen=false --xla_force_host_platform_device_count=8"
    finish(start("sharded", folder, XLA_FLAGS=flags))
    return folder, json.loads((folder / "sharded.json").read_text())


def start(program, folder, **environment):
    """A program of `jax_training` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", jax_training.__file__, program, str(folder)],
        env={**os.environ, **QUICK, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*running):
    said = [process.communicate(timeout=540)[0] for process in running]
    assert not any(process.returncode for process in running), "\n".join(said)


def difference(found, expected):
    """The largest over all arrays of the same names."""
    assert found.keys() == expected.keys()
    return max(float(np.abs(found[name] - expected[name]).max()) for name in found)


def read(path):
    with np.load(path) as archive:
        return dict(archive)


def test_fifty_steps_are_those_of_torch(alone):
    """The same losses, norms of gradients and weights as a plain loop with torch's clipping and AdamW."""
    trainer, steps = alone.trainer, 50
    trainer.restore(alone.folder / "initial")
    reports = [trainer.step(batch(step % 5), 1e-3) for step in range(steps)]

    model = torch_weights.from_arrays(alone.initial).train()
    named = dict(model.named_parameters())
    groups = {True: [], False: []}
    for place in torch_weights.places(RECIPE.model):
        groups[decayed(place.theirs[0])].append(named[place.ours])
    adamw = torch.optim.AdamW(
        [
            {"params": groups[True], "weight_decay": RECIPE.weight_decay},
            {"params": groups[False], "weight_decay": 0.0},
        ],
        lr=1e-3,
        betas=(RECIPE.beta1, RECIPE.beta2),
        eps=RECIPE.eps,
    )
    for step in range(steps):
        adamw.zero_grad()
        value, _ = torch_objective.loss(model, batch(step % 5), mask_ratio=RECIPE.mask_ratio)
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip_norm)
        adamw.step()
        assert float(reports[step]["loss"]) == pytest.approx(value.item(), rel=REPORTS)
        assert float(reports[step]["gradient_norm"]) == pytest.approx(norm.item(), rel=REPORTS)
    expected = torch_weights.to_arrays(model.state_dict(), RECIPE.model)
    assert difference(trainer.arrays(), expected) < WEIGHTS
    assert difference(alone.initial, expected) > 1e-2


@pytest.mark.slow
def test_a_step_is_a_plain_one_of_optax(alone):
    mask = {name: decayed(name) for name in alone.initial}
    adamw = optax.chain(
        optax.clip_by_global_norm(RECIPE.clip_norm),
        optax.inject_hyperparams(optax.adamw, static_args="mask")(
            learning_rate=0.0,
            b1=RECIPE.beta1,
            b2=RECIPE.beta2,
            eps=RECIPE.eps,
            weight_decay=RECIPE.weight_decay,
            mask=unflatten_dict(mask, sep="/"),
        ),
    )
    model = RVM(RECIPE.model)
    gradient = jax.jit(jax.value_and_grad(lambda weights, b: loss(model, weights, b, mask_ratio=RECIPE.mask_ratio)))
    advance = jax.jit(adamw.update)
    weights = unflatten_dict(alone.initial, sep="/")
    state = adamw.init(weights)
    for step in range(3):
        value, slope = gradient(weights, batch(step))
        assert alone.reports[step] == pytest.approx([float(value), float(optax.tree.norm(slope))], rel=REPORTS)
        state[1].hyperparams["learning_rate"] = np.float32(RATES[step])
        change, state = advance(slope, state, weights)
        weights = optax.apply_updates(weights, change)
    assert difference(alone.halfway, to_arrays(weights)) < WEIGHTS


def test_a_rate_of_zero_moves_no_weight_and_reports_are_of_before_the_step(alone):
    trainer = alone.trainer
    trainer.restore(alone.folder / "initial")
    reports = [trainer.step(batch(0), 0.0), trainer.step(batch(0), 1e-3)]
    assert all(isinstance(value, jax.Array) for report in reports for value in report.values())
    assert float(reports[0]["loss"]) == float(reports[1]["loss"]) == alone.reports[0, 0]
    assert difference(trainer.arrays(), alone.initial) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("layout", [Layout(accumulate=2), Layout(accumulate=16), Layout(recompute=True)], ids=repr)
def test_parts_and_recomputed_blocks_change_nothing(alone, layout):
    trainer = JaxTrainer(RECIPE, layout)
    assert train(trainer, range(3)) == pytest.approx(alone.reports[:3], rel=REPORTS)
    assert difference(trainer.arrays(), alone.halfway) < WEIGHTS
    assert difference(alone.initial, alone.halfway) > 1e-3


def test_eight_devices_in_two_parts_compute_what_one_does(alone, sharded):
    folder, facts = sharded
    assert facts["devices"] == 8
    assert facts["reports"] == pytest.approx(alone.reports[:3], rel=REPORTS)
    assert difference(read(folder / "sharded_3_steps.npz"), alone.halfway) < WEIGHTS


def test_a_device_holds_its_quarter_of_weights_and_moments(sharded):
    _, facts = sharded
    assert 0.25 < facts["bytes_of_a_device"] / facts["bytes"] < 0.27


def test_eight_devices_resume_what_one_saved(alone, sharded):
    folder, facts = sharded
    assert facts["resumed"] == pytest.approx(alone.reports[3:], rel=REPORTS)
    assert difference(read(folder / "sharded.npz"), alone.final) < WEIGHTS


def test_one_device_resumes_what_eight_saved(alone, sharded):
    folder, _ = sharded
    alone.trainer.restore(folder / "sharded")
    assert train(alone.trainer, range(3, 5)) == pytest.approx(alone.reports[3:], rel=REPORTS)
    assert difference(alone.trainer.arrays(), alone.final) < WEIGHTS


def test_resuming_gives_the_bits_of_a_training_that_was_not_interrupted(alone):
    alone.trainer.restore(alone.folder / "halfway")
    assert difference(alone.trainer.arrays(), alone.halfway) == 0
    assert np.array_equal(train(alone.trainer, range(3, 5)), alone.reports[3:])
    assert difference(alone.trainer.arrays(), alone.final) == 0


def test_targets_are_decoded_for_any_number_of_clips(alone, sharded):
    """Here for 16 clips on one device, there for 5 on eight."""
    _, facts = sharded
    alone.trainer.restore(alone.folder / "halfway")
    decoded = alone.trainer.reconstruct(batch(3))
    assert (decoded.shape, decoded.dtype) == ((16, 3, 32, 32, 3), np.float32)
    assert np.mean((decoded - batch(3)["target"] / 255) ** 2) == pytest.approx(alone.reports[3, 0], rel=REPORTS)
    assert np.shape(facts["decoded"]) == (5, 3, 32, 32, 3)
    assert np.abs(decoded[:5] - facts["decoded"]).max() < 1e-4


def test_weights_are_handed_out_in_the_official_order_in_memory_of_their_own(alone):
    assert list(alone.final) == list(expected_shapes(RECIPE.model))
    before = alone.trainer.arrays()
    kept = {name: array.copy() for name, array in before.items()}
    alone.trainer.step(batch(0), 1e-2)
    assert all(array.dtype == np.float32 and array.flags.owndata for array in before.values())
    assert difference(before, kept) == 0


def test_a_checkpoint_that_is_not_there_is_refused_in_one_line(alone, tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path}/gone is no checkpoint of a training in JAX; start anew.*$"):
        alone.trainer.restore(tmp_path / "gone")


def test_a_checkpoint_of_another_recipe_is_refused(alone):
    wider = dataclasses.replace(RECIPE, model=dataclasses.replace(RECIPE.model, mlp=40, layers=2))
    with pytest.raises(UserError, match=r"another recipe, in which .*mlp/dense_in/bias is float32 \(33,\), expected "):
        JaxTrainer(wider, Layout()).restore(alone.folder / "halfway")


def test_what_jax_cannot_train_is_refused():
    with pytest.raises(UserError, match="aggregates by self_attention, which only torch has; give --backend torch"):
        JaxTrainer(dataclasses.replace(RECIPE, aggregator="self_attention"), Layout())
    with pytest.raises(UserError, match="cannot be divided into groups of 3"):
        JaxTrainer(RECIPE, Layout(fsdp=3))
    with pytest.raises(UserError, match="16 clips cannot be divided by 1 devices and 3 parts"):
        JaxTrainer(RECIPE, Layout(accumulate=3))


def test_products_have_the_dtype_of_the_recipe(alone):
    def dtypes(trainer):
        inputs = tuple(batch(0)[name] for name in ("source", "target", "deltas", "inds_restore"))
        program = str(jax.make_jaxpr(trainer._decode)(trainer._state.weights, inputs))
        return {name for name in ("bf16", "f32") if f":{name}[" in program}

    assert dtypes(alone.trainer) == {"f32"}
    assert dtypes(JaxTrainer(dataclasses.replace(RECIPE, dtype="bfloat16"), Layout())) == {"bf16", "f32"}


def test_a_process_by_itself_joins_no_others(alone):
    trainer = alone.trainer
    assert (trainer.host, trainer.leads, trainer.device_label) == ((0, 1), True, jax.devices()[0].device_kind)
    assert not jax.distributed.is_initialized()
    trainer.wait()
    assert trainer.agree(True)
    assert not trainer.agree(False)
    with trainer as entered:
        assert entered is trainer


def test_training_in_jax_needs_no_torch(sharded):
    _, facts = sharded
    assert not facts["torch"]


@pytest.mark.slow
def test_two_processes_train_save_and_resume_as_one(alone, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    both = [
        start("together", tmp_path, JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(index))
        for index in range(2)
    ]
    finish(*both)
    facts = [json.loads((tmp_path / f"together_{index}.json").read_text()) for index in range(2)]
    alone.trainer.restore(alone.folder / "halfway")
    decoded = alone.trainer.reconstruct(batch(3))
    for index, found in enumerate(facts):
        assert (found["host"], found["devices"], found["leads"]) == ([index, 2], 2, index == 0)
        assert found["reports"] == pytest.approx(alone.reports[:3], rel=REPORTS)
        assert difference(read(tmp_path / f"together_{index}.npz"), alone.halfway) < WEIGHTS
        assert np.abs(decoded[8 * index : 8 * index + 8] - found["decoded"]).max() < 1e-4
        assert found["same bits"]
        assert found["agreed"] == [False, True, True]
