"""Loading a frozen encoder by name, with its weights, on a device, in a dtype."""

import functools
import importlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvm_bench.api.card import Model
from rvm_bench.api.registry import find_model, model_of_file
from rvm_bench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from rvm_bench.api.encoder import Encoder


def load_encoder(
    name_or_path: str,
    weights: str | Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    **options: Any,
) -> "Encoder":
    """A frozen encoder, ready to `encode` videos.

    Args:
        name_or_path: a registered name, "source:reference", "package.module:factory", "file.py:factory" or a
            checkpoint with a registered suffix.
        weights: a checkpoint file, "random" for an untrained network (stamped as such), or None for the released
            checkpoint in the cache (`rvm-bench weights fetch NAME` downloads it).
        device: "cpu", "cuda", "cuda:1", ...; None: CUDA if available, else CPU.
        dtype: "float32" (the reference, default) or "bfloat16" (several times slower on CPUs without bf16 units).
        **options: `chunk` (frames per forward pass) and the model's own, such as `seed` with random weights.

    Returns:
        an encoder; `encode(uint8 [T, H, W, 3]) -> float32 [T, h, w, D]`.

    Raises:
        UserError: an unknown name or option, missing or mismatched weights, an unusable device.
    """
    from rvm_bench.api.encoder import Encoder

    factory = find_model(name_or_path)
    if model_of_file(name_or_path) is not None:
        if weights is not None:
            raise UserError(f"{name_or_path} is itself a checkpoint; leave out weights={weights}")
        weights = name_or_path
    device = _usable_device(device)
    dtype = str(dtype or "float32").removeprefix("torch.")
    if dtype not in ("float32", "bfloat16"):
        raise unknown_name("dtype", dtype, ["float32", "bfloat16"])
    requested = {
        "model": name_or_path,
        "weights": None if weights is None else str(weights),
        "options": {key: _as_json(key, options[key]) for key in sorted(options)},
    }
    chunk = options.pop("chunk", None)
    if isinstance(factory, Model):
        if factory.takes_weights:
            options["weights"] = str(weights or _released(factory))
        elif weights not in (None, "random"):
            raise UserError(f"model {factory.card.name} has no weights; leave out --weights {weights}")
        options |= {"device": device, "dtype": dtype}
    else:
        wanted = {"weights": weights, "device": device, "dtype": dtype}
        options |= _accepted(factory, name_or_path, wanted)
    _check_options(factory, name_or_path, options)
    encoder = factory(**options)
    if not isinstance(encoder, Encoder):
        raise UserError(f"{name_or_path} returned a {type(encoder).__name__}; expected an rvm_bench Encoder")
    if chunk is not None:
        encoder.chunk = int(chunk)
    encoder.modules, encoder.requested = modules_of_factory(factory), requested
    return encoder.to(device)


def modules_of_factory(factory: Callable[..., Any]) -> tuple[str, ...]:
    """The modules whose code makes an encoder: those of the factory, of a model's card and of its builder."""
    while isinstance(factory, functools.partial):
        factory = factory.func
    made_by = (
        (factory.builder.partition(":")[0], factory.module) if isinstance(factory, Model) else (factory.__module__,)
    )
    return tuple(sorted({name for name in made_by if name}))


def _as_json(key: str, value: Any) -> Any:
    """An option as it enters a run's identity: JSON values as they are, a path by its name."""
    if isinstance(value, Path):
        return value.name
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        raise UserError(
            f"option {key}={value!r} cannot be part of a run's identity; expected a number, text, true, false or a list"
        ) from None


def _usable_device(device: str | None) -> str:
    """The named device, or CUDA if available; UserError if torch cannot allocate on it."""
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {device!r} is not available to this torch; expected cpu, cuda or cuda:N") from error
    return device


def _released(model: Model) -> Path:
    from rvm_bench.fetch.weights import cached_file

    return cached_file(model.card)


def _accepted(factory: Callable[..., Any], name: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """The arguments that the signature of a plug-in's factory has; UserError for weights or a dtype that it lacks."""
    parameters = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return wanted
    defaults = {"weights": None, "dtype": "float32"}
    for key, default in defaults.items():
        if key not in parameters and wanted[key] != default:
            raise UserError(f"{name} takes no argument {key!r}; leave out --{key} {wanted[key]}")
    return {key: value for key, value in wanted.items() if key in parameters and value is not None}


def _check_options(factory: Callable[..., Any], name: str, options: dict[str, Any]) -> None:
    target = factory
    if isinstance(factory, Model):
        module, _, attribute = factory.builder.partition(":")
        target = getattr(importlib.import_module(module), attribute)
    parameters = inspect.signature(target).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            raise unknown_name(f"option of {name}", option, set(parameters) - {"card"})
    given = {"card", *options} if isinstance(factory, Model) else set(options)
    lacking = [
        key
        for key, p in parameters.items()
        if p.default is p.empty and key not in given and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if lacking:
        raise UserError(f"{name} needs {', '.join(lacking)}; give --option {lacking[0]}=VALUE")
