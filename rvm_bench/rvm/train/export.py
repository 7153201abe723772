"""From the folder of a pre-training to a checkpoint in the official naming."""

from pathlib import Path
from typing import Any

from rvm_bench.errors import UserError
from rvm_bench.formats.files import read_json
from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.train.folder import SUMMARY, check_files, checkpoints
from rvm_bench.rvm.train.recipes import Recipe
from rvm_bench.rvm.train.run import make_trainer
from rvm_bench.rvm.train.trainer import Layout


def export(folder: Path, out: Path, step: int | None = None) -> tuple[int, int]:
    """Writes an official `.npz` of float32 weights, which any RVM reader loads; the step and the parameters in it.

    Args:
        folder: of `rvm_bench.rvm.train.run.train`.
        out: the file.
        step: of the checkpoint; None takes the last one.

    Raises:
        UserError: not such a folder, no checkpoint (of this step) in it, a damaged one, or a model that the official
            files have no place for.
    """
    identity = folder / "identity.json"
    described = read_json(identity) if identity.is_file() else {}
    if "recipe" not in described:
        raise UserError(f"{folder} is no folder of a pre-training; expected one that `rvm-bench train --out` wrote")
    found = {int(path.name): path for path in checkpoints(folder)}
    if not found:
        raise UserError(f"{folder} holds no checkpoint yet; train until the first one is written")
    if step is not None and step not in found:
        raise UserError(f"{folder} has no checkpoint of step {step}; it has {', '.join(map(str, found))}")
    chosen = found[max(found) if step is None else step]
    check_files(chosen)
    with make_trainer(recipe_from(described["recipe"]), described["backend"], Layout(), _cpu(described)) as trainer:
        trainer.restore(chosen / "state")
        arrays = trainer.arrays()
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(out, arrays)
    return read_json(chosen / SUMMARY)["step"], sum(array.size for array in arrays.values())


def recipe_from(values: dict[str, Any]) -> Recipe:
    """The recipe that `dataclasses.asdict` made these values of."""
    return Recipe(**{**values, "model": RVMConfig(**values["model"])})


def _cpu(described: dict[str, Any]) -> str | None:
    """torch's device; JAX takes what it finds."""
    return "cpu" if described["backend"] == "torch" else None
