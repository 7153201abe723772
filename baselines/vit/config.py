"""Sizes and options of the Vision Transformers, and what defines a family of them. Imports nothing heavy."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from rvm_bench.api.card import EncoderCard, Model, WeightsFile

IMAGENET = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)}
IMAGE_TAP = "patch tokens after the final norm, frame by frame"

HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16, 1536: 24}
"""Attention heads by width: ViT-S, B, L, H, VideoMAEv2-g, DINOv2-g. Other widths have width / 64."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Sizes and options of a Vision Transformer (`baselines.vit.model.ViT`).

    Attributes:
        width, layers, heads: of the transformer.
        hidden: hidden width of an MLP (of each half, if it is gated).
        patch: side of a patch in pixels.
        tubelet: frames per token.
        grid: tubelets, rows and columns that the position table was trained for.
        positions: "stored" in the checkpoint, or "sinusoid": fixed, one-dimensional over the flattened grid.
        resize: how the position table is resized to another grid, one of `rvm_bench.nn.positions.RULES`.
        cls: whether there is a CLS token. It comes first and has its own row in the position table.
        bias: "qkv", or "qv": no bias on the keys.
        gelu: "erf" or "tanh".
        gated: SwiGLU instead of an MLP.
        layer_scale: whether residual branches have a learned scale per channel.
        final_norm: whether a LayerNorm follows the last block.
        norm_eps: epsilon of every LayerNorm.
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
    """One layout of a family's checkpoints.

    Attributes:
        naming: names of the tensors, a key of `baselines.vit.naming.NAMINGS`.
        wrappers: keys of the file that may hold the state dict, in order of preference; "": the file itself.
        prefixes: prefixes that all names may have; None: any.
        norm: name of the final norm.
        ignored: tensors that are not part of the encoder, as glob patterns over whole names.
    """

    naming: str
    wrappers: Sequence[str] = ("",)
    prefixes: Sequence[str] | None = ("",)
    norm: str = "norm"
    ignored: Sequence[str] = ()


def google_drive(file_id: str) -> str:
    """`WeightsFile.by_hand` of a file on Google Drive, which has no direct URL."""
    return f"download https://drive.google.com/uc?id={file_id} in a browser (Google Drive has no plain URL)"


def _last_block(layers: int) -> dict[str, int]:
    return {"propagation": layers, "readout": layers}


BUILDER = "baselines.families.builder:build"
"""Builds any family without options of its own; it finds the family by `EncoderCard.family`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """Models that share an architecture and checkpoint layouts.

    Attributes:
        name: as in `EncoderCard.family`.
        style: makes a `ViTConfig` from sizes; it sets everything that the members have in common.
        sizes: keyword arguments of `style` by member; the first member is the smallest.
        layouts: checkpoint layouts that can be read.
        tap: which layer is read, in words; a mapping if the task families read different ones.
        source: publication and repository, on the cards.
        licence: of the released weights; "" if each member states its own.
        normalisation: `pixel_mean` and `pixel_std`; empty for pixels in [0, 1].
        frames: frames per forward pass; 1 for an image model.
        time_rule: interpolation from tubelets to frames, see `ClipEncoder`.
        blocks: number of blocks after which each task family reads, given the number of layers.
    """

    name: str
    style: Callable[..., ViTConfig]
    sizes: Mapping[str, Mapping[str, Any]]
    layouts: Sequence[Layout]
    tap: str | Mapping[str, str]
    source: str
    licence: str = ""
    normalisation: Mapping[str, tuple[float, float, float]] = dataclasses.field(default_factory=lambda: IMAGENET)
    frames: int = 1
    time_rule: Literal["linear", "cubic"] = "linear"
    blocks: Callable[[int], dict[str, int]] = _last_block

    def config(self, name: str) -> ViTConfig | None:
        """The config of a member; None for the name of the family itself."""
        return self.style(**self.sizes[name]) if name in self.sizes else None

    def smallest(self) -> str:
        """The member whose sizes an untrained model of the bare family has."""
        return next(iter(self.sizes))

    def released(
        self, name: str, url: str, params_m: float, size_bytes: int, *, filename: str = "", **card: Any
    ) -> Model:
        """A member whose checkpoint has a direct URL.

        Args:
            name: a key of `sizes`.
            url: of the checkpoint.
            params_m: `EncoderCard.params_m`.
            size_bytes: `WeightsFile.size_bytes`.
            filename: in the cache; the default is the last part of the URL.
            **card: further fields of the card.
        """
        weights = WeightsFile(
            url=url, filename=filename or url.rpartition("/")[2], size_bytes=size_bytes, licence=self.licence
        )
        return self.model(name, params_m=params_m, weights=weights, **card)

    def model(self, name: str, *, builder: str = BUILDER, **card: Any) -> Model:
        """A member of the family, or the family itself, which loads any checkpoint of its layouts.

        Args:
            name: a key of `sizes`, or `self.name`.
            builder: "module:function".
            **card: fields of the card beyond those that the family sets.
        """
        config = self.config(name)
        any_file = config is None
        if config is None:
            config = self.config(self.smallest())
            card = {
                "licence": "that of the file",
                "note": "any checkpoint of the family; sizes are read from it",
            } | card
        assert config is not None
        shared = {"licence": self.licence, "source": self.source, "taps": self.taps()}
        return Model(
            card=EncoderCard(
                name=name,
                family=self.name,
                patch=config.patch,
                width=0 if any_file else config.width,
                frames=self.frames,
                causal=self.frames == 1,
                **(shared | dict(self.normalisation) | card),
            ),
            builder=builder,
            any_file=any_file,
        )

    def taps(self) -> dict[str, str]:
        """`EncoderCard.taps`."""
        return dict.fromkeys(("propagation", "readout"), self.tap) if isinstance(self.tap, str) else dict(self.tap)


def size(width: int, layers: int, heads: int, hidden: int, **choices: Any) -> dict[str, Any]:
    """An entry of `Family.sizes`: arguments of its `style`."""
    return {"width": width, "layers": layers, "heads": heads, "hidden": hidden, **choices}


SMALL = size(384, 12, 6, 1536)
BASE = size(768, 12, 12, 3072)
LARGE = size(1024, 24, 16, 4096)
HUGE = size(1280, 32, 16, 5120)
