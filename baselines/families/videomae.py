"""VideoMAE (B, L, H, pre-trained on Kinetics-400): a clip ViT with fixed positions and no bias on its keys.

Source: github.com/MCG-NJU/VideoMAE (checkpoints) and the authors' evaluation notebook, which resizes the positions of
each time slot. The checkpoints also hold the decoder, which is ignored by name.
"""

import functools

from baselines.vit.config import BASE, HUGE, LARGE, Family, Layout, ViTConfig, google_drive
from rvm_bench.api.card import Model, WeightsFile

DECODER = ["mask_token", "encoder_to_decoder.weight", "decoder.*"]

FAMILY = Family(
    name="videomae",
    style=functools.partial(
        ViTConfig, patch=16, tubelet=2, grid=(8, 14, 14), positions="sinusoid", resize="bicubic", bias="qv"
    ),
    sizes={"videomae-b": BASE, "videomae-l": LARGE, "videomae-h": HUGE},
    layouts=[
        Layout(naming="official", wrappers=["model", "module", ""], prefixes=["encoder."], ignored=DECODER),
        Layout(naming="hub-vit", prefixes=["videomae.", ""], ignored=DECODER),
    ],
    tap="tokens after the final norm, clips of 16 frames",
    source="arXiv 2203.12602; github.com/MCG-NJU/VideoMAE",
    licence="CC-BY-NC-4.0",
    frames=16,
)


def _released(name: str, params_m: float, published: str, drive: str, hub: str = "", note: str = "") -> Model:
    """The official file is on Google Drive; `hub` names a copy on Hugging Face, which has a direct URL."""
    weights = WeightsFile(
        url=f"https://huggingface.co/MCG-NJU/{hub}/resolve/main/model.safetensors" if hub else "",
        filename=f"{hub}.safetensors" if hub else f"{name}_pretrain_1600e.pth",
        licence=FAMILY.licence,
        by_hand=google_drive(drive),
    )
    return FAMILY.model(name, params_m=params_m, published=published, weights=weights, note=note)


B = _released("videomae-b", 87, "VideoMAE-B", "1tEhLyskjb755TJ65ptsrafUG2llSwQE1", hub="videomae-base")
L = _released("videomae-l", 305, "VideoMAE-L", "1qLOXWb_MGEvaI7tvuAe94CV7S2HXRwT3", hub="videomae-large")
H = _released(
    "videomae-h", 633, "VideoMAE-H", "1AJQR1Rsi2N1pDn9tLyJ8DQrUREiBA1bO", note="no pre-trained file on the hub"
)
ANY = FAMILY.model("videomae")
