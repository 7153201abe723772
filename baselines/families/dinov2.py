"""DINOv2 (S, B, L, g): an image ViT of patch 14 with layer scale, and a gated MLP in g. Registers are not supported.

Source: github.com/facebookresearch/dinov2 (checkpoints) and the authors' evaluation notebook, which runs the model of
the hub. Release and hub resize the table of positions differently: features away from 518 px differ by up to 6e-2.
"""

import functools
from collections.abc import Sequence
from typing import Any

from baselines.vit.config import BASE, IMAGENET, LARGE, SMALL, Family, Layout, ViTConfig, same_tap, size
from rvm_bench.api.card import EncoderCard, Model, WeightsFile
from rvm_bench.errors import unknown_name

FAMILY = Family(
    name="dinov2",
    style=functools.partial(ViTConfig, patch=14, grid=(1, 37, 37), cls=True, layer_scale=True, resize="bicubic"),
    facts={
        **IMAGENET,
        "taps": same_tap("patch tokens after the final norm, frame by frame"),
        "licence": "Apache-2.0",
        "source": "arXiv 2304.07193; github.com/facebookresearch/dinov2",
    },
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
)

POSITIONS = {"hub": "bicubic", "release": "bicubic+0.1"}
"""How the table of positions is resized: as transformers does (the authors' choice), or as the release does."""


def build(
    card: EncoderCard,
    weights: str,
    device: str = "cpu",
    dtype: str = "float32",
    seed: int = 0,
    heads: int | None = None,
    ignore: str | Sequence[str] = (),
    positions: str = "hub",
) -> Any:
    """A DINOv2 encoder; `positions` is one of `POSITIONS`, the other arguments are those of `encoders.load`."""
    if positions not in POSITIONS:
        raise unknown_name("positions", positions, POSITIONS)
    from baselines.vit.encoder import load

    encoder = load(
        FAMILY,
        card,
        weights,
        device=device,
        dtype=dtype,
        seed=seed,
        heads=heads,
        ignore=ignore,
        resize=POSITIONS[positions],
    )
    encoder.options["positions"] = positions
    return encoder


def _released(name: str, params_m: float, size_bytes: int, **facts: str) -> Model:
    filename = f"dinov2_vit{name[-1]}14_pretrain.pth"
    url = f"https://dl.fbaipublicfiles.com/dinov2/{filename.removesuffix('_pretrain.pth')}/{filename}"
    weights = WeightsFile(url=url, filename=filename, size_bytes=size_bytes, licence="Apache-2.0")
    return FAMILY.model(name, BUILDER, params_m=params_m, weights=weights, **facts)


BUILDER = "baselines.families.dinov2:build"
S = _released("dinov2-s", 22.1, 4 * 22_056_576)
B = _released("dinov2-b", 86.6, 4 * 86_580_480)
L = _released("dinov2-l", 303, 4 * 304_368_640, published="DINOv2-L (distilled)")
G = _released("dinov2-g", 1135, 4 * 1_136_480_768, published="DINOv2-g")
ANY = FAMILY.model("dinov2", BUILDER)
