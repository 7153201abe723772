"""From a checkpoint's arrays to the torch model, with every array accounted for."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rvm_bench.errors import UserError
from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.torch.model import RVM


class _Ledger:
    """Hands each array out once, as a float32 tensor of its own, and knows what is left."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.left = dict(arrays)

    def take(self, name: str) -> Tensor:
        return torch.from_numpy(np.array(self.left.pop(name), dtype=np.float32, order="C"))

    def matrix(self, name: str, inputs: int) -> Tensor:
        """A kernel with any axes as torch's [out, in]; `inputs` is the product of its leading, contracted axes."""
        return self.take(name).reshape(inputs, -1).T.contiguous()


def from_arrays(arrays: Mapping[str, np.ndarray], source: str = "checkpoint") -> RVM:
    """The model with these weights, float32 on the CPU, in evaluation mode. It shares no memory with the arrays.

    Query, key and value of a self-attention become one matrix, as do the keys and values of all cross-attentions of a
    transformer, and the update and reset gates of each side.

    Raises:
        UserError: the arrays are not a sound checkpoint (`checkpoint.check`).
    """
    config = checkpoint.check(arrays, source)
    ledger = _Ledger(arrays)
    state: dict[str, Tensor] = {}

    def norm(ours: str, theirs: str) -> None:
        state[f"{ours}.weight"], state[f"{ours}.bias"] = ledger.take(f"{theirs}/scale"), ledger.take(f"{theirs}/bias")

    def dense(ours: str, theirs: list[str], inputs: int) -> None:
        """Dense layers side by side: their outputs are concatenated."""
        state[f"{ours}.weight"] = torch.cat([ledger.matrix(f"{name}/kernel", inputs) for name in theirs])
        state[f"{ours}.bias"] = torch.cat([ledger.take(f"{name}/bias").flatten() for name in theirs])

    def self_attention(ours: str, theirs: str, width: int) -> None:
        dense(f"{ours}.qkv", [f"{theirs}/{part}" for part in ("query", "key", "value")], width)
        dense(f"{ours}.out", [f"{theirs}/out"], width)

    def mlp(ours: str, theirs: str, width: int, hidden: int) -> None:
        dense(f"{ours}.dense_in", [f"{theirs}/dense_in"], width)
        dense(f"{ours}.dense_out", [f"{theirs}/dense_out"], hidden)

    def cross_transformer(ours: str, theirs: str, width: int, layers: int, hidden: int) -> None:
        blocks = [f"{theirs}/xa_blocks_{index}" for index in range(layers)]
        both = [f"{block}/ca_attention/{part}" for block in blocks for part in ("key", "value")]
        dense(f"{ours}.keys_values", both, width)
        for index, block in enumerate(blocks):
            here = f"{ours}.blocks.{index}"
            norm(f"{here}.ca_attention_norm", f"{block}/ca_attention_norm")
            dense(f"{here}.ca_attention.query", [f"{block}/ca_attention/query"], width)
            dense(f"{here}.ca_attention.out", [f"{block}/ca_attention/out"], width)
            norm(f"{here}.mlp_norm", f"{block}/mlp_norm")
            mlp(f"{here}.mlp", f"{block}/mlp", width, hidden)
            norm(f"{here}.attention_norm", f"{block}/attention_norm")
            self_attention(f"{here}.attention", f"{block}/attention", width)
        norm(f"{ours}.output_norm", f"{theirs}/output_norm")

    state["encoder.cls_token"] = ledger.take("cls_token")
    dense("encoder.patch_embedding", ["tokenizer/patch_embedding/Conv_0"], config.patch**2 * 3)
    for index in range(config.layers):
        ours, theirs = f"encoder.blocks.{index}", f"encoder/layers_{index}"
        norm(f"{ours}.attention_norm", f"{theirs}/attention_norm")
        self_attention(f"{ours}.attention", f"{theirs}/attention", config.width)
        norm(f"{ours}.mlp_norm", f"{theirs}/mlp_norm")
        mlp(f"{ours}.mlp", f"{theirs}/mlp", config.width, config.mlp)
    norm("encoder.norm", "encoder/LayerNorm_0")

    for side in ("input", "state"):
        gates = [ledger.matrix(f"rnn_core/{side}_{gate}/kernel", config.width) for gate in ("update", "reset")]
        state[f"core.{side}_gates.weight"] = torch.cat(gates)
    state["core.state_norm.weight"] = ledger.take("rnn_core/state_layer_norm/scale")
    cross_transformer("core.transformer", "rnn_core/transformer", config.width, config.core_layers, config.core_mlp)

    state["decoder.mask_token"] = ledger.take("mask_token")
    dense("decoder.embedder", ["decoder_embedder"], config.width)
    dense("decoder.delta_embedder", ["delta_embedder"], config.delta_bins)
    cross_transformer("decoder.transformer", "decoder", config.decoder_width, config.decoder_layers, config.decoder_mlp)
    dense("decoder.pixels", ["detokenizer/Dense_0"], config.decoder_width)

    if ledger.left:
        raise UserError(f"{source}: arrays that the torch model has no place for: {', '.join(ledger.left)}")
    with torch.device("meta"):
        model = RVM(config)
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()
