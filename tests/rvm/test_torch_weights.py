"""Arrays of a checkpoint survive the way into the torch model and out of it."""

import dataclasses

import numpy as np
import torch

from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.torch.weights import from_arrays, places, to_arrays

CONFIG = dataclasses.replace(checkpoint.SIZES["rvm-tiny"], layers=2, width=96, mlp=160, core_mlp=128, decoder_mlp=64)


def test_every_array_comes_back_with_its_own_bits():
    arrays = checkpoint.random_arrays(CONFIG, seed=3)
    rng = np.random.default_rng(0)  # random weights have zero biases, which could change places unseen
    arrays = {name: rng.standard_normal(array.shape, np.float32) for name, array in arrays.items()}
    back = to_arrays(from_arrays(arrays).state_dict(), CONFIG)
    assert list(back) == list(checkpoint.expected_shapes(CONFIG))
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)
        assert back[name].dtype == np.float32
        assert back[name].flags.c_contiguous


def test_every_tensor_and_every_array_has_one_place():
    taken = list(places(CONFIG))
    model = from_arrays(checkpoint.random_arrays(CONFIG))
    assert sorted(place.ours for place in taken) == sorted(model.state_dict())
    theirs = [name for place in taken for name in place.theirs]
    assert sorted(theirs) == sorted(checkpoint.expected_shapes(CONFIG))


def test_weights_that_were_trained_are_handed_out_without_their_gradients():
    model = from_arrays(checkpoint.random_arrays(CONFIG)).bfloat16()
    arrays = to_arrays(model.state_dict(), CONFIG)
    assert all(array.dtype == np.float32 for array in arrays.values())
    assert not any(isinstance(array, torch.Tensor) for array in arrays.values())
