"""DINO (S, B at patch 16): a plain image ViT, read after the final norm.

Source: github.com/facebookresearch/dino (`vision_transformer.py`, which resizes positions by factors with 0.1 added).
"""

import functools

from baselines.vit.config import BASE, IMAGE_TAP, SMALL, Family, Layout, ViTConfig

FAMILY = Family(
    name="dino",
    style=functools.partial(ViTConfig, patch=16, grid=(1, 14, 14), cls=True, resize="bicubic+0.1"),
    sizes={"dino-s": SMALL, "dino-b": BASE},
    layouts=[
        # The backbone alone, or the teacher of a training checkpoint.
        Layout(
            naming="official",
            wrappers=["teacher", ""],
            prefixes=["", "backbone.", "module.backbone."],
            ignored=["head.*", "module.head.*"],
        ),
        Layout(naming="hub-vit", prefixes=["", "vit."], ignored=["*pooler.dense.*", "classifier.*"]),
    ],
    tap=IMAGE_TAP,
    source="arXiv 2104.14294; github.com/facebookresearch/dino",
    licence="Apache-2.0",
)

URL = "https://dl.fbaipublicfiles.com/dino"
S = FAMILY.released("dino-s", f"{URL}/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth", 21.7, 4 * 21_665_664)
B = FAMILY.released("dino-b", f"{URL}/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth", 85.8, 4 * 85_798_656)
ANY = FAMILY.model("dino")
