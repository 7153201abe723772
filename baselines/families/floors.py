"""The floors: raw pixels, and an untrained network. What a model has learned is what it scores above them.

Cards must not import torch, so that listing models is fast: the encoder of `pixels` is in `pixels.py`.
"""

from typing import TYPE_CHECKING

from baselines.families.mae import FAMILY
from baselines.vit.config import IMAGENET
from rvm_bench.api.card import EncoderCard, Model

if TYPE_CHECKING:
    from rvm_bench.api.encoder import Encoder

PIXELS = Model(
    card=EncoderCard(
        name="pixels",
        family="pixels",
        patch=16,
        width=768,
        taps={"propagation": "raw pixels", "readout": "raw pixels"},
        licence="Apache-2.0",
        source="rvm-bench",
        note="each 16x16 patch flattened: the floor that every learned feature must beat",
    ),
    builder="baselines.families.pixels:build",
    takes_weights=False,
)
RANDOM_VIT_S = Model(
    card=EncoderCard(
        name="random-vit-s",
        family="mae",
        params_m=21.7,
        patch=16,
        width=384,
        pixel_mean=IMAGENET["pixel_mean"],
        pixel_std=IMAGENET["pixel_std"],
        taps=FAMILY.taps(),
        licence="Apache-2.0",
        source="rvm-bench",
        note="random initialisation, seed 0 (--option seed=N for another): the floor of what training gives",
    ),
    builder="baselines.families.floors:build_random",
    takes_weights=False,
)


def build_random(card: EncoderCard, device: str = "cpu", dtype: str = "float32", seed: int = 0) -> "Encoder":
    """MAE's ViT-S/16 with the random weights of a seed."""
    from baselines.vit.encoder import load

    return load(FAMILY, card, "random", device=device, dtype=dtype, seed=seed)
