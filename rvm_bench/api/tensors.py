"""Finding, hashing, freezing and moving every tensor and network that an object computes with.

Followed are attributes, class attributes below a given base, elements of containers, parameters and buffers of
`nn.Module`s, arguments of `functools.partial`, and closures of functions. Global variables are not: a plug-in keeps
its tensors in its encoder. Attributes that a class names in `derived` are skipped: they follow from the others, as a
cache of resized position embeddings does.
"""

import contextlib
import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor, nn

_ATOMS = (
    str,
    bytes,
    int,
    float,
    complex,
    bool,
    type(None),
    type,
    types.ModuleType,
    torch.device,
    torch.dtype,
    np.dtype,
)


_OPAQUE = frozenset({"flax", "jax", "jaxlib", "numpy", "torch", "transformers", "threading", "logging"})
"""Packages whose objects, other than networks, tensors and containers, hold no weights of a model."""


def arrays_of(root: object, *, base: type = object) -> Iterator[tuple[str, Tensor | np.ndarray]]:
    """(path, tensor or array) of everything reachable from an object, each object once, in a deterministic order.

    Args:
        root: the object.
        base: class attributes are followed in subclasses of this class.
    """
    for path, value in _reachable(root, base):
        if isinstance(value, Tensor | np.ndarray):
            yield path, value
        elif not isinstance(value, nn.Module) and hasattr(value, "__array__") and hasattr(value, "dtype"):
            yield path, np.asarray(value)  # jax.Array, and others of the array protocol


def modules_of(root: object, *, base: type = object) -> list[nn.Module]:
    """The outermost reachable networks; the object itself if it is one."""
    found: list[nn.Module] = []
    inner: set[int] = set()
    for _, value in _reachable(root, base):
        if isinstance(value, nn.Module) and id(value) not in inner:
            found.append(value)
            inner |= {id(module) for module in value.modules()}
    return found


def tensors_xxh128(root: object, *, base: type = object) -> str | None:
    """XXH3 (128 bits) over the path, dtype, shape and bytes of every reachable tensor and array; None without any."""
    digest, count = xxhash.xxh3_128(), 0
    for path, value in arrays_of(root, base=base):
        array = _bytes_of(value)
        shape, dtype = tuple(value.shape), str(value.dtype).removeprefix("torch.")
        digest.update(f"{path} {dtype} {shape}\n".encode())
        digest.update(array)
        count += 1
    return digest.hexdigest() if count else None


@contextlib.contextmanager
def frozen(root: object, *, base: type = object) -> Iterator[None]:
    """Context with all reachable networks in evaluation mode and all tensors without gradients; restored on exit."""
    modules = [module for outer in modules_of(root, base=base) for module in outer.modules()]
    leaves = [value for _, value in arrays_of(root, base=base) if isinstance(value, Tensor) and value.is_leaf]
    training = [module.training for module in modules]
    gradients = [leaf.requires_grad for leaf in leaves]
    try:
        for module in modules:
            module.training = False
        for leaf in leaves:
            leaf.requires_grad_(False)
        yield
    finally:
        for module, mode in zip(modules, training, strict=True):
            module.training = mode
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.requires_grad_(gradient)


def move_frozen(root: object, device: torch.device, *, base: type = object) -> None:
    """Moves all reachable networks to a device, in evaluation mode and without gradients.

    Plain tensors outside of networks are not moved.
    """
    for module in modules_of(root, base=base):
        # Called on nn.Module: an encoder that is itself an nn.Module overrides `to`.
        nn.Module.to(module, device)
        nn.Module.train(module, False)
        nn.Module.requires_grad_(module, False)


def _bytes_of(value: Tensor | np.ndarray) -> memoryview:
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8).data


def _reachable(root: object, base: type) -> Iterator[tuple[str, object]]:
    """Depth first, children in the order of their names or positions, every object once."""
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [("", root)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, _ATOMS) or id(value) in seen:
            continue
        seen.add(id(value))
        yield path, value
        if isinstance(value, Tensor | np.ndarray):
            continue
        children = [(f"{path}.{name}" if path else name, child) for name, child in _children(value, base)]
        waiting.extend(reversed(children))


def _children(value: Any, base: type) -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [(str(key), value[key]) for key in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [(str(index), element) for index, element in enumerate(value)]
    if isinstance(value, set | frozenset):
        return [(str(index), element) for index, element in enumerate(sorted(value, key=repr))]
    if isinstance(value, functools.partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if isinstance(value, types.MethodType):
        return [("__self__", value.__self__), ("__func__", value.__func__)]
    if isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        closure = [(name, cell.cell_contents) for name, cell in cells if _filled(cell)]
        return [*closure, ("__defaults__", value.__defaults__), ("__kwdefaults__", value.__kwdefaults__)]
    if not isinstance(value, nn.Module) and type(value).__module__.partition(".")[0] in _OPAQUE:
        return []
    named = dict(vars(value)) if hasattr(value, "__dict__") else {}
    for slot in (name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())):
        if isinstance(slot, str) and hasattr(value, slot):
            named[slot] = getattr(value, slot)
    if isinstance(value, base):
        for cls in type(value).__mro__:
            if cls is not base and issubclass(cls, base):
                named |= {k: v for k, v in vars(cls).items() if k not in named and isinstance(v, Tensor | np.ndarray)}
    derived = getattr(type(value), "derived", ())
    return sorted((item for item in named.items() if item[0] not in derived), key=lambda item: item[0])


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
