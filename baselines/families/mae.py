"""Image ViTs in the naming of MAE: CropMAE, and SiamMAE files of the user's own.

SiamMAE's authors released neither code nor weights, so its rows of the paper cannot be run again; a file in the same
naming (as CropMAE's re-implementation writes) loads under its names. Source: github.com/alexandre-eymael/CropMAE and
the authors' evaluation notebook, which loads the Kinetics-400 checkpoint.
"""

import functools

from baselines.vit.config import BASE, IMAGENET, SMALL, Family, Layout, ViTConfig, google_drive, same_tap
from rvm_bench.api.card import WeightsFile

FAMILY = Family(
    name="mae",
    style=functools.partial(ViTConfig, patch=16, grid=(1, 14, 14), cls=True, resize="bicubic+0.1"),
    facts={
        **IMAGENET,
        "taps": same_tap("patch tokens after the final norm, frame by frame"),
        "source": "arXiv 2111.06377",
    },
    sizes={"cropmae-s": SMALL, "siammae-s": SMALL, "siammae-b": BASE},
    layouts=[
        Layout(naming="official", wrappers=["model", ""], ignored=["mask_token", "decoder_*"]),
        Layout(naming="hub-vit", prefixes=["vit.", ""], ignored=["decoder.*"]),
    ],
)

CROPMAE_S = FAMILY.model(
    "cropmae-s",
    params_m=21.6,
    licence="MIT (LICENSE file; the README's badge says Apache-2.0)",
    source="arXiv 2403.17823; github.com/alexandre-eymael/CropMAE",
    weights=WeightsFile(
        filename="cropmae_vits16_k400.pth",
        licence="MIT (LICENSE file; the README's badge says Apache-2.0)",
        by_hand=google_drive("1oMXiX_uyGzyQB7S-MYkdJvKFmIuPXkYb"),
    ),
    note="the Kinetics-400 checkpoint, as the authors load (on ImageNet: Drive id 1Hwxpck0MGBJkPNpXRxMOyydtehhhtZbj)",
)
_SIAMMAE = {
    "licence": "that of the file",
    "source": "arXiv 2305.14344 (no official code or weights)",
    "note": "not released by its authors: needs a file of your own in MAE's naming",
}
SIAMMAE_S = FAMILY.model(
    "siammae-s",
    params_m=27,
    published="SiamMAE-S",
    **_SIAMMAE | {"note": f"{_SIAMMAE['note']}; the paper prints 27 M, the arrays are 21.7 M"},
)
SIAMMAE_B = FAMILY.model("siammae-b", params_m=85, published="SiamMAE-B", **_SIAMMAE)
ANY = FAMILY.model("mae")
