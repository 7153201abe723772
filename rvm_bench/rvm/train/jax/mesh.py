"""One mesh of all devices, along "data" and "fsdp", and where arrays lie on it.

A device has its own clips: batches are cut along both axes. Weights, gradients and moments are cut along "fsdp" and
repeated along "data"; XLA gathers a weight where it is used and sums its gradient where it is made.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA, FSDP = "data", "fsdp"


def training_mesh(data: int, shards: int) -> Mesh:
    """All devices of all processes as [data, shards].

    TPUs of one slice are put in an order that suits the links between them, others in that of their numbers, so that
    neighbours along "fsdp" share a host where they can.
    """
    kinds = (AxisType.Auto, AxisType.Auto)
    devices = jax.devices()
    if len({getattr(device, "slice_index", 0) for device in devices}) == 1:
        return jax.make_mesh((data, shards), (DATA, FSDP), kinds)
    return Mesh(np.array(devices).reshape(data, shards), (DATA, FSDP), kinds)


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_clip(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Clips, which lie along this axis, over all devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, (DATA, FSDP)))


def sharded(mesh: Mesh, tree: Any) -> Any:
    """How each array of a tree (or what only has its shape) is cut: the largest axis that "fsdp" divides, the first of
    equals. One that has no such axis is whole on every device."""
    shards = mesh.shape[FSDP]

    def cut(array: Any) -> NamedSharding:
        divided = [axis for axis, size in enumerate(array.shape) if size % shards == 0]
        if shards == 1 or not divided:
            return replicated(mesh)
        axis = max(divided, key=lambda axis: array.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, FSDP))

    return jax.tree.map(cut, tree)


def placed(arrays: Any, shardings: Any) -> Any:
    """A tree of numpy arrays that every process has whole, as JAX arrays of these shardings."""
    return jax.tree.map(
        lambda array, sharding: jax.make_array_from_callback(array.shape, sharding, lambda index: array[index]),
        arrays,
        shardings,
    )


def in_parts(mesh: Mesh, batch: Mapping[str, Any], parts: int) -> dict[str, jax.Array]:
    """The global batch of all processes' slices, each array as [parts, clips, ...].

    Each process cuts its own slice, so that a part has clips on every device and none has to move to another.
    """
    slices = {name: array.reshape(parts, -1, *array.shape[1:]) for name, array in batch.items()}
    return jax.make_array_from_process_local_data(by_clip(mesh, axis=1), slices)


def own_clips(array: jax.Array) -> np.ndarray:
    """This process's slice of an array that is cut `by_clip`: `jax.make_array_from_process_local_data` undone."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def whole(tree: Any) -> Any:
    """A tree of numpy arrays, whole on every process, in memory of their own."""
    if jax.process_count() > 1:
        tree = multihost_utils.process_allgather(tree, tiled=True)
    return jax.tree.map(np.array, tree)
