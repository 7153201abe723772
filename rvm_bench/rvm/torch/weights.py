"""Between a checkpoint's arrays and the torch model, both ways, with every array accounted for."""

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.checkpoint import RVMConfig, expected_shapes
from rvm_bench.rvm.torch.model import RVM


@dataclasses.dataclass(frozen=True)
class TensorName:
    """The official arrays that stand one after the other in a tensor of ours.

    Attributes:
        ours: name in the state dict.
        theirs: official names.
        inputs: of kernels, the product of their leading, contracted axes; each becomes [out, in]. 0 for vectors.
    """

    ours: str
    theirs: tuple[str, ...]
    inputs: int = 0

    def joined(self, arrays: Mapping[str, np.ndarray]) -> Tensor:
        """The tensor, float32 [out, in] or flat, in memory of its own."""
        parts = [torch.from_numpy(np.array(arrays[name], dtype=np.float32, order="C")) for name in self.theirs]
        return torch.cat([part.reshape(self.inputs, -1).T if self.inputs else part.flatten() for part in parts])

    def parted(self, tensor: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """The official arrays of a tensor."""
        rows = [math.prod(shapes[name]) // (self.inputs or 1) for name in self.theirs]
        parts = (tensor if self.inputs else tensor.flatten()).split(rows)
        whole = [part.T if self.inputs else part for part in parts]
        return {
            name: np.ascontiguousarray(part.reshape(shapes[name]).numpy())
            for name, part in zip(self.theirs, whole, strict=True)
        }


def places(config: RVMConfig) -> Iterator[TensorName]:
    """Every tensor of the model.

    Query, key and value of a self-attention are one matrix, as are the keys and values of all cross-attentions of a
    transformer, and the update and reset gates of each side.
    """
    yield TensorName("encoder.cls_token", ("cls_token",))
    yield from _dense("encoder.patch_embedding", ["tokenizer/patch_embedding/Conv_0"], config.patch**2 * 3)
    for index in range(config.layers):
        ours, theirs = f"encoder.blocks.{index}", f"encoder/layers_{index}"
        yield from _self_block(ours, theirs, config.width, config.mlp)
    yield from _norm("encoder.norm", "encoder/LayerNorm_0")

    for side in ("input", "state"):
        gates = tuple(f"rnn_core/{side}_{gate}/kernel" for gate in ("update", "reset"))
        yield TensorName(f"core.{side}_gates.weight", gates, config.width)
    yield TensorName("core.state_norm.weight", ("rnn_core/state_layer_norm/scale",))
    yield from _cross_transformer(
        "core.transformer", "rnn_core/transformer", config.width, config.core_layers, config.core_mlp
    )

    yield TensorName("decoder.mask_token", ("mask_token",))
    yield from _dense("decoder.embedder", ["decoder_embedder"], config.width)
    yield from _dense("decoder.delta_embedder", ["delta_embedder"], config.delta_bins)
    yield from _cross_transformer(
        "decoder.transformer", "decoder", config.decoder_width, config.decoder_layers, config.decoder_mlp
    )
    yield from _dense("decoder.pixels", ["detokenizer/Dense_0"], config.decoder_width)


def from_arrays(arrays: Mapping[str, np.ndarray], source: str = "checkpoint") -> RVM:
    """The model with these weights, float32 on the CPU, in evaluation mode. It shares no memory with the arrays.

    Raises:
        UserError: the arrays are not a valid checkpoint (`checkpoint.check`).
    """
    config = checkpoint.check(arrays, source)
    with torch.device("meta"):
        model = RVM(config)
    empty = model.state_dict()
    state = {place.ours: place.joined(arrays).reshape(empty[place.ours].shape) for place in places(config)}
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


def to_arrays(state: Mapping[str, Tensor], config: RVMConfig) -> dict[str, np.ndarray]:
    """A model's state dict, whole and on the CPU, as float32 arrays in the official naming: `from_arrays` undone."""
    shapes = expected_shapes(config)
    arrays: dict[str, np.ndarray] = {}
    for place in places(config):
        arrays |= place.parted(state[place.ours].detach().float(), shapes)
    return {name: arrays[name] for name in shapes}


def _norm(ours: str, theirs: str) -> Iterator[TensorName]:
    yield TensorName(f"{ours}.weight", (f"{theirs}/scale",))
    yield TensorName(f"{ours}.bias", (f"{theirs}/bias",))


def _dense(ours: str, theirs: list[str], inputs: int) -> Iterator[TensorName]:
    """Dense layers side by side: their outputs are concatenated."""
    yield TensorName(f"{ours}.weight", tuple(f"{name}/kernel" for name in theirs), inputs)
    yield TensorName(f"{ours}.bias", tuple(f"{name}/bias" for name in theirs))


def _self_block(ours: str, theirs: str, width: int, hidden: int) -> Iterator[TensorName]:
    """The norms, self-attention and MLP that blocks of both kinds have."""
    for norm in ("attention_norm", "mlp_norm"):
        yield from _norm(f"{ours}.{norm}", f"{theirs}/{norm}")
    yield from _dense(f"{ours}.attention.qkv", [f"{theirs}/attention/{p}" for p in ("query", "key", "value")], width)
    yield from _dense(f"{ours}.attention.out", [f"{theirs}/attention/out"], width)
    yield from _dense(f"{ours}.mlp.dense_in", [f"{theirs}/mlp/dense_in"], width)
    yield from _dense(f"{ours}.mlp.dense_out", [f"{theirs}/mlp/dense_out"], hidden)


def _cross_transformer(ours: str, theirs: str, width: int, layers: int, hidden: int) -> Iterator[TensorName]:
    blocks = [f"{theirs}/xa_blocks_{index}" for index in range(layers)]
    both = [f"{block}/ca_attention/{part}" for block in blocks for part in ("key", "value")]
    yield from _dense(f"{ours}.keys_values", both, width)
    for index, block in enumerate(blocks):
        here = f"{ours}.blocks.{index}"
        yield from _norm(f"{here}.ca_attention_norm", f"{block}/ca_attention_norm")
        for part in ("query", "out"):
            yield from _dense(f"{here}.ca_attention.{part}", [f"{block}/ca_attention/{part}"], width)
        yield from _self_block(here, block, width, hidden)
    yield from _norm(f"{ours}.output_norm", f"{theirs}/output_norm")
