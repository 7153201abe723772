"""4DS (S to e): a clip ViT with learned positions, tanh GELU and no final norm, read before its last block.

The released code collects the input of every block: [tokens, input of block 0 (the same), ..., input of the last
block]. Label propagation reads the last entry, so the last block is never used; readouts read the entry at 0.95 of the
list. Source: github.com/google-deepmind/representations4d (model, depth demo, evaluation notebook).
"""

import functools

from baselines.vit.config import BASE, HUGE, LARGE, SMALL, Family, Layout, ViTConfig, size
from rvm_bench.api.card import Model

READOUT_DEPTH = 0.95
CHECKPOINTS = "https://storage.googleapis.com/representations4d/checkpoints"


def _blocks(layers: int) -> dict[str, int]:
    """Blocks before each task family's tap: entry i of the list of L + 1 inputs comes after max(i - 1, 0) blocks."""
    return {"propagation": layers - 1, "readout": max(int((layers + 1) * READOUT_DEPTH) - 2, 0)}


FAMILY = Family(
    name="4ds",
    style=functools.partial(
        ViTConfig, patch=16, tubelet=2, grid=(8, 14, 14), resize="antialiased", gelu="tanh", final_norm=False
    ),
    sizes={
        "4ds-s": SMALL,
        "4ds-b": BASE,
        "4ds-b-dist": BASE,
        "4ds-l": LARGE,
        "4ds-h": HUGE,
        "4ds-e": size(1792, 56, 16, 15360),
    },
    # layers_2 of the depth checkpoint is its readout head.
    layouts=[Layout(naming="flax", prefixes=None, ignored=["params/layers_2/*", "layers_2/*"])],
    tap={
        "propagation": "input of the last block, no norm, clips of 16 frames",
        "readout": "stream int(0.95 * (L + 1)) - 1 of [tokens, input of block 0, ..., input of block L - 1]",
    },
    source="arXiv 2412.15212; github.com/google-deepmind/representations4d",
    licence="CC-BY-4.0 (code Apache-2.0)",
    normalisation={},
    frames=16,
    time_rule="cubic",
    blocks=_blocks,
)


def _unreleased(name: str, params_m: float) -> Model:
    note = "not released: the paper's row cannot be run again without a checkpoint of your own"
    return FAMILY.model(name, params_m=params_m, published=name.upper(), licence="that of the file", note=note)


S = _unreleased("4ds-s", 24)
B = _unreleased("4ds-b", 91)
L = _unreleased("4ds-l", 310)
H = _unreleased("4ds-h", 639)
B_DIST = FAMILY.released(
    "4ds-b-dist",
    f"{CHECKPOINTS}/scaling4d_dist_b.npz",
    91,
    4 * 87_439_104,
    published="4DS-B (dist from e)",
    note="the paper prints 91 M, the arrays are 87.4 M; the paper's DAVIS number comes from the backbone in "
    "scaling4d_dist_b_depth.npz, which --weights takes too",
)
E = FAMILY.released(
    "4ds-e",
    f"{CHECKPOINTS}/scaling4d_e.npz",
    3809.5,
    4 * 3_809_464_064,
    note="15 GB; no row of its own in the paper",
)
ANY = FAMILY.model("4ds")
