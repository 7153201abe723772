"""From a checkpoint's arrays to the parameter tree and back; the names are the same, only the '/' becomes nesting."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.checkpoint import RVMConfig


def from_arrays(arrays: Mapping[str, np.ndarray], source: str = "checkpoint") -> tuple[dict[str, Any], RVMConfig]:
    """The parameters of `rvm_bench.rvm.jax.model.RVM`, float32 numpy arrays, and its sizes.

    Raises:
        UserError: the arrays are not a valid checkpoint (`checkpoint.check`).
    """
    config = checkpoint.check(arrays, source)
    return unflatten_dict({name: np.asarray(array, np.float32) for name, array in arrays.items()}, sep="/"), config


def to_arrays(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The parameters by their names in a checkpoint, ready for `checkpoint.save`."""
    return {name: np.asarray(array) for name, array in flatten_dict(params, sep="/").items()}
