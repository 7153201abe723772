"""A very small training in JAX, and programs that run it where tests cannot: on 8 devices, and in two processes.

    python jax_training.py sharded FOLDER       (XLA_FLAGS=--xla_force_host_platform_device_count=8)
    python jax_training.py together FOLDER      (JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID)

What they find goes into files in FOLDER.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from rvm_bench.rvm import masking
from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.train.recipes import rvm_demo
from rvm_bench.rvm.train.trainer import Layout

# An odd MLP and 3 heads leave arrays that no device can have a quarter of. A large eps keeps gradients that are zero
# but for rounding (those of key biases) from becoming steps as large as any; the norm is clipped in every step.
RECIPE = dataclasses.replace(
    rvm_demo(),
    model=RVMConfig(
        patch=8,
        width=24,
        layers=1,
        heads=3,
        mlp=33,
        core_layers=1,
        core_heads=3,
        core_mlp=33,
        decoder_width=24,
        decoder_layers=1,
        decoder_heads=3,
        decoder_mlp=33,
    ),
    batch=16,
    source_frames=2,
    targets=3,
    size_px=32,
    mask_ratio=0.75,
    weight_decay=0.5,
    eps=1e-4,
    clip_norm=0.5,
)
RATES = (0.0, 2e-3, 4e-3, 3e-3, 1e-3)


def batch(step, host=(0, 1)):
    """A host's slice of a batch of noise."""
    rng = np.random.default_rng(step)
    clips, side, grid = RECIPE.batch, RECIPE.size_px, RECIPE.size_px // RECIPE.model.patch
    inds_restore, _ = masking.draw(
        (grid, grid), seed=step, batch=clips, targets=RECIPE.targets, shared=False, ratio=RECIPE.mask_ratio
    )
    whole = {
        "source": rng.integers(0, 256, (clips, RECIPE.source_frames, side, side, 3), dtype=np.uint8),
        "target": rng.integers(0, 256, (clips, RECIPE.targets, side, side, 3), dtype=np.uint8),
        "deltas": rng.integers(4, 49, (clips, RECIPE.targets), dtype=np.int32),
        "inds_restore": inds_restore.astype(np.int32),
    }
    index, hosts = host
    return {name: array[index * clips // hosts : (index + 1) * clips // hosts] for name, array in whole.items()}


def train(trainer, steps):
    """What these steps report: [steps, 2], loss and norm of the gradient."""
    reports = [trainer.step(batch(step, trainer.host), RATES[step]) for step in steps]
    return np.array([[float(report["loss"]), float(report["gradient_norm"])] for report in reports])


def sharded(folder):
    """Trains on data 2 x fsdp 4, in two parts, saves to FOLDER/sharded, then goes on from FOLDER/alone."""
    import jax

    from rvm_bench.rvm.train.jax.trainer import JaxTrainer

    with JaxTrainer(RECIPE, Layout(fsdp=4, accumulate=2)) as trainer:
        reports = train(trainer, range(3))
        weights = trainer.arrays()
        trainer.save(folder / "sharded")
        decoded = trainer.reconstruct({name: array[:5] for name, array in batch(3).items()})
        train(trainer, [4])  # from here on nothing is as in what it restores
        trainer.restore(folder / "alone")
        resumed = train(trainer, range(3, 5))
        np.savez(folder / "sharded.npz", **trainer.arrays())
        arrays = jax.tree.leaves(trainer._state)
        facts = {
            "devices": trainer.devices,
            "torch": "torch" in sys.modules,
            "reports": reports.tolist(),
            "resumed": resumed.tolist(),
            "decoded": decoded.tolist(),
            "bytes": sum(array.nbytes for array in arrays),
            "bytes_of_a_device": sum(array.addressable_shards[0].data.nbytes for array in arrays),
        }
    np.savez(folder / "sharded_3_steps.npz", **weights)
    (folder / "sharded.json").write_text(json.dumps(facts))


def together(folder):
    """Trains as one of several processes on fsdp over all of them; each writes what it saw."""
    from rvm_bench.rvm.train.jax.trainer import JaxTrainer

    with JaxTrainer(RECIPE, Layout()) as trainer:
        first = trainer.host[0] == 0
        reports = train(trainer, range(3))
        saved = folder / "together"
        trainer.save(saved)
        before = trainer.arrays()
        train(trainer, range(3, 5))
        trainer.restore(saved)
        after = trainer.arrays()
        facts = {
            "host": trainer.host,
            "devices": trainer.devices,
            "leads": trainer.leads,
            "reports": reports.tolist(),
            "same bits": all(np.array_equal(before[name], after[name]) for name in before),
            "agreed": [trainer.agree(False), trainer.agree(first), trainer.agree(not first)],
            "decoded": trainer.reconstruct(batch(3, trainer.host)).tolist(),
        }
    np.savez(folder / f"together_{trainer.host[0]}.npz", **before)
    (folder / f"together_{trainer.host[0]}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    {"sharded": sharded, "together": together}[sys.argv[1]](Path(sys.argv[2]))
