"""V-JEPA 1 (L, H): a clip ViT whose positions are stored, and resized in time and space at once.

A checkpoint holds the encoder, the predictor, the optimiser and the target encoder; the target encoder is the model.
Source: github.com/facebookresearch/jepa, whose forward pass equals the authors' evaluation notebook's.
"""

import functools

from baselines.vit.config import HUGE, IMAGENET, LARGE, Family, Layout, ViTConfig, same_tap
from rvm_bench.api.card import Model, WeightsFile

LICENCE = "CC-BY-NC-4.0"

FAMILY = Family(
    name="vjepa",
    style=functools.partial(ViTConfig, patch=16, tubelet=2, grid=(8, 14, 14), resize="trilinear"),
    facts={
        **IMAGENET,
        "taps": same_tap("tokens of the target encoder after the final norm, clips of 16 frames"),
        "licence": LICENCE,
        "source": "arXiv 2404.08471; github.com/facebookresearch/jepa",
    },
    sizes={"vjepa-l": LARGE, "vjepa-h": HUGE},
    layouts=[
        Layout(
            naming="official",
            wrappers=["target_encoder", ""],
            prefixes=["module.backbone.", "backbone.", "module.", ""],
        )
    ],
    frames=16,
)


def _released(name: str, folder: str, params_m: float, size_bytes: int, published: str) -> Model:
    filename = f"{folder}.pth.tar"
    url = f"https://dl.fbaipublicfiles.com/jepa/{folder}/{filename}"
    weights = WeightsFile(url=url, filename=filename, size_bytes=size_bytes, licence=LICENCE)
    return FAMILY.model(name, params_m=params_m, published=published, weights=weights)


# Sizes to three digits, those of a mirror of the official files.
L = _released("vjepa-l", "vitl16", 307, 5_130_000_000, "V-JEPA-L")
H = _released("vjepa-h", "vith16", 635, 10_350_000_000, "V-JEPA-H")
ANY = FAMILY.model("vjepa")
