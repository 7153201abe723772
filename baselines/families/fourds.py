"""4DS (S to e): a clip ViT with learned positions, tanh GELU and no final norm, read before its last block.

The released code lists the streams that enter each block: [tokens, input of block 0 (the same), ..., input of the last
block]. Label propagation reads the last of that list, so the last block is never used; readouts read the entry at 0.95
of it. Source: github.com/google-deepmind/representations4d (model, depth demo, evaluation notebook).
"""

import functools

from baselines.vit.config import BASE, HUGE, LARGE, SMALL, Family, Layout, ViTConfig, size
from rvm_bench.api.card import Model, WeightsFile

READOUT_DEPTH = 0.95
LICENCE = "CC-BY-4.0 (code Apache-2.0)"
CHECKPOINTS = "https://storage.googleapis.com/representations4d/checkpoints"


def _blocks(layers: int) -> dict[str, int]:
    """After how many blocks each task family reads: entry i of the list of L + 1 streams is after max(i - 1, 0)."""
    return {"propagation": layers - 1, "readout": max(int((layers + 1) * READOUT_DEPTH) - 2, 0)}


FAMILY = Family(
    name="4ds",
    style=functools.partial(
        ViTConfig, patch=16, tubelet=2, grid=(8, 14, 14), resize="antialiased", gelu="tanh", final_norm=False
    ),
    facts={
        "taps": {
            "propagation": "input of the last block, no norm, clips of 16 frames",
            "readout": "stream int(0.95 * (L + 1)) - 1 of [tokens, input of block 0, ..., input of block L - 1]",
        },
        "licence": LICENCE,
        "source": "arXiv 2412.15212; github.com/google-deepmind/representations4d",
    },
    sizes={
        "4ds-s": SMALL,
        "4ds-b": BASE,
        "4ds-b-dist": BASE,
        "4ds-l": LARGE,
        "4ds-h": HUGE,
        "4ds-e": size(1792, 56, 16, 15360),
    },
    # The depth checkpoint holds a readout beside the backbone.
    layouts=[Layout(naming="flax", prefixes=None, ignored=["params/layers_2/*", "layers_2/*"])],
    frames=16,
    time_rule="cubic",
    blocks=_blocks,
)


def _released(name: str, filename: str, params_m: float, size_bytes: int, published: str = "", note: str = "") -> Model:
    url = f"{CHECKPOINTS}/{filename}"
    weights = WeightsFile(url=url, filename=filename, size_bytes=size_bytes, licence=LICENCE)
    return FAMILY.model(name, params_m=params_m, weights=weights, published=published, note=note)


def _unreleased(name: str, params_m: float) -> Model:
    note = "not released: the paper's row cannot be run again without a checkpoint of your own"
    return FAMILY.model(name, params_m=params_m, published=name.upper(), licence="that of the file", note=note)


S = _unreleased("4ds-s", 24)
B = _unreleased("4ds-b", 91)
L = _unreleased("4ds-l", 310)
H = _unreleased("4ds-h", 639)
B_DIST = _released(
    "4ds-b-dist",
    "scaling4d_dist_b.npz",
    91,
    4 * 87_439_104,
    "4DS-B (dist from e)",
    "the paper prints 91 M, the arrays are 87.4 M; the paper's DAVIS number comes from the backbone in "
    "scaling4d_dist_b_depth.npz, which --weights takes too",
)
E = _released("4ds-e", "scaling4d_e.npz", 3809.5, 4 * 3_809_464_064, note="15 GB; no row of its own in the paper")
ANY = FAMILY.model("4ds")
