"""VideoMAEv2 (B, L, g): VideoMAE's architecture, with patch 14 in g. Its files name the final norm in two ways.

Files on Hugging Face end in `fc_norm`, meant for pooled features; the authors apply it to every token. Pre-training
checkpoints end in `encoder.norm`. Loading notes it if a file's `fc_norm` is the identity. Source:
github.com/OpenGVLab/VideoMAEv2 and the authors' evaluation notebook.
"""

from baselines.families import videomae
from baselines.vit.config import BASE, LARGE, Family, Layout, size
from rvm_bench.api.card import Model

WRAPPERS = ["model", "module", ""]

FAMILY = Family(
    name="videomaev2",
    style=videomae.FAMILY.style,
    sizes={
        "videomaev2-b": BASE,
        "videomaev2-l": LARGE,
        "videomaev2-g": size(1408, 40, 16, 6144, patch=14, grid=(8, 16, 16)),
    },
    layouts=[
        Layout(
            naming="official",
            wrappers=WRAPPERS,
            prefixes=["model.", ""],
            norm="fc_norm",
            ignored=["head.*", "model.head.*"],
        ),
        Layout(
            naming="official",
            wrappers=WRAPPERS,
            prefixes=["encoder."],
            ignored=videomae.DECODER,
        ),
        Layout(
            naming="official",
            wrappers=["state_dict"],
            prefixes=["backbone."],
            norm="fc_norm",
            ignored=["cls_head.*"],
        ),
    ],
    tap="every token after the final norm, clips of 16 frames",
    source="arXiv 2303.16727; github.com/OpenGVLab/VideoMAEv2",
    licence="CC-BY-NC-4.0",
    frames=16,
)


def _released(
    name: str, repository: str, params_m: float, size_bytes: int, *, published: str = "", note: str = ""
) -> Model:
    """Every file on Hugging Face is called model.safetensors, so in the cache it has the repository's name."""
    url = f"https://huggingface.co/OpenGVLab/{repository}/resolve/main/model.safetensors"
    filename = f"{repository}.safetensors"
    return FAMILY.released(name, url, params_m, size_bytes, filename=filename, published=published, note=note)


B = _released("videomaev2-b", "VideoMAEv2-Base", 86.2, 4 * 86_227_200)
L = _released(
    "videomaev2-l",
    "VideoMAEv2-Large",
    303.9,
    4 * 303_860_736,
    note="what the public evaluation notebook and Table 9 use, while Table 1's only row is g",
)
G = _released(
    "videomaev2-g",
    "VideoMAEv2-giant",
    1013,
    4_100_000_000,
    published="VideoMAEv2-g",
    note="it is not known whether Table 1's nearest-neighbour columns are of g or of L; the hub's file is 64 MB larger "
    "than the encoder's arrays, and what is in them was not seen",
)
ANY = FAMILY.model("videomaev2")
