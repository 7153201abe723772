"""How official checkpoints name and lay out the tensors of a ViT: three torch namings and one flax tree.

A naming maps each parameter of `vit.ViT` to the tensors of a file that hold it, with the shape that each must have.
Files of the same model differ in names, in whether query, key and value are one tensor, and in which axis comes first.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

from baselines.vit.config import ViTConfig


@dataclasses.dataclass(frozen=True)
class Stored:
    """Where a file holds one of our parameters.

    Attributes:
        names: tensors of the file; several are stacked along our first axis.
        shape: of each of them.
        form: "rows": ours but for its shape; "kernel": contracted axes first, as flax has them, so it is transposed;
            "conv": a flax patch kernel [t, p, p, 3, D], whose channels come last where ours come first.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    form: Literal["rows", "kernel", "conv"] = "rows"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Naming:
    """One naming, and where in it the sizes of a model can be read.

    Attributes:
        block: what a block's tensors begin with; {} is the block's number.
        width, hidden, gated, heads: tensors of a block, after `block`, whose first axis is the width, the MLP's hidden
            width, twice the hidden width of a gated MLP, the number of heads; "" where there is none.
        patch: the patch kernel. patch_sides, patch_channels: the axes of its sides and of its colours.
        positions: the stored table.
        table: all that a model of these sizes has in a file, by our names; the second argument names the final norm.
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


def _linear(ours: str, theirs: str, out: int, inner: int) -> dict[str, Stored]:
    return {
        f"{ours}.weight": Stored((f"{theirs}.weight",), (out, inner)),
        f"{ours}.bias": Stored((f"{theirs}.bias",), (out,)),
    }


def _norm(ours: str, theirs: str, width: int) -> dict[str, Stored]:
    return {f"{ours}.{part}": Stored((f"{theirs}.{part}",), (width,)) for part in ("weight", "bias")}


def _ends(c: ViTConfig, cls: str, positions: str, patch: str, norm: str) -> dict[str, Stored]:
    """What is no block, in the torch namings."""
    kernel = (c.tubelet, c.patch, c.patch) if c.tubelet > 1 else (c.patch, c.patch)
    table = {
        "patch_embed.weight": Stored((f"{patch}.weight",), (c.width, 3, *kernel)),
        "patch_embed.bias": Stored((f"{patch}.bias",), (c.width,)),
    }
    if c.cls:
        table["cls_token"] = Stored((cls,), (1, 1, c.width))
    if c.positions == "stored":
        table["pos_embed"] = Stored((positions,), (1, c.cls + _cells(c), c.width))
    if c.final_norm:
        table |= _norm("norm", norm, c.width)
    return table


def _cells(c: ViTConfig) -> int:
    tubes, rows, columns = c.grid
    return tubes * rows * columns


def _official(c: ViTConfig, norm: str) -> dict[str, Stored]:
    """The names of the authors' own repositories, which all descend from one another."""
    table = _ends(c, "cls_token", "pos_embed", "patch_embed.proj", norm)
    for i in range(c.layers):
        block = f"blocks.{i}"
        table |= _norm(f"{block}.norm1", f"{block}.norm1", c.width)
        table[f"{block}.attn.qkv.weight"] = Stored((f"{block}.attn.qkv.weight",), (3 * c.width, c.width))
        if c.bias == "qkv":
            table[f"{block}.attn.qkv.bias"] = Stored((f"{block}.attn.qkv.bias",), (3 * c.width,))
        else:
            for part in ("q_bias", "v_bias"):
                table[f"{block}.attn.{part}"] = Stored((f"{block}.attn.{part}",), (c.width,))
        table |= _linear(f"{block}.attn.proj", f"{block}.attn.proj", c.width, c.width)
        table |= _norm(f"{block}.norm2", f"{block}.norm2", c.width)
        first, second, gate = ("mlp.w12", "mlp.w3", 2) if c.gated else ("mlp.fc1", "mlp.fc2", 1)
        table |= _linear(f"{block}.{first}", f"{block}.{first}", gate * c.hidden, c.width)
        table |= _linear(f"{block}.{second}", f"{block}.{second}", c.width, c.hidden)
        if c.layer_scale:
            for scale in ("ls1", "ls2"):
                table[f"{block}.{scale}"] = Stored((f"{block}.{scale}.gamma",), (c.width,))
    return table


def _hub(c: ViTConfig, norms: tuple[str, str], mlp: tuple[str, str]) -> dict[str, Stored]:
    table = _ends(
        c,
        "embeddings.cls_token",
        "embeddings.position_embeddings",
        "embeddings.patch_embeddings.projection",
        "layernorm",
    )
    first, second = mlp
    for i in range(c.layers):
        ours, theirs = f"blocks.{i}", f"encoder.layer.{i}"
        attention = f"{theirs}.attention.attention"
        qkv = tuple(f"{attention}.{part}" for part in ("query", "key", "value"))
        table |= _norm(f"{ours}.norm1", f"{theirs}.{norms[0]}", c.width)
        table[f"{ours}.attn.qkv.weight"] = Stored(tuple(f"{name}.weight" for name in qkv), (c.width, c.width))
        if c.bias == "qkv":
            table[f"{ours}.attn.qkv.bias"] = Stored(tuple(f"{name}.bias" for name in qkv), (c.width,))
        else:
            for part in ("q_bias", "v_bias"):
                table[f"{ours}.attn.{part}"] = Stored((f"{attention}.{part}",), (c.width,))
        table |= _linear(f"{ours}.attn.proj", f"{theirs}.attention.output.dense", c.width, c.width)
        table |= _norm(f"{ours}.norm2", f"{theirs}.{norms[1]}", c.width)
        gate = 2 if c.gated else 1
        table |= _linear(f"{ours}.mlp.{'w12' if c.gated else 'fc1'}", f"{theirs}.{first}", gate * c.hidden, c.width)
        table |= _linear(f"{ours}.mlp.{'w3' if c.gated else 'fc2'}", f"{theirs}.{second}", c.width, c.hidden)
        if c.layer_scale:
            for n in (1, 2):
                table[f"{ours}.ls{n}"] = Stored((f"{theirs}.layer_scale{n}.lambda1",), (c.width,))
    return table


def _hub_vit(c: ViTConfig, norm: str) -> dict[str, Stored]:
    return _hub(c, ("layernorm_before", "layernorm_after"), ("intermediate.dense", "output.dense"))


def _hub_dinov2(c: ViTConfig, norm: str) -> dict[str, Stored]:
    return _hub(c, ("norm1", "norm2"), ("mlp.weights_in", "mlp.weights_out") if c.gated else ("mlp.fc1", "mlp.fc2"))


def _flax(c: ViTConfig, norm: str) -> dict[str, Stored]:
    """The tree of representations4d: Dense kernels are [in, out], and attention kernels carry their heads."""
    heads = (c.heads, c.width // c.heads)
    patch = "encoder/patch_embedding/Conv_0"
    table = {
        "patch_embed.weight": Stored((f"{patch}/kernel",), (c.tubelet, c.patch, c.patch, 3, c.width), "conv"),
        "patch_embed.bias": Stored((f"{patch}/bias",), (c.width,)),
        "pos_embed": Stored(("encoder/posenc/embeddings",), (*c.grid, c.width)),
    }

    def norm_of(ours: str, theirs: str) -> None:
        table[f"{ours}.weight"] = Stored((f"{theirs}/scale",), (c.width,))
        table[f"{ours}.bias"] = Stored((f"{theirs}/bias",), (c.width,))

    def dense(ours: str, theirs: str, kernel: tuple[int, ...], out: int) -> None:
        table[f"{ours}.weight"] = Stored((f"{theirs}/kernel",), kernel, "kernel")
        table[f"{ours}.bias"] = Stored((f"{theirs}/bias",), (out,))

    for i in range(c.layers):
        ours, theirs = f"blocks.{i}", f"processor/layers_{i}"
        qkv = tuple(f"{theirs}/attention/{part}" for part in ("query", "key", "value"))
        norm_of(f"{ours}.norm1", f"{theirs}/attention_norm")
        table[f"{ours}.attn.qkv.weight"] = Stored(tuple(f"{n}/kernel" for n in qkv), (c.width, *heads), "kernel")
        table[f"{ours}.attn.qkv.bias"] = Stored(tuple(f"{n}/bias" for n in qkv), heads)
        dense(f"{ours}.attn.proj", f"{theirs}/attention/out", (*heads, c.width), c.width)
        norm_of(f"{ours}.norm2", f"{theirs}/mlp_norm")
        dense(f"{ours}.mlp.fc1", f"{theirs}/mlp/dense_in", (c.width, c.hidden), c.hidden)
        dense(f"{ours}.mlp.fc2", f"{theirs}/mlp/dense_out", (c.hidden, c.width), c.width)
    return table


NAMINGS = {
    "official": Naming(
        block="blocks.{}.",
        width="norm1.weight",
        hidden="mlp.fc1.bias",
        gated="mlp.w12.bias",
        patch="patch_embed.proj.weight",
        positions="pos_embed",
        table=_official,
    ),
    "hub-vit": Naming(
        block="encoder.layer.{}.",
        width="layernorm_before.weight",
        hidden="intermediate.dense.bias",
        patch="embeddings.patch_embeddings.projection.weight",
        positions="embeddings.position_embeddings",
        table=_hub_vit,
    ),
    "hub-dinov2": Naming(
        block="encoder.layer.{}.",
        width="norm1.weight",
        hidden="mlp.fc1.bias",
        gated="mlp.weights_in.bias",
        patch="embeddings.patch_embeddings.projection.weight",
        positions="embeddings.position_embeddings",
        table=_hub_dinov2,
    ),
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
