"""What loading an RVM has in common in torch and JAX: the arrays a user asks for, and the card they fit. numpy only."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from rvm_bench.api.card import EncoderCard, Provenance
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.formats.hashes import file_sha256
from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.checkpoint import RVMConfig

SMALLEST = "rvm-s"
PRECISIONS = ("float32", "bfloat16")


def precision(dtype: Any) -> str:
    """The name of a dtype, "float32" or "bfloat16", given as a name or as torch's; UserError for others."""
    name = str(dtype).removeprefix("torch.")
    if name not in PRECISIONS:
        raise unknown_name("dtype", name, PRECISIONS)
    return name


def read_weights(card: EncoderCard, weights: str | Path | None, seed: int) -> tuple[dict[str, np.ndarray], Provenance]:
    """A checkpoint's arrays, not yet checked, and where they come from (`Encoder.weights`).

    Args:
        card: a named size, or the generic `rvm`.
        weights: path of an official `.npz`, or "random" for untrained weights of the card's size (of the smallest
            released one, where the card has none).
        seed: of random weights.

    Raises:
        UserError: no weights, or a file that cannot be read.
    """
    if weights is None:
        raise UserError(f"{card.name} needs weights: the path of an official .npz, or 'random' for an untrained model")
    if weights == "random":
        size = card.name if card.name in checkpoint.SIZES else SMALLEST
        arrays = checkpoint.random_arrays(checkpoint.SIZES[size], seed)
        return arrays, Provenance(kind="random", seed=seed, facts={} if size == card.name else {"size": size})
    arrays = checkpoint.read(weights)
    sha256 = file_sha256(Path(weights))
    return arrays, Provenance(kind="file", path=Path(weights).name, sha256=sha256)


def sized(card: EncoderCard, found: RVMConfig, weights: str | Path | None) -> EncoderCard:
    """The card of a loaded model: its own where it names a size, else filled from what was found.

    Raises:
        UserError: the frame encoder is not the named one; the core's and decoder's sizes are whatever the file says.
    """
    named = checkpoint.SIZES.get(card.name)
    if named is None:
        millions = round(checkpoint.parameter_count(found) / 1e6, 1)
        return dataclasses.replace(card, patch=found.patch, width=found.width, params_m=millions)
    wrong = [
        f"{field} {getattr(found, field)} (expected {getattr(named, field)})"
        for field in ("patch", "width", "layers", "heads")
        if getattr(found, field) != getattr(named, field)
    ]
    if wrong:
        raise UserError(f"{weights}: not a checkpoint of {card.name}: {', '.join(wrong)}; `--model rvm` takes any size")
    return card
