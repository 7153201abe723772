"""Torch and JAX give the same loss and the same gradients, on the same weights, batch and mask."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.torch import positions as torch_positions
from rvm_bench.rvm.torch.objective import loss as torch_loss
from rvm_bench.rvm.torch.weights import from_arrays as torch_model

jax = pytest.importorskip("jax", reason="needs the extra `jax`")
pytest.importorskip("flax", reason="needs the extra `jax`")

from rvm_bench.rvm.jax import positions as jax_positions  # noqa: E402
from rvm_bench.rvm.jax.model import RVM  # noqa: E402
from rvm_bench.rvm.jax.objective import BATCH  # noqa: E402
from rvm_bench.rvm.jax.objective import loss as jax_loss  # noqa: E402
from rvm_bench.rvm.jax.weights import from_arrays, to_arrays  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "golden"


def test_loss_and_every_gradient_agree():
    """Losses to 1e-6, and each gradient to 1e-5 absolute and to 1e-5 of the largest one; the promise is 1e-4."""
    with np.load(GOLDEN / "rvm_tiny_io.npz") as archive:
        batch = {name: archive[name] for name in BATCH}
        official = float(archive["loss"])
    arrays = checkpoint.read(GOLDEN / "rvm_tiny_params.npz")

    params, config = from_arrays(arrays)
    # Optimising the program costs more than running it once.
    step = jax.jit(
        jax.value_and_grad(functools.partial(jax_loss, RVM(config))),
        compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True},
    )
    in_jax, gradient = step(params, batch)

    model = torch_model(arrays).train()
    in_torch, _ = torch_loss(model, batch)
    in_torch.backward()
    in_torch = in_torch.item()
    # A gradient has the names and shapes of a checkpoint, and goes from flax's layout to torch's as weights do.
    expected = dict(torch_model(to_arrays(gradient)).named_parameters())

    assert abs(float(in_jax) - official) < 1e-6
    assert abs(float(in_jax) - in_torch) < 1e-6
    found = dict(model.named_parameters())
    assert found.keys() == expected.keys()
    largest = {name: float((parameter.grad - expected[name].detach()).abs().max()) for name, parameter in found.items()}
    scale = max(float(parameter.grad.abs().max()) for parameter in found.values())
    assert scale > 0.01
    assert max(largest.values()) < 1e-5 * min(1, scale), max(largest, key=largest.get)


@pytest.mark.parametrize("grid", [(16, 16), (14, 14), (30, 55), (5, 1), (1, 1)])
def test_positions_agree_on_every_grid(grid):
    in_torch = torch_positions.encoder_positions(grid, 48, torch.device("cpu")).numpy()
    assert np.abs(jax_positions.encoder_positions(grid, 48) - in_torch).max() < 1e-5


def test_the_sinusoid_is_the_same_bit_for_bit():
    assert np.array_equal(
        jax_positions.sinusoid_table(257, 48), torch_positions.decoder_positions(257, 48, torch.device("cpu"))
    )
