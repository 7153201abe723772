"""Weights and moments of a training, kept by orbax: every process writes what lies on its devices.

Orbax has checksums for its index but none for values: a changed byte among them gives other weights silently.
`rvm_bench.rvm.train.folder` has them, and looks at them before anything is restored.
"""

from pathlib import Path
from typing import TypeVar

import jax
import orbax.checkpoint as ocp

from rvm_bench.errors import UserError

Tree = TypeVar("Tree")


def save(folder: Path, tree: object) -> None:
    """Writes a tree of arrays into a folder that is not there yet, which all processes see, and returns when it is."""
    with ocp.StandardCheckpointer() as checkpointer:  # leaving it ends the writing
        checkpointer.save(folder.resolve(), tree)


def restore(folder: Path, like: Tree) -> Tree:
    """The tree that was saved, bit for bit, on the devices where `like` lies, whatever they were when it was saved.

    Raises:
        UserError: there is none, or its arrays are not of the names, shapes and dtypes of `like`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no checkpoint of a training in JAX; start anew, or give the folder of one")
    with ocp.StandardCheckpointer() as checkpointer:
        found = _described(checkpointer.metadata(folder.resolve()).item_metadata)
        expected = _described(like)
        if found != expected:
            name = min(name for name, _ in found.items() ^ expected.items())
            raise UserError(
                f"{folder}: a checkpoint of another recipe, in which {name} is {found.get(name, 'missing')}, expected "
                f"{expected.get(name, 'no such array')}; give the recipe that it was saved with, or start anew"
            )
        places = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), like)
        return checkpointer.restore(folder.resolve(), places)


def _described(tree: object) -> dict[str, str]:
    """Dtype and shape of each array by its name."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): f"{a.dtype} {tuple(a.shape)}" for path, a in leaves}
