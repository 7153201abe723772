"""50 steps of training stay on the committed losses, in torch and in JAX.

python tests/rvm/test_loss_curve.py    # writes them anew, with torch; only where the objective or the start is changed
"""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from small_training import small_recipe

from rvm_bench.nn.schedule import warmup_cosine
from rvm_bench.rvm.train.data.loader import TrainingBatch
from rvm_bench.rvm.train.data.mixture import Mixture
from rvm_bench.rvm.train.data.sources import Source
from rvm_bench.rvm.train.run import make_trainer
from rvm_bench.rvm.train.trainer import Layout

GOLDEN = Path(__file__).with_name("golden_losses.json")
RECIPE = small_recipe(steps=50, warmup_steps=5, learning_rate=3e-3)
BATCHES = 5


@functools.cache
def batches() -> list[TrainingBatch]:
    """A few batches of procedural clips, which the training repeats."""
    mixture = Mixture([Source(kind="procedural")], RECIPE.samples())
    samples = [mixture.sample(number) for number in range(BATCHES * RECIPE.batch)]
    return [
        TrainingBatch(**{name: np.stack([s[name] for s in samples[first::BATCHES]]) for name in samples[0]})
        for first in range(BATCHES)
    ]


def curve(backend: str) -> list[float]:
    """The loss of every step."""
    losses = []
    with make_trainer(RECIPE, backend, Layout(), "cpu" if backend == "torch" else None) as trainer:
        for step in range(RECIPE.steps):
            rate = warmup_cosine(
                step, peak=RECIPE.learning_rate, final=0.0, warmup_steps=RECIPE.warmup_steps, steps=RECIPE.steps
            )
            losses.append(float(trainer.step(batches()[step % BATCHES], rate)["loss"]))
    return losses


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_fifty_steps_stay_on_the_golden_losses(backend):
    if backend == "jax":
        pytest.importorskip("orbax.checkpoint")
    golden = json.loads(GOLDEN.read_text())["losses"]
    assert sum(golden[-BATCHES:]) < 0.8 * sum(golden[:BATCHES])
    np.testing.assert_allclose(curve(backend), golden, rtol=1e-3)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({"recipe": "RECIPE in test_loss_curve.py", "losses": curve("torch")}, indent=1) + "\n")
