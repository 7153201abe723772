"""What tells one family of Vision Transformers from another, as data. Imports nothing heavy: listing is fast."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from rvm_bench.api.card import EncoderCard, Model

IMAGENET = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)}

HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16, 1536: 24}
"""Attention heads of the field's usual widths: ViT-S, B, L, H, VideoMAEv2-g, DINOv2-g. Others have width / 64."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Every size and every choice of a Vision Transformer; `vit.ViT` is built from it.

    Attributes:
        width, layers, heads: of the transformer.
        hidden: width inside an MLP (of each half of the gate, where it is gated).
        patch: side of a patch in pixels.
        tubelet: frames that one token covers.
        grid: tubes, rows and columns for which the table of positions was made.
        positions: "stored" in the checkpoint, or "sinusoid": fixed, one-dimensional over the flattened grid.
        resize: how the table is brought to another grid, one of `rvm_bench.nn.positions.RULES`.
        cls: whether a CLS token stands first. It has a row of its own in the table of positions.
        bias: "qkv", or "qv": queries and values have a bias and keys have none.
        gelu: "erf" or "tanh".
        gated: SwiGLU in place of an MLP.
        layer_scale: whether a learned factor per channel scales what a block adds.
        final_norm: whether a LayerNorm follows the last block.
        norm_eps: of every LayerNorm.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    patch: int = 16
    tubelet: int = 1
    grid: tuple[int, int, int] = (1, 14, 14)
    positions: Literal["stored", "sinusoid"] = "stored"
    resize: str
    cls: bool = False
    bias: Literal["qkv", "qv"] = "qkv"
    gelu: Literal["erf", "tanh"] = "erf"
    gated: bool = False
    layer_scale: bool = False
    final_norm: bool = True
    norm_eps: float = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which checkpoints of a family are written.

    Attributes:
        naming: which names the tensors have, a key of `naming.NAMINGS`.
        wrappers: keys of the file under which the tensors may lie, in order of preference; "" is the file itself.
        prefixes: what may stand before every name; None takes any prefix.
        norm: name of the final norm.
        ignored: tensors of the file that the encoder does not use, as glob patterns over whole names.
    """

    naming: str
    wrappers: Sequence[str] = ("",)
    prefixes: Sequence[str] | None = ("",)
    norm: str = "norm"
    ignored: Sequence[str] = ()


def same_tap(layer: str) -> dict[str, str]:
    """`EncoderCard.taps` of a model whose layer is the same for every task family."""
    return {"propagation": layer, "readout": layer}


def google_drive(file_id: str) -> str:
    """How a person gets a file that Google hands out only through a page: `WeightsFile.by_hand`."""
    return f"download https://drive.google.com/uc?id={file_id} in a browser (Google Drive has no plain URL)"


def _last(layers: int) -> dict[str, int]:
    return {"propagation": layers, "readout": layers}


BUILDER = "baselines.families.builder:build"
"""Of every family without options of its own; it finds the family by that of the card."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """Models that share an architecture and checkpoint formats.

    Attributes:
        name: as in `EncoderCard.family`.
        style: makes a `ViTConfig` from sizes; all that the members have in common is set in it.
        facts: what the members' cards have in common: pixel normalisation, taps, licence, source.
        sizes: the sizes of the named members: width, layers, heads, hidden, and what else differs.
        layouts: the checkpoint formats that can be read.
        frames: frames of one forward pass; 1 for an image model.
        time_rule: how tubes become frames again, see `ClipEncoder`.
        blocks: after how many blocks of L each task family reads.
    """

    name: str
    style: Callable[..., ViTConfig]
    facts: Mapping[str, Any]
    sizes: Mapping[str, Mapping[str, Any]]
    layouts: Sequence[Layout]
    frames: int = 1
    time_rule: Literal["linear", "cubic"] = "linear"
    blocks: Callable[[int], dict[str, int]] = _last

    def config(self, name: str) -> ViTConfig | None:
        """The config of a named member; None for a name that only stands for the family."""
        return self.style(**self.sizes[name]) if name in self.sizes else None

    def model(self, name: str, builder: str = BUILDER, **facts: Any) -> Model:
        """A named member and what its card says beyond the family's facts; or the bare family, which takes any file."""
        config = self.config(name)
        any_file = config is None
        if config is None:
            config = self.config(self.smallest())
            facts = {
                "licence": "that of the file",
                "note": "any checkpoint of the family; sizes are read from it",
            } | facts
        assert config is not None
        card = EncoderCard(
            name=name,
            family=self.name,
            patch=config.patch,
            width=0 if any_file else config.width,
            frames=self.frames,
            causal=self.frames == 1,
            **(dict(self.facts) | facts),
        )
        return Model(card=card, builder=builder, any_file=any_file)

    def smallest(self) -> str:
        """The member that random weights of the bare family name have."""
        return next(iter(self.sizes))


def size(width: int, layers: int, heads: int, hidden: int, **choices: Any) -> dict[str, Any]:
    return {"width": width, "layers": layers, "heads": heads, "hidden": hidden, **choices}


SMALL = size(384, 12, 6, 1536)
BASE = size(768, 12, 12, 3072)
LARGE = size(1024, 24, 16, 4096)
HUGE = size(1280, 32, 16, 5120)
