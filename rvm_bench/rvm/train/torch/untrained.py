"""A torch model as its training starts."""

import dataclasses
from typing import Literal

from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.torch.joint import JointRVM
from rvm_bench.rvm.torch.model import RVM
from rvm_bench.rvm.torch.weights import from_arrays
from rvm_bench.rvm.train.initial import Start, initial_arrays

Aggregator = Literal["rnn", "self_attention"]


def untrained(
    config: RVMConfig, aggregator: Aggregator = "rnn", seed: int = 0, start: Start = "xavier"
) -> RVM | JointRVM:
    """A model to train, float32 on the CPU, in training mode, with the weights of `rvm_bench.rvm.train.initial`.

    Both kinds start from the same encoder and decoder; the same arguments give the same weights.
    """
    recurrent = from_arrays(initial_arrays(config, seed, start), "initial weights").train()
    if aggregator == "rnn":
        return recurrent
    model = JointRVM(config)
    top = dataclasses.replace(config, layers=config.core_layers, heads=config.core_heads, mlp=config.core_mlp)
    added = from_arrays(checkpoint.random_arrays(top, seed + 1), "random weights").encoder.blocks
    recurrent.encoder.blocks.extend(added)
    model.encoder.load_state_dict(recurrent.encoder.state_dict())
    model.decoder.load_state_dict(recurrent.decoder.state_dict())
    return model
