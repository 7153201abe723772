"""The RVM cards: four released sizes, any file, and two small ones of our own. Imports neither numpy, torch nor jax."""

from typing import TYPE_CHECKING, Any

from rvm_bench.api.card import EncoderCard, Model, WeightsFile
from rvm_bench.errors import optional_packages, unknown_name

if TYPE_CHECKING:
    from rvm_bench.api.encoder import RecurrentEncoder

BUILDER = "rvm_bench.rvm.models:build"
BACKENDS = ("torch", "jax")
SOURCE = "arXiv 2512.13684; github.com/google-deepmind/representations4d"
LICENCE = "CC-BY-4.0 (code Apache-2.0)"  # the repository's README: software, and "all other materials"
OURS = "Apache-2.0"
CHECKPOINTS = "https://storage.googleapis.com/representations4d/checkpoints"
# Both task families read the recurrent core's output; the paper taps no earlier layer.
TAPS = {
    "propagation": "output of the recurrent core, CLS dropped, state carried over the whole video",
    "readout": "output of the recurrent core, CLS dropped, state carried over the clip",
}


def _released(name: str, width: int, params_m: float, filename: str, size_bytes: int, note: str = "") -> Model:
    """A released size. `params_m` is the paper's, `size_bytes` that of the file's float32 arrays without headers."""
    return Model(
        card=EncoderCard(
            name=name,
            family="rvm",
            params_m=params_m,
            patch=16,
            width=width,
            taps=TAPS,
            licence=LICENCE,
            source=SOURCE,
            weights=WeightsFile(
                url=f"{CHECKPOINTS}/{filename}", filename=filename, size_bytes=size_bytes, licence=LICENCE
            ),
            published=name.upper(),
            note=note,
        ),
        builder=BUILDER,
    )


RVM_S = _released("rvm-s", 384, 34, "pretrain_rvm_small16_256_204031069.npz", 4 * 67_480_448)
RVM_B = _released(
    "rvm-b",
    768,
    117,
    "pretrain_rvm_base16_256_203916225.npz",
    4 * 160_270_848,
    note="the paper prints 117 M; the file's arrays give 126.6 M by the rule that gives its 34, 375 and 743 M",
)
RVM_L = _released("rvm-l", 1024, 375, "pretrain_rvm_large16_256_202497301.npz", 4 * 409_069_824)
RVM_H = _released("rvm-h", 1280, 743, "pretrain_rvm_huge16_256_203854202.npz", 4 * 776_895_488)

RVM = Model(
    card=EncoderCard(
        name="rvm",
        family="rvm",
        patch=16,
        width=0,
        taps=TAPS,
        licence="that of the file",
        source=SOURCE,
        note="any RVM checkpoint in the official naming: every size is read from the file",
    ),
    builder=BUILDER,
    any_file=True,
)
RVM_TINY = Model(
    card=EncoderCard(
        name="rvm-tiny",
        family="rvm",
        params_m=3.4,
        patch=16,
        width=192,
        taps=TAPS,
        licence=OURS,
        source="this project",
        note="untrained: exists only with random weights, for demonstrations and tests",
    ),
    builder=BUILDER,
)
RVM_DEMO = Model(
    card=EncoderCard(
        name="rvm-demo",
        family="rvm",
        params_m=1.4,
        patch=16,
        width=128,
        taps=TAPS,
        licence=OURS,
        source="this project, recipe rvm_demo",
        weights=WeightsFile(
            filename="rvm/rvm_demo.npz",
            packaged=True,
            size_bytes=7_568_268,
            size_exact=True,
            sha256="93217b9ad8c1069232740c186e4e6bddf55c2706f7dcbc69c1deaaede83b3163",
            licence=OURS,
        ),
        note="trained on procedural clips alone by two CPU cores; docs/training.md says how, and how good it is",
    ),
    builder=BUILDER,
)


def build(
    card: EncoderCard,
    weights: Any = None,
    device: Any = "cpu",
    dtype: Any = "float32",
    seed: int = 0,
    backend: str = "torch",
) -> "RecurrentEncoder":
    """A loaded RVM; the builder that the cards above name.

    Args:
        card: a named size, or the generic `rvm`, whose card is filled from the file.
        weights: path of an official `.npz`, or "random" for untrained weights of the card's size (of the smallest
            released one, where the card has none).
        device: torch's name of it.
        dtype: "float32" (the reference) or "bfloat16".
        seed: of random weights.
        backend: "torch", or "jax", which needs the extra of that name; both compute the same from the same file.

    Raises:
        UserError: no weights, an unsound file, a file of another size than the card's, an unknown dtype or backend, or
            jax is not installed.
    """
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, BACKENDS)
    if backend == "torch":
        from rvm_bench.rvm.torch.encoder import build as build_torch

        return build_torch(card, weights, device, dtype, seed)
    with optional_packages("backend jax needs", "jax"):
        from rvm_bench.rvm.jax.encoder import build as build_jax
    return build_jax(card, weights, device, dtype, seed)
