"""RVM with fixed weights on one device: numpy arrays in, JAX arrays out, compiled once per shape of the frames."""

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.rvm.jax.model import RVM
from rvm_bench.rvm.jax.weights import from_arrays, to_arrays


class FrozenRVM:
    """A loaded network.

    Attributes:
        model, params: the flax module and its parameters.
        config: every size.
        device: where the parameters are and the products are computed.
    """

    backend = "jax"

    def __init__(self, arrays: Mapping[str, np.ndarray], source: str = "checkpoint", dtype: str = "float32") -> None:
        """Raises UserError where the arrays are not a valid checkpoint (`checkpoint.check`)."""
        self.params, self.config = from_arrays(arrays, source)
        self.model = RVM(self.config, jnp.dtype(dtype))
        self.to("cpu")

    def to(self, device: str) -> None:
        """Moves the parameters to JAX's device of torch's name "cpu", "cuda" or "cuda:N".

        Torch has no name for a TPU: "cpu" is the first TPU where JAX has one.

        Raises:
            UserError: JAX has no such device.
        """
        kind, _, index = device.partition(":")
        platform = "gpu" if kind == "cuda" else "tpu" if jax.default_backend() == "tpu" else kind
        try:
            self.device = jax.devices(platform)[int(index or 0)]
        except (RuntimeError, IndexError) as error:
            raise UserError(
                f"device {device!r} is not available to this JAX, which has {jax.devices()}; give --device cpu, or "
                "install JAX for it (docs.jax.dev/en/latest/installation.html)"
            ) from error
        self.params = jax.device_put(self.params, self.device)

    def encode(self, frames: np.ndarray, state: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """See `RVM.encode`."""
        if state is None:
            patches = (frames.shape[2] // self.config.patch) * (frames.shape[3] // self.config.patch)
            state = self.zero_state(len(frames), patches)
        return _encode(self.model, self.params, jax.device_put(frames, self.device), state)

    def zero_state(self, batch: int, patches: int) -> jax.Array:
        """The state before the first frame: float32 zeros [batch, 1 + patches, D]."""
        return jnp.zeros((batch, 1 + patches, self.config.width), device=self.device)

    def reconstruct(self, source: Any, target: Any, deltas: Any, inds_restore: Any) -> jax.Array:
        """See `rvm_bench.rvm.reconstruct`."""
        frames = [_frames("source", source), _frames("target", target)]
        deltas = None if deltas is None else _deltas(np.asarray(deltas), self.config.delta_bins)
        inputs = (*frames, deltas, _permutations(np.asarray(inds_restore)))
        return _reconstruct(self.model, self.params, *jax.device_put(inputs, self.device))

    def sha256(self) -> str:
        """Hash of the names, shapes and values of all parameters."""
        digest = hashlib.sha256()
        for name, array in sorted(to_arrays(self.params).items()):
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


# The model is a static argument, equal to any other of its sizes and dtype, so that loading again compiles nothing.
@functools.partial(jax.jit, static_argnums=0)
def _encode(model: RVM, params: Any, frames: jax.Array, state: jax.Array) -> Any:
    return model.apply({"params": params}, frames, state, method=RVM.encode)


@functools.partial(jax.jit, static_argnums=0)
def _reconstruct(model: RVM, params: Any, *inputs: jax.Array | None) -> Any:
    return model.apply({"params": params}, *inputs, method=RVM.reconstruct)


def _frames(role: str, frames: Any) -> np.ndarray:
    array = np.asarray(frames)
    if array.ndim != 5 or array.shape[-1] != 3:
        raise UserError(f"{role} has shape {array.shape}; expected [batch, frames, height, width, 3]")
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{role} has dtype {array.dtype}; expected uint8, or floating point in [0, 1]")
    return array


def _deltas(deltas: np.ndarray, bins: int) -> np.ndarray:
    if not ((deltas >= 0) & (deltas < bins)).all():
        raise UserError(f"deltas are {deltas.tolist()}; expected frames from the sources to a target in 0..{bins - 1}")
    return deltas


def _permutations(inds_restore: np.ndarray) -> np.ndarray:
    if (np.sort(inds_restore, axis=-1) != np.arange(inds_restore.shape[-1])).any():
        raise UserError(f"inds_restore {inds_restore.shape} is not a permutation of each target's patches")
    return inds_restore
