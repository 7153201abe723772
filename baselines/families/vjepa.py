"""V-JEPA 1 (L, H): a clip ViT with stored positions, which are resized in time and space together.

A checkpoint holds the encoder, the predictor, the optimiser and the target encoder; the target encoder is read.
Source: github.com/facebookresearch/jepa, whose forward pass equals that of the authors' evaluation notebook.
"""

import functools

from baselines.vit.config import HUGE, LARGE, Family, Layout, ViTConfig

FAMILY = Family(
    name="vjepa",
    style=functools.partial(ViTConfig, patch=16, tubelet=2, grid=(8, 14, 14), resize="trilinear"),
    sizes={"vjepa-l": LARGE, "vjepa-h": HUGE},
    layouts=[
        Layout(
            naming="official",
            wrappers=["target_encoder", ""],
            prefixes=["module.backbone.", "backbone.", "module.", ""],
        )
    ],
    tap="tokens of the target encoder after the final norm, clips of 16 frames",
    source="arXiv 2404.08471; github.com/facebookresearch/jepa",
    licence="CC-BY-NC-4.0",
    frames=16,
)

URL = "https://dl.fbaipublicfiles.com/jepa"
# Sizes in bytes to three digits, from a mirror of the official files.
L = FAMILY.released("vjepa-l", f"{URL}/vitl16/vitl16.pth.tar", 307, 5_130_000_000, published="V-JEPA-L")
H = FAMILY.released("vjepa-h", f"{URL}/vith16/vith16.pth.tar", 635, 10_350_000_000, published="V-JEPA-H")
ANY = FAMILY.model("vjepa")
