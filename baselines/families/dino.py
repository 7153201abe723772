"""DINO (S, B at patch 16): an image ViT as plain as they come.

Source: github.com/facebookresearch/dino (`vision_transformer.py`; positions resized by factors with 0.1 added).
"""

import functools

from baselines.vit.config import BASE, IMAGENET, SMALL, Family, Layout, ViTConfig, same_tap
from rvm_bench.api.card import Model, WeightsFile

FAMILY = Family(
    name="dino",
    style=functools.partial(ViTConfig, patch=16, grid=(1, 14, 14), cls=True, resize="bicubic+0.1"),
    facts={
        **IMAGENET,
        "taps": same_tap("patch tokens after the final norm, frame by frame"),
        "licence": "Apache-2.0",
        "source": "arXiv 2104.14294; github.com/facebookresearch/dino",
    },
    sizes={"dino-s": SMALL, "dino-b": BASE},
    layouts=[
        # A backbone alone, or the teacher of a training checkpoint.
        Layout(
            naming="official",
            wrappers=["teacher", ""],
            prefixes=["", "backbone.", "module.backbone."],
            ignored=["head.*", "module.head.*"],
        ),
        Layout(naming="hub-vit", prefixes=["", "vit."], ignored=["*pooler.dense.*", "classifier.*"]),
    ],
)


def _released(name: str, folder: str, params_m: float, size_bytes: int) -> Model:
    url = f"https://dl.fbaipublicfiles.com/dino/{folder}/{folder}.pth"
    weights = WeightsFile(url=url, filename=f"{folder}.pth", size_bytes=size_bytes, licence="Apache-2.0")
    return FAMILY.model(name, params_m=params_m, weights=weights)


S = _released("dino-s", "dino_deitsmall16_pretrain", 21.7, 4 * 21_665_664)
B = _released("dino-b", "dino_vitbase16_pretrain", 85.8, 4 * 85_798_656)
ANY = FAMILY.model("dino")
