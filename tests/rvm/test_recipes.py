"""Recipes are what the paper publishes, say where every value is from, and cost what their docstrings state."""

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from readouts.fitting.optim import FitConfig
from rvm_bench.errors import UserError
from rvm_bench.nn.schedule import warmup_cosine
from rvm_bench.rvm import masking
from rvm_bench.rvm.checkpoint import SIZES
from rvm_bench.rvm.torch.objective import loss, recompute_blocks
from rvm_bench.rvm.train import cost
from rvm_bench.rvm.train.recipes import RECIPES, Recipe, find_recipe, rvm_demo, rvm_s, rvm_s_self_attention
from rvm_bench.rvm.train.torch.untrained import untrained

TINY = dataclasses.replace(rvm_s(), model=SIZES["rvm-tiny"], size_px=128, dtype="float32")
S = dataclasses.replace(rvm_s(), size_px=128, dtype="float32")
JOINT = dataclasses.replace(
    rvm_s_self_attention(), model=SIZES["rvm-tiny"], size_px=128, source_frames=3, dtype="float32"
)


def test_the_rate_rises_in_a_line_and_falls_in_a_cosine():
    rates = [warmup_cosine(step, peak=2.0, final=0.5, warmup_steps=10, steps=110) for step in (0, 5, 10, 60, 110)]
    assert rates == pytest.approx([0, 1, 2, 1.25, 0.5])
    assert warmup_cosine(0, peak=2.0, final=0.5, warmup_steps=0, steps=4) == 2


@given(st.integers(2, 500), st.data())
def test_the_rate_never_leaves_its_range_and_turns_once(steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    rates = [warmup_cosine(step, peak=1e-3, final=1e-6, warmup_steps=warmup, steps=steps) for step in range(steps + 1)]
    assert max(rates) == rates[warmup] == 1e-3
    assert rates[-1] == pytest.approx(1e-6)
    assert (np.diff(rates[: warmup + 1]) > 0).all()
    assert (np.diff(rates[warmup:]) < 0).all()


def test_readouts_follow_the_same_schedule():
    config = FitConfig(steps=50, warmup_steps=5)
    assert config.rate(1e-3, 20) == warmup_cosine(20, peak=1e-3, final=1e-7, warmup_steps=5, steps=50)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_found_by_its_name_and_builds(name):
    recipe = find_recipe(name)
    assert recipe.name == name
    assert recipe == find_recipe(name)


def test_an_unknown_recipe_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown recipe 'rvm-s'; did you mean .*rvm_s"):
        find_recipe("rvm-s")


@pytest.mark.parametrize("name", RECIPES)
def test_a_docstring_states_what_the_formula_gives(name):
    recipe = find_recipe(name)
    stated = re.search(r"Cost: (\S+) FLOPs, (\S+) H100 hours", RECIPES[name].__doc__)
    assert stated
    assert float(stated[1]) == pytest.approx(cost.total_flops(recipe), rel=6e-3)
    assert float(stated[2].replace(",", "")) == pytest.approx(cost.device_hours(recipe, cost.DEVICES["h100"]), rel=2e-2)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "rvm_demo"])
def test_the_published_values_are_the_papers(name):
    recipe = find_recipe(name)
    published = {
        "batch": 2048,
        "targets": 4,
        "delta_min": 4,
        "delta_max": 48,
        "clip_frames": 64,
        "mask_ratio": 0.95,
        "size_px": 256,
        "dtype": "bfloat16",
        "mixture": "paper",
    }
    assert {field: getattr(recipe, field) for field in published} == published
    examples = {"rvm_s_250m": 0.25e9, "rvm_s_1b": 1e9, "rvm_s": 2e9, "rvm_b": 2e9, "rvm_l": 2e9, "rvm_h": 4e9}
    assert recipe.steps * recipe.batch == pytest.approx(examples.get(name, 0.5e9), rel=0.03)
    assert recipe.source_frames == {"rvm_s_1_frame": 1, "rvm_s_2_frames": 2}.get(name, 4)
    assert recipe.warmup_steps / recipe.steps == 0.025
    size = name.replace("_", "-")
    if size in SIZES:
        assert recipe.model == SIZES[size]


def test_every_value_has_a_source_and_what_the_paper_leaves_out_is_ours():
    sources = Recipe.sources()
    assert set(sources) == {field.name for field in dataclasses.fields(Recipe)} - {"name"}
    ours = {name for name, source in sources.items() if source.startswith("ours: ") or source == "ours"}
    unpublished = {"learning_rate", "final_rate", "warmup_steps", "weight_decay", "beta1", "beta2", "eps", "clip_norm"}
    assert ours == unpublished | {"start", "seed"}
    assert all(source.startswith("paper ") for name, source in sources.items() if name not in ours)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"warmup_steps": 1_600}, "warmup_steps is 1600 of 1600 steps"),
        ({"aggregator": "self-attention"}, "did you mean self_attention"),
        ({"dtype": "bf16"}, "dtype=bf16: expected float32 or bfloat16"),
        ({"delta_min": 25}, "targets are 25 to 24 frames after the last of 4 sources"),
        ({"delta_max": 64}, "delta_max is 64; expected below 64, the model's delta_bins"),
        ({"clip_frames": 27}, "expected a range that fits in 27 frames"),
        ({"size_px": 100}, "size_px is 100; expected a multiple of the patch, 16"),
        ({"size_px": 16}, "of 1 patches at least one must stay visible"),
        ({"mask_ratio": 1.0}, "mask_ratio is 1.0"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused(change, message):
    with pytest.raises(UserError, match=re.escape(message)):
        dataclasses.replace(rvm_demo(), **change)


def test_the_self_attention_ablation_matches_the_core_in_layers_and_parameters():
    joint, recurrent = rvm_s_self_attention(), find_recipe("rvm_s_500m")
    assert joint.model.core_layers == recurrent.model.core_layers == 4
    assert cost.parameters(joint) == pytest.approx(cost.parameters(recurrent), rel=5e-3)
    assert cost.forward_flops(joint).total > cost.forward_flops(recurrent).total


def random_batch(recipe, clips=1):
    rng = np.random.default_rng(0)
    side = recipe.size_px
    grid = (side // recipe.model.patch, side // recipe.model.patch)
    shape = (clips, recipe.source_frames + recipe.targets, side, side, 3)
    source, target = np.split(rng.integers(0, 256, shape, dtype=np.uint8), [recipe.source_frames], axis=1)
    inds_restore, _ = masking.draw(
        grid, seed=0, batch=clips, targets=recipe.targets, shared=False, ratio=recipe.mask_ratio
    )
    deltas = rng.integers(recipe.delta_min, recipe.delta_max + 1, (clips, recipe.targets))
    return {"source": source, "target": target, "deltas": deltas, "inds_restore": inds_restore}


@pytest.mark.parametrize("recipe", [TINY, S, JOINT, rvm_demo()], ids=["tiny", "S", "joint", "demo"])
def test_parameters_and_flops_are_what_torch_counts(recipe):
    model, batch = untrained(recipe.model, recipe.aggregator), random_batch(recipe)
    assert sum(parameter.numel() for parameter in model.parameters()) == cost.parameters(recipe)
    # torch's counter knows no flash attention of the CPU
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        value, _ = loss(model, batch, mask_ratio=recipe.mask_ratio)
        assert counter.get_total_flops() == pytest.approx(cost.forward_flops(recipe).total, rel=1e-9)
        value.backward()
    # The backward pass needs no gradient of the pixels, which is up to 2.9 % of a step where the model is tiny.
    one_clip = dataclasses.replace(recipe, batch=1)
    within = 0.03 if recipe.model.width <= SIZES["rvm-tiny"].width else 0.01
    assert counter.get_total_flops() == pytest.approx(cost.step_flops(one_clip), rel=within)


@pytest.mark.parametrize(
    "savings", [{"visible_only": False}, {"share_keys": False}], ids=lambda flags: next(iter(flags))
)
@pytest.mark.parametrize("recipe", [TINY, JOINT], ids=["tiny", "joint"])
def test_the_flops_of_a_step_without_savings_are_what_torch_counts(recipe, savings):
    model, batch = untrained(recipe.model, recipe.aggregator), random_batch(recipe)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss(model, batch, **savings)
    assert counter.get_total_flops() == pytest.approx(cost.forward_flops(recipe, **savings).total, rel=1e-9)


def test_the_formula_gives_the_flops_counted_by_hand_at_s():
    flops = cost.forward_flops(rvm_s())
    unshared = cost.forward_flops(rvm_s(), share_keys=False)
    assert flops.sources / 1e9 == pytest.approx(49, abs=0.5)
    assert flops.targets / 1e9 == pytest.approx(2.8, abs=0.1)
    assert unshared.decoder / 1e9 == pytest.approx(118, abs=0.5)
    everything = cost.forward_flops(rvm_s(), visible_only=False, share_keys=False)
    assert everything.total / flops.total == pytest.approx(1.42, abs=0.01)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("recipe", [TINY, JOINT, rvm_demo()], ids=["tiny", "joint", "demo"])
def test_activations_are_within_a_tenth_of_what_torch_keeps(recipe, dtype):
    recipe = dataclasses.replace(recipe, dtype=dtype)
    model, batch = untrained(recipe.model, recipe.aggregator), random_batch(recipe)
    predicted = cost.memory(recipe, clips=1).activations
    assert kept_bytes(model, batch, dtype) == pytest.approx(predicted, rel=0.1)
    recompute_blocks(model)
    recomputed = cost.memory(recipe, clips=1, recompute=True).activations
    # What is kept; the block that is computed again comes on top, later.
    assert 0.6 * recomputed < kept_bytes(model, batch, dtype) < recomputed < predicted / 1.5


def kept_bytes(model, batch, dtype):
    """Bytes that one loss keeps for its backward pass, weights and their copies aside."""
    shapes = {parameter.shape for parameter in model.parameters()}
    shapes |= {shape[::-1] for shape in shapes}
    kept = {}

    def pack(tensor):
        if tensor.shape not in shapes:
            kept[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value, _ = loss(model, batch, dtype=getattr(torch, dtype))
    del value
    return sum(size for size, _ in kept.values())


def test_memory_counts_weights_gradients_moments_and_copies():
    recipe, count = rvm_s(), cost.parameters(rvm_s())
    memory = cost.memory(recipe, clips=8)
    assert (memory.weights, memory.gradients, memory.moments) == (6 * count, 4 * count, 8 * count)
    assert memory.activations == 8 * cost.memory(recipe, clips=1).activations
    sharded = cost.memory(recipe, clips=8, shards=256)
    assert sharded.gradients == memory.gradients / 256
    assert sharded.weights == 2 * count + 4 * count / 256
    assert memory.total == sum(dataclasses.asdict(memory).values())
    assert cost.memory(dataclasses.replace(recipe, dtype="float32"), clips=8).weights == 4 * count


def test_hours_follow_from_the_flops_and_the_share_of_the_peak():
    h100 = cost.DEVICES["h100"]
    assert cost.device_hours(rvm_s(), h100, 0.5) * 3600 * 989.4e12 * 0.5 == pytest.approx(cost.total_flops(rvm_s()))
    assert cost.step_flops(rvm_s(), recompute=True) == pytest.approx(4 / 3 * cost.step_flops(rvm_s()))


def test_listing_recipes_imports_neither_torch_nor_jax():
    code = "import sys, rvm_bench.rvm.train.cost, rvm_bench.nn.schedule; print({'torch', 'jax'} & {*sys.modules})"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "set()"
