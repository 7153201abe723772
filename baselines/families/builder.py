"""The builder of every family without options of its own. It finds the family by the card's."""

import importlib
from collections.abc import Sequence

from baselines.vit.config import Family
from baselines.vit.encoder import load
from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import Encoder

MODULES = {"4ds": "fourds"}
"""Modules of the families whose name is no Python identifier."""


def family_of(card: EncoderCard) -> Family:
    """The family of a card, from the module of that name."""
    return importlib.import_module(f"baselines.families.{MODULES.get(card.family, card.family)}").FAMILY


def build(
    card: EncoderCard,
    weights: str,
    device: str = "cpu",
    dtype: str = "float32",
    seed: int = 0,
    heads: int | None = None,
    ignore: str | Sequence[str] = (),
) -> Encoder:
    """A frozen encoder of the card's family; arguments and errors are those of `baselines.vit.encoder.load`."""
    return load(family_of(card), card, weights, device=device, dtype=dtype, seed=seed, heads=heads, ignore=ignore)
