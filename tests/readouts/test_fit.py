"""Fitting readouts: exact resume, independence of processes, workers and neighbours, and a choice on held-out data."""

import dataclasses
import functools
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import colours
import numpy as np
import pytest
import torch
from colours import READOUT, SELECTION, Colours, Patches, fit_colours, recipe
from safetensors.numpy import load_file

from readouts.fitting.features import encode_clips
from readouts.fitting.optim import FitConfig, StackedAdamW
from readouts.fitting.sampling import Batches, schedule, split
from readouts.heads.attention import AttentionReadout
from readouts.losses import Selection, abs_rel, cross_entropy, log_depth, top1
from rvm_bench.errors import DamagedFile, UserError


def run(*command):
    """A Python process of its own, with the folder of this file to import from."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


def kill(**arguments):
    """`colours.main` in a process that kills itself before the 8th step."""
    process = multiprocessing.get_context("forkserver").Process(target=colours.main, kwargs={"kill_at": 8} | arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def arrays(folder):
    return load_file(folder / "readout.safetensors")


def furthest(one, other):
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_readout_learns_and_a_finished_fit_is_only_read(tmp_path, caplog):
    config = recipe(steps=120, learning_rates=(1e-6, 1e-2), batch=16)
    fitted = fit_colours(tmp_path / "fit", source=Colours(count=90), config=config)
    assert fitted.summary["chosen"] == {"learning_rate": 1e-2, "seed": 0}
    scores = [replica["score"] for replica in fitted.summary["replicas"]]
    assert scores[1] > 0.9 > scores[0]
    source, encoder = Colours(), Patches()
    clips = np.stack([source.clip(index) for index in range(1000, 1030)])
    features = encode_clips(encoder, clips)
    logits = fitted.predict(features)
    assert (logits.argmax(-1).numpy() == np.arange(1000, 1030) % 3).mean() > 0.8
    caplog.set_level("INFO")
    caplog.clear()
    reread = fit_colours(tmp_path / "fit", source=Colours(count=90), config=config)
    assert "only read" in caplog.messages[0]
    assert torch.equal(reread.predict(features), logits)
    assert not (tmp_path / "fit/checkpoint.safetensors").exists()


@pytest.mark.parametrize("cached", [False, True])
def test_a_fit_that_is_killed_and_resumed_ends_with_the_same_bits(tmp_path, cached):
    folders = {
        name: {"folder": str(tmp_path / name), "cache": str(tmp_path / f"{name}-cache") if cached else ""}
        for name in ("killed", "whole")
    }
    kill(**folders["killed"])
    assert (tmp_path / "killed/checkpoint.safetensors").exists()
    assert not (tmp_path / "killed/fit.json").exists()
    for arguments in folders.values():
        colours.main(**arguments)
    for file in ("readout.safetensors", "log.jsonl"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_two_processes_fit_what_one_fits(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}")
    done = run(*launcher, colours.__file__, json.dumps({"folder": str(tmp_path / "2")}))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("2 readouts of") == 1, "only rank 0 logs"
    colours.main(str(tmp_path / "1"))
    assert furthest(arrays(tmp_path / "1"), arrays(tmp_path / "2")) < 1e-5
    assert [line["step"] for line in lines(tmp_path / "2")] == [5, 10, 12]
    one, two = (json.loads((tmp_path / name / "fit.json").read_text()) for name in "12")
    assert (two["processes"], two["chosen"]) == (2, one["chosen"])


def test_the_result_does_not_depend_on_worker_processes(tmp_path):
    for workers in (0, 2):
        fit_colours(tmp_path / str(workers), workers=workers)
    assert (tmp_path / "0/readout.safetensors").read_bytes() == (tmp_path / "2/readout.safetensors").read_bytes()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_file_is_told_in_one_line(tmp_path, workers):
    source = Colours(augment=True)
    training, _ = split(source.names, 0.2, 4)
    source.broken = training[3]
    with pytest.raises(UserError, match=rf"^clip{source.broken}.mp4: no frame can be decoded$"):
        fit_colours(tmp_path, source=source, workers=workers)


def test_a_clip_that_cannot_be_read_costs_no_step_that_came_before_it(tmp_path, monkeypatch, caplog):
    whole, calls = Colours.clip, 0

    def clip(source, index, shift=0):
        nonlocal calls
        calls += 1
        if calls == 30:
            raise UserError(f"clip{index}.mp4: no frame can be decoded")
        return whole(source, index, shift)

    monkeypatch.setattr(Colours, "clip", clip)
    caplog.set_level("INFO")
    with pytest.raises(UserError, match="no frame can be decoded"):
        fit_colours(tmp_path / "mended")
    fit_colours(tmp_path / "mended")
    assert any("resumed from step 3 of 12" in line for line in caplog.messages)
    fit_colours(tmp_path / "never broken")
    for name in ("readout.safetensors", "log.jsonl"):
        assert (tmp_path / "mended" / name).read_bytes() == (tmp_path / "never broken" / name).read_bytes()


def test_a_clip_that_cannot_be_read_is_left_out_of_its_batch_and_nothing_takes_its_place(tmp_path):
    training, _ = split(Colours(augment=True).names, 0.2, 4)
    source = Colours(augment=True, broken=training[3])
    batches = Batches(source=source, indices=training, seed=0, allow_missing=True)
    whole = Batches(source=Colours(augment=True), indices=training, seed=0)
    for part in schedule(range(4), batch=8):
        found, all_of_it = batches[part], whole[part]
        kept = [list(part).index(number) for number in found.numbers]
        assert len(kept) + len(found.left_out) == 8
        assert torch.equal(found.target["label"], all_of_it.target["label"][kept])
        for position, place in enumerate(kept):
            assert torch.equal(found.decoded[position], all_of_it.decoded[place])
    for workers in (0, 1):
        fitted = fit_colours(tmp_path / str(workers), source=source, allow_missing=True, workers=workers)
        assert fitted.summary["left_out"] == [f"clip{source.broken}.mp4: no frame can be decoded"]
    assert (tmp_path / "0/readout.safetensors").read_bytes() == (tmp_path / "1/readout.safetensors").read_bytes()


def test_where_no_clip_can_be_read_one_line_says_so(tmp_path, monkeypatch):
    def clip(source, index, shift=0):
        raise DamagedFile(f"clip{index}.mp4: no frame can be decoded")

    monkeypatch.setattr(Colours, "clip", clip)
    with pytest.raises(DamagedFile, match="no frame can be decoded"):
        fit_colours(tmp_path, allow_missing=True)


def test_a_batch_in_parts_is_the_whole_batch(tmp_path):
    for parts in (1, 4):
        fit_colours(tmp_path / str(parts), config=recipe(accumulate=parts))
    assert furthest(arrays(tmp_path / "1"), arrays(tmp_path / "4")) < 1e-6


def test_a_mean_over_valid_places_does_not_depend_on_the_parts(tmp_path):
    def every_other(outputs, target):
        valid = target["label"] > 0
        total, _ = cross_entropy(outputs[:, valid], {"label": target["label"][valid]})
        return total, valid.sum()

    for parts in (1, 4):
        fit_colours(tmp_path / str(parts), config=recipe(accumulate=parts), loss=every_other)
    assert furthest(arrays(tmp_path / "1"), arrays(tmp_path / "4")) < 1e-6


def test_a_replica_does_not_depend_on_its_neighbours(tmp_path):
    fit_colours(tmp_path / "both", config=recipe(learning_rates=(1e-2, 1e-3)))
    both = lines(tmp_path / "both")
    chosen = json.loads((tmp_path / "both/fit.json").read_text())["chosen"]["learning_rate"]
    for place, rate in enumerate((1e-2, 1e-3)):
        folder = tmp_path / f"{rate}"
        fit_colours(folder, config=recipe(learning_rates=(rate,)))
        np.testing.assert_allclose(
            [line["loss"][place] for line in both], [line["loss"][0] for line in lines(folder)], atol=1e-6
        )
        if rate == chosen:
            assert furthest(arrays(tmp_path / "both"), arrays(folder)) < 1e-6


def test_a_replica_that_diverges_is_left_out_and_does_no_harm(tmp_path):
    def loss(outputs, target):
        total, count = cross_entropy(outputs, target)
        poison = torch.ones(len(total))
        if len(total) > 1:
            poison[1] = torch.nan
        return total * poison, count

    loss.__qualname__ = "loss"
    fitted = fit_colours(tmp_path / "two", config=recipe(learning_rates=(1e-2, 5e-2)), loss=loss)
    assert fitted.summary["chosen"]["learning_rate"] == 1e-2
    assert [replica["diverged"] for replica in fitted.summary["replicas"]] == [False, True]
    assert fitted.summary["replicas"][1]["score"] is None
    assert all(line["loss"][1] is None for line in lines(tmp_path / "two"))
    fit_colours(tmp_path / "one", config=recipe(learning_rates=(1e-2,)), loss=loss)
    assert furthest(arrays(tmp_path / "one"), arrays(tmp_path / "two")) < 1e-6


def test_where_every_replica_diverges_one_line_names_the_learning_rates(tmp_path):
    def loss(outputs, target):
        total, count = cross_entropy(outputs, target)
        return total * torch.nan, count

    with pytest.raises(UserError, match=r"diverged by step 5 \(learning rates 0.01, 0.03\)"):
        fit_colours(tmp_path, loss=loss)


def test_held_out_examples_choose_and_are_never_trained_on(tmp_path):
    trained, held = set(), set()

    class Watched(Colours):
        def train_item(self, index, rng):
            trained.add(index)
            return super().train_item(index, rng)

        def held_out_item(self, index):
            held.add(index)
            return super().held_out_item(index)

    fit_colours(tmp_path / "a", source=Watched())
    training, held_out = split(Colours().names, 0.2, 4)
    assert (trained, held) == (set(training), set(held_out))

    worst = Selection(name="error", measure=lambda outputs, target: top1(-outputs, target), higher_is_better=True)
    best = fit_colours(tmp_path / "best", config=recipe(learning_rates=(1e-9, 1e-2), steps=40))
    other = fit_colours(tmp_path / "worst", config=recipe(learning_rates=(1e-9, 1e-2), steps=40), selection=worst)
    assert best.summary["chosen"]["learning_rate"] == 1e-2
    assert other.summary["chosen"]["learning_rate"] == 1e-9


def test_a_lower_metric_can_be_the_better_one(tmp_path):
    for higher in (True, False):
        selection = dataclasses.replace(SELECTION, higher_is_better=higher)
        config = recipe(learning_rates=(1e-9, 1e-2), steps=40)
        fitted = fit_colours(tmp_path / str(higher), config=config, selection=selection)
        assert fitted.summary["chosen"]["learning_rate"] == (1e-2 if higher else 1e-9)
        assert ("highest" if higher else "lowest") in fitted.summary["rule"]


def test_an_example_keeps_its_side_when_others_are_added_and_names_stay_together():
    names = [f"scene {index // 3}" for index in range(300)]
    before, after = split(names[:150], 0.2, 1), split(names, 0.2, 1)
    for side in (0, 1):
        assert set(before[side]) <= set(after[side])
    assert not {names[index] for index in after[0]} & {names[index] for index in after[1]}
    assert 10 < len({names[index] for index in after[1]}) < 30
    with pytest.raises(UserError, match="on both sides"):
        split(["a", "b"], 0.1, 2)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (1, 3e-5), (10, 3e-4), (60, (3e-4 + 1e-7) / 2), (110, 1e-7)])
def test_the_rate_rises_linearly_and_falls_as_a_cosine(step, expected):
    config = FitConfig(warmup_steps=10, steps=110)
    assert config.rate(3e-4, step) == pytest.approx(expected, rel=1e-9)


def test_the_stacked_optimiser_is_adamw_for_each_replica():
    config = recipe(weight_decay=0.1)
    readout = AttentionReadout(READOUT, replicas=2, seeds=(3, 4))
    apart = [AttentionReadout(READOUT, seeds=(seed,)) for seed in (3, 4)]
    optimiser = StackedAdamW(readout, 2, config)
    rates = (1e-2, 1e-3)
    plain = [
        torch.optim.AdamW(one.parameters(), lr=rate, weight_decay=0.1, foreach=False)
        for one, rate in zip(apart, rates, strict=True)
    ]
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        optimiser.gradient.normal_(generator=generator)
        for replica, (one, torch_one) in enumerate(zip(apart, plain, strict=True)):
            for mine, theirs in zip(readout.parameters(), one.parameters(), strict=True):
                theirs.grad = mine.grad[replica][None].clone()
            torch_one.step()
        optimiser.step(rates)
    for replica, one in enumerate(apart):
        for mine, theirs in zip(readout.parameters(), one.parameters(), strict=True):
            assert (mine[replica] - theirs[0]).abs().max() < 2e-7


def weighted(outputs, target, weight):
    total, count = cross_entropy(outputs, target)
    return weight * total, count


def test_another_recipe_in_the_same_folder_is_refused_with_what_differs(tmp_path):
    fit_colours(tmp_path)
    with pytest.raises(UserError, match=r"holds another fit: fit.steps 12 -> 13; use another folder"):
        fit_colours(tmp_path, config=recipe(steps=13))
    with pytest.raises(UserError, match=r"encoder\.weights\.sha256"):
        fit_colours(tmp_path, encoder=Patches(seed=1))
    fit_colours(tmp_path, config=recipe(log_every=7))


def test_what_is_set_in_a_loss_is_part_of_the_identity(tmp_path):
    fit_colours(tmp_path, loss=functools.partial(weighted, weight=2.0))
    with pytest.raises(UserError, match=r"functions .*2\.0.* -> .*3\.0"):
        fit_colours(tmp_path, loss=functools.partial(weighted, weight=3.0))
    fit_colours(tmp_path, loss=functools.partial(weighted, weight=2.0))


def stopped(folder, **changes):
    """A fit that an unreadable clip stopped before the 8th step."""
    calls = iter(range(8 * 8))

    class Breaking(Colours):
        def train_item(self, index, rng):
            if next(calls, None) is None:
                raise UserError("stopped")
            return super().train_item(index, rng)

    options = {"source": Breaking(), "config": recipe(checkpoint_every_s=0.0, **changes)}
    with pytest.raises(UserError, match="stopped"):
        fit_colours(folder, **options)
    calls = iter(range(1000))
    return options


@pytest.mark.parametrize("damage", ["checkpoint", "readout"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    options = stopped(tmp_path)
    if damage == "readout":
        fit_colours(tmp_path, **options)
    file = tmp_path / f"{damage}.safetensors"
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{file} is .*delete"):
        fit_colours(tmp_path, **options)


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path, caplog):
    options = stopped(tmp_path / "fit", log_every=1)
    file = tmp_path / "fit/log.jsonl"
    assert [line["step"] for line in lines(tmp_path / "fit")] == list(range(1, 9))
    file.write_text(file.read_text() + '{"step": 9, "loss": [9, 9]}\n{"step": 10, "lo')
    caplog.set_level("INFO")
    fit_colours(tmp_path / "fit", **options)
    assert f"{tmp_path / 'fit'}: resumed from step 8 of 12" in caplog.messages
    assert [line["step"] for line in lines(tmp_path / "fit")] == list(range(1, 13))
    assert lines(tmp_path / "fit")[8]["loss"] != [9, 9]


def test_bfloat16_products_and_a_tensorboard_log(tmp_path):
    fitted = fit_colours(tmp_path / "half", config=recipe(autocast="bfloat16"), tensorboard=True)
    assert any((tmp_path / "half/tensorboard").iterdir())
    fit_colours(tmp_path / "full")
    assert fitted.readout.key_kernel.dtype == torch.float32
    np.testing.assert_allclose(lines(tmp_path / "half")[0]["loss"], lines(tmp_path / "full")[0]["loss"], rtol=0.05)
    assert arrays(tmp_path / "half")["query"].tobytes() != arrays(tmp_path / "full")["query"].tobytes()


def test_every_example_comes_once_in_an_epoch_and_augmentation_follows_the_sample():
    source = Colours(count=10, augment=True)
    data = Batches(source=source, indices=range(10), seed=0)
    epochs = [[int(data.item(n).clip().sum()) for n in range(10 * e, 10 * e + 10)] for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(int(source.clip(i).sum()) for i in range(10))
    assert epochs[0] != epochs[1]
    assert np.array_equal(data.item(3).clip(), data.item(3).clip())
    parts = [schedule(range(3, 5), batch=8, accumulate=2, world=2, rank=rank) for rank in (0, 1)]
    assert sorted(n for part in parts for numbers in part for n in numbers) == list(range(24, 40))
    with pytest.raises(UserError, match="batch of 8 cannot be divided among 3"):
        schedule(range(1), batch=8, world=3)


def test_a_configuration_that_makes_no_sense_is_refused():
    for changes in ({"steps": 2}, {"batch": 0}, {"seeds": ()}, {"seeds": (1, 1)}, {"held_out": 1.0}):
        with pytest.raises(UserError):
            recipe(**changes)


def test_losses_have_their_textbook_values():
    logits = torch.zeros(2, 3, 4)
    logits[1, :, 2] = 100
    target = {"label": torch.tensor([2, 2, 0])}
    total, count = cross_entropy(logits, target)
    np.testing.assert_allclose(total / count, [np.log(4), 100 / 3], rtol=1e-5)
    np.testing.assert_allclose(top1(logits, target)[0], [1, 2])
    depth = torch.tensor([1.0, 2.0, 0.0]).view(1, 3, 1, 1)
    target = {"depth": depth, "valid": depth > 0}
    outputs = torch.zeros(1, 1, 3, 1, 1, 1)
    total, count = log_depth(outputs, target)
    np.testing.assert_allclose((total / count).item(), np.log(2) ** 2 / 2, rtol=1e-6)
    total, count = abs_rel(outputs, target)
    np.testing.assert_allclose((total / count).item(), 0.25, rtol=1e-5)
