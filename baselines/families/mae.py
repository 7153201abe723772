"""Image ViTs in MAE's naming: CropMAE, and SiamMAE from a checkpoint of the user's own.

SiamMAE's authors released neither code nor weights, so its rows of the paper cannot be reproduced; a checkpoint in
MAE's naming (as CropMAE's re-implementation writes it) loads under its names. Source:
github.com/alexandre-eymael/CropMAE and the authors' evaluation notebook, which loads the Kinetics-400 checkpoint.
"""

import functools

from baselines.vit.config import BASE, IMAGE_TAP, SMALL, Family, Layout, ViTConfig, google_drive
from rvm_bench.api.card import Model, WeightsFile

FAMILY = Family(
    name="mae",
    style=functools.partial(ViTConfig, patch=16, grid=(1, 14, 14), cls=True, resize="bicubic+0.1"),
    sizes={"cropmae-s": SMALL, "siammae-s": SMALL, "siammae-b": BASE},
    layouts=[
        Layout(naming="official", wrappers=["model", ""], ignored=["mask_token", "decoder_*"]),
        Layout(naming="hub-vit", prefixes=["vit.", ""], ignored=["decoder.*"]),
    ],
    tap=IMAGE_TAP,
    source="arXiv 2111.06377",
)

CROPMAE_LICENCE = "MIT (LICENSE file; the README's badge says Apache-2.0)"
CROPMAE_S = FAMILY.model(
    "cropmae-s",
    params_m=21.6,
    licence=CROPMAE_LICENCE,
    source="arXiv 2403.17823; github.com/alexandre-eymael/CropMAE",
    weights=WeightsFile(
        filename="cropmae_vits16_k400.pth",
        licence=CROPMAE_LICENCE,
        by_hand=google_drive("1oMXiX_uyGzyQB7S-MYkdJvKFmIuPXkYb"),
    ),
    note="the Kinetics-400 checkpoint, as the authors load (on ImageNet: Drive id 1Hwxpck0MGBJkPNpXRxMOyydtehhhtZbj)",
)


def _siammae(name: str, params_m: float, published: str, note: str = "") -> Model:
    return FAMILY.model(
        name,
        params_m=params_m,
        published=published,
        licence="that of the file",
        source="arXiv 2305.14344 (no official code or weights)",
        note=f"not released by its authors: needs a file of your own in MAE's naming{note}",
    )


SIAMMAE_S = _siammae("siammae-s", 27, "SiamMAE-S", note="; the paper prints 27 M, the arrays are 21.7 M")
SIAMMAE_B = _siammae("siammae-b", 85, "SiamMAE-B")
ANY = FAMILY.model("mae")
