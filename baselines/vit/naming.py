"""Names and layouts of a ViT's tensors in official checkpoints: three torch namings and one flax tree.

A naming maps each parameter of `baselines.vit.model.ViT` to the tensors of the file that hold it, with their expected
shapes. Checkpoints of one model differ in names, in whether query, key and value are one tensor, and in axis order.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal

from baselines.vit.config import ViTConfig


@dataclasses.dataclass(frozen=True)
class Stored:
    """Where a checkpoint holds one of our parameters.

    Attributes:
        names: tensors of the file, concatenated along our first axis.
        shape: of each of them.
        form: "rows": as ours, up to a reshape; "kernel": a flax kernel, contracted axes first, to be transposed;
            "conv": a flax patch kernel [t, p, p, 3, D]; ours is [D, 3 * t * p * p].
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    form: Literal["rows", "kernel", "conv"] = "rows"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Naming:
    """One naming, and the tensors from which the sizes of a model are read.

    Attributes:
        block: prefix of a block's tensors; {} is the block's index.
        width, hidden, gated, heads: tensors of a block, without the prefix, whose first axis is the width, the MLP's
            hidden width, twice the hidden width of a gated MLP, the number of heads; "" if there is none.
        patch: the patch kernel. patch_sides, patch_channels: its axes of height and width, and of colour.
        positions: the position table.
        table: maps a config and the name of the final norm to all tensors of a checkpoint, by our names.
    """

    block: str
    width: str
    hidden: str
    gated: str = ""
    heads: str = ""
    patch: str
    patch_sides: tuple[int, int] = (-2, -1)
    patch_channels: int = 1
    positions: str
    table: Callable[[ViTConfig, str], dict[str, Stored]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TorchNames:
    """Names of modules and parameters in a torch checkpoint; those of a block follow its prefix.

    Attributes:
        cls, positions: parameters. patch: module.
        final_norm: module; "": the name that the layout gives.
        block: prefix of a block; {} is its index.
        norms: the two norms of a block.
        qkv: one module, or query, key and value apart.
        biases: of queries and values, where keys have none.
        proj: output projection of the attention.
        mlp, gated_mlp: first and second layer.
        scales: layer scales, parameters.
    """

    cls: str
    positions: str
    patch: str
    final_norm: str = ""
    block: str
    norms: tuple[str, str]
    qkv: tuple[str, ...]
    biases: tuple[str, str]
    proj: str
    mlp: tuple[str, str]
    gated_mlp: tuple[str, str] | None = None
    scales: tuple[str, str] = ("", "")

    def naming(self) -> Naming:
        return Naming(
            block=self.block,
            width=f"{self.norms[0]}.weight",
            hidden=f"{self.mlp[0]}.bias",
            gated=f"{self.gated_mlp[0]}.bias" if self.gated_mlp else "",
            patch=f"{self.patch}.weight",
            positions=self.positions,
            table=functools.partial(_torch, self),
        )


def _torch(names: TorchNames, c: ViTConfig, final_norm: str) -> dict[str, Stored]:
    """All tensors of a torch checkpoint, by our names."""
    table: dict[str, Stored] = {}

    def linear(ours: str, theirs: str, out: int, inner: int) -> None:
        table[f"{ours}.weight"] = Stored((f"{theirs}.weight",), (out, inner))
        table[f"{ours}.bias"] = Stored((f"{theirs}.bias",), (out,))

    def norm(ours: str, theirs: str) -> None:
        for part in ("weight", "bias"):
            table[f"{ours}.{part}"] = Stored((f"{theirs}.{part}",), (c.width,))

    kernel = (c.tubelet, c.patch, c.patch) if c.tubelet > 1 else (c.patch, c.patch)
    table["patch_embed.weight"] = Stored((f"{names.patch}.weight",), (c.width, 3, *kernel))
    table["patch_embed.bias"] = Stored((f"{names.patch}.bias",), (c.width,))
    if c.cls:
        table["cls_token"] = Stored((names.cls,), (1, 1, c.width))
    if c.positions == "stored":
        table["pos_embed"] = Stored((names.positions,), (1, c.cls + math.prod(c.grid), c.width))
    if c.final_norm:
        norm("norm", names.final_norm or final_norm)
    for i in range(c.layers):
        ours, theirs = f"blocks.{i}", names.block.format(i)
        qkv = [theirs + name for name in names.qkv]
        rows = 3 * c.width // len(qkv)
        norm(f"{ours}.norm1", theirs + names.norms[0])
        table[f"{ours}.attn.qkv.weight"] = Stored(tuple(f"{name}.weight" for name in qkv), (rows, c.width))
        if c.bias == "qkv":
            table[f"{ours}.attn.qkv.bias"] = Stored(tuple(f"{name}.bias" for name in qkv), (rows,))
        else:
            for part, name in zip(("q_bias", "v_bias"), names.biases, strict=True):
                table[f"{ours}.attn.{part}"] = Stored((theirs + name,), (c.width,))
        linear(f"{ours}.attn.proj", theirs + names.proj, c.width, c.width)
        norm(f"{ours}.norm2", theirs + names.norms[1])
        first, second = names.gated_mlp if c.gated and names.gated_mlp else names.mlp
        linear(f"{ours}.mlp.{'w12' if c.gated else 'fc1'}", theirs + first, (1 + c.gated) * c.hidden, c.width)
        linear(f"{ours}.mlp.{'w3' if c.gated else 'fc2'}", theirs + second, c.width, c.hidden)
        if c.layer_scale:
            for part, name in zip(("ls1", "ls2"), names.scales, strict=True):
                table[f"{ours}.{part}"] = Stored((theirs + name,), (c.width,))
    return table


def _flax(c: ViTConfig, final_norm: str) -> dict[str, Stored]:
    """The tree of representations4d: Dense kernels are [in, out], and attention kernels carry their heads."""
    heads = (c.heads, c.width // c.heads)
    patch = "encoder/patch_embedding/Conv_0"
    table = {
        "patch_embed.weight": Stored((f"{patch}/kernel",), (c.tubelet, c.patch, c.patch, 3, c.width), "conv"),
        "patch_embed.bias": Stored((f"{patch}/bias",), (c.width,)),
        "pos_embed": Stored(("encoder/posenc/embeddings",), (*c.grid, c.width)),
    }

    def norm(ours: str, theirs: str) -> None:
        table[f"{ours}.weight"] = Stored((f"{theirs}/scale",), (c.width,))
        table[f"{ours}.bias"] = Stored((f"{theirs}/bias",), (c.width,))

    def dense(ours: str, theirs: str, kernel: tuple[int, ...], out: int) -> None:
        table[f"{ours}.weight"] = Stored((f"{theirs}/kernel",), kernel, "kernel")
        table[f"{ours}.bias"] = Stored((f"{theirs}/bias",), (out,))

    for i in range(c.layers):
        ours, theirs = f"blocks.{i}", f"processor/layers_{i}"
        qkv = tuple(f"{theirs}/attention/{part}" for part in ("query", "key", "value"))
        norm(f"{ours}.norm1", f"{theirs}/attention_norm")
        table[f"{ours}.attn.qkv.weight"] = Stored(tuple(f"{n}/kernel" for n in qkv), (c.width, *heads), "kernel")
        table[f"{ours}.attn.qkv.bias"] = Stored(tuple(f"{n}/bias" for n in qkv), heads)
        dense(f"{ours}.attn.proj", f"{theirs}/attention/out", (*heads, c.width), c.width)
        norm(f"{ours}.norm2", f"{theirs}/mlp_norm")
        dense(f"{ours}.mlp.fc1", f"{theirs}/mlp/dense_in", (c.width, c.hidden), c.hidden)
        dense(f"{ours}.mlp.fc2", f"{theirs}/mlp/dense_out", (c.hidden, c.width), c.width)
    return table


OFFICIAL = TorchNames(
    cls="cls_token",
    positions="pos_embed",
    patch="patch_embed.proj",
    block="blocks.{}.",
    norms=("norm1", "norm2"),
    qkv=("attn.qkv",),
    biases=("attn.q_bias", "attn.v_bias"),
    proj="attn.proj",
    mlp=("mlp.fc1", "mlp.fc2"),
    gated_mlp=("mlp.w12", "mlp.w3"),
    scales=("ls1.gamma", "ls2.gamma"),
)
"""The authors' own repositories, which all descend from one another."""

HUB_VIT = TorchNames(
    cls="embeddings.cls_token",
    positions="embeddings.position_embeddings",
    patch="embeddings.patch_embeddings.projection",
    final_norm="layernorm",
    block="encoder.layer.{}.",
    norms=("layernorm_before", "layernorm_after"),
    qkv=("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    biases=("attention.attention.q_bias", "attention.attention.v_bias"),
    proj="attention.output.dense",
    mlp=("intermediate.dense", "output.dense"),
)
"""ViT, ViT-MAE and VideoMAE in transformers."""

HUB_DINOV2 = dataclasses.replace(
    HUB_VIT,
    norms=("norm1", "norm2"),
    mlp=("mlp.fc1", "mlp.fc2"),
    gated_mlp=("mlp.weights_in", "mlp.weights_out"),
    scales=("layer_scale1.lambda1", "layer_scale2.lambda1"),
)

NAMINGS = {
    "official": OFFICIAL.naming(),
    "hub-vit": HUB_VIT.naming(),
    "hub-dinov2": HUB_DINOV2.naming(),
    "flax": Naming(
        block="processor/layers_{}/",
        width="attention_norm/scale",
        hidden="mlp/dense_in/bias",
        heads="attention/query/bias",
        patch="encoder/patch_embedding/Conv_0/kernel",
        patch_sides=(1, 2),
        patch_channels=3,
        positions="encoder/posenc/embeddings",
        table=_flax,
    ),
}
