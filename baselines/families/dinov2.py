"""DINOv2 (S, B, L, g): an image ViT of patch 14 with layer scale, and SwiGLU in g. Registers are not supported.

Source: github.com/facebookresearch/dinov2 (checkpoints) and the authors' evaluation notebook, which runs the Hugging
Face model. The two resize the position table differently: away from 518 px, features differ by up to 6e-2.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from baselines.vit.config import BASE, IMAGE_TAP, LARGE, SMALL, Family, Layout, ViTConfig, size
from rvm_bench.api.card import EncoderCard, Model
from rvm_bench.errors import unknown_name

if TYPE_CHECKING:
    from rvm_bench.api.encoder import Encoder

FAMILY = Family(
    name="dinov2",
    style=functools.partial(ViTConfig, patch=14, grid=(1, 37, 37), cls=True, layer_scale=True, resize="bicubic"),
    sizes={
        "dinov2-s": SMALL,
        "dinov2-b": BASE,
        "dinov2-l": LARGE,
        "dinov2-g": size(1536, 40, 24, 4096, gated=True),
    },
    layouts=[
        Layout(naming="official", ignored=["mask_token"]),
        Layout(naming="hub-dinov2", prefixes=["", "dinov2."], ignored=["*embeddings.mask_token", "classifier.*"]),
    ],
    tap=IMAGE_TAP,
    source="arXiv 2304.07193; github.com/facebookresearch/dinov2",
    licence="Apache-2.0",
)

POSITIONS = {"hub": "bicubic", "release": "bicubic+0.1"}
"""How the position table is resized: as transformers does (the authors' choice), or as the released code does."""


def build(
    card: EncoderCard,
    weights: str,
    device: str = "cpu",
    dtype: str = "float32",
    seed: int = 0,
    heads: int | None = None,
    ignore: str | Sequence[str] = (),
    positions: str = "hub",
) -> "Encoder":
    """A DINOv2 encoder; `positions` is a key of `POSITIONS`, the other arguments are those of `load`."""
    if positions not in POSITIONS:
        raise unknown_name("positions", positions, POSITIONS)
    from baselines.vit.encoder import load

    rule = POSITIONS[positions]
    encoder = load(
        FAMILY, card, weights, device=device, dtype=dtype, seed=seed, heads=heads, ignore=ignore, resize=rule
    )
    encoder.options["positions"] = positions
    return encoder


BUILDER = "baselines.families.dinov2:build"


def _released(letter: str, params_m: float, size_bytes: int, published: str = "") -> Model:
    url = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{letter}14/dinov2_vit{letter}14_pretrain.pth"
    return FAMILY.released(f"dinov2-{letter}", url, params_m, size_bytes, published=published, builder=BUILDER)


S = _released("s", 22.1, 4 * 22_056_576)
B = _released("b", 86.6, 4 * 86_580_480)
L = _released("l", 303, 4 * 304_368_640, published="DINOv2-L (distilled)")
G = _released("g", 1135, 4 * 1_136_480_768, published="DINOv2-g")
ANY = FAMILY.model("dinov2", builder=BUILDER)
