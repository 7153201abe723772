"""Models and tasks by name: entry points, `source:reference`, `module:factory`, or a file.

Nothing is imported until it is asked for. Three groups of entry points, in which ours are declared like anyone's:

    rvm_bench.models    name -> a `card.Model`, or any callable that returns an `Encoder`
    rvm_bench.sources   name -> a callable (reference, ...) -> `Encoder`; `hf` makes `hf:facebook/dinov2-small` a model
    rvm_bench.tasks     name -> a `Task` class

A source is called with what follows its name and the first colon (any text: a repository, a path), and by keyword with
those arguments of `load_encoder` that its signature has: `weights`, `device`, `dtype`, and options of its own.
"""

import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvm_bench.api.card import Model
from rvm_bench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from rvm_bench.api.encoder import Encoder
    from rvm_bench.api.task import Task


def model_names() -> list[str]:
    return sorted(_entries("models"))


def task_names() -> list[str]:
    return sorted(_entries("tasks"))


def find_model(name: str) -> Callable[..., Any]:
    """What builds a model: its `card.Model`, or the plug-in's factory.

    Args:
        name: a registered name, "source:reference" of a registered source, "package.module:factory",
            "path/to/file.py:factory", or a checkpoint in RVM's format ("path/to/file.npz").

    Raises:
        UserError: unknown name (the nearest are offered), or a plug-in that cannot be imported.
    """
    prefix, colon, reference = name.partition(":")
    sources = _entries("sources")
    if colon and prefix in sources:
        if not reference:
            raise UserError(f"--model {name} names nothing; expected {prefix}:NAME, e.g. a repository or a folder")
        return functools.partial(_load(sources[prefix]), reference)
    if colon:
        return _import_plugin(name)
    entries = _entries("models")
    if name.endswith(".npz"):
        name = "rvm"
    if name not in entries:
        raise unknown_name("model", name, entries)
    return _load(entries[name])


def find_task(
    name: str, *, data: str | Path | None = None, preset: str | None = None, overrides: Sequence[str] = ()
) -> "Task":
    """The task of a registered name.

    Args:
        name: as `task_names` gives it.
        data: what the task will be opened on; "demo" chooses by itself the preset for demo data, where there is one.
        preset: a preset of its protocol; None for the official one.
        overrides: other values for single constants, as "topk=5"; see `overrides.override`.

    Raises:
        UserError: an unknown task, preset or constant (the nearest are offered), or a value that is refused.
    """
    from rvm_bench.api.overrides import override
    from rvm_bench.fetch.locate import DEMO

    entries = _entries("tasks")
    if name not in entries:
        raise unknown_name("task", name, entries)
    task = _load(entries[name])()
    if preset is None and str(data) == DEMO and DEMO in task.presets:
        preset = DEMO
    if preset is not None:
        if preset not in task.presets:
            raise unknown_name(f"protocol of {name}", preset, task.presets)
        task.protocol = task.presets[preset]()
    task.protocol = override(task.protocol, overrides)
    return task


def load_encoder(
    name_or_path: str,
    weights: str | Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    **options: Any,
) -> "Encoder":
    """A frozen encoder, ready to `encode` videos.

    Args:
        name_or_path: as `find_model` takes it.
        weights: a checkpoint file, "random" for an untrained network (stamped as such), or None for the released
            checkpoint in the cache (`rvm-bench weights fetch NAME` puts it there).
        device: "cpu", "cuda", "cuda:1", ...; None takes CUDA where there is one.
        dtype: "float32" (the reference, default) or "bfloat16" (several times slower on CPUs without bf16 units).
        **options: the family's own, e.g. `seed` with random weights or `chunk` frames per batch.

    Returns:
        an encoder; `encode(uint8 [T, H, W, 3]) -> float32 [T, h, w, D]`.

    Raises:
        UserError: an unknown name or option, missing or mismatched weights, an unusable device.
    """
    from rvm_bench.api.encoder import Encoder

    factory = find_model(name_or_path)
    if name_or_path.endswith(".npz"):
        if weights is not None:
            raise UserError(f"{name_or_path} is itself a checkpoint; leave out weights={weights}")
        weights = name_or_path
    device = _usable_device(device)
    dtype = str(dtype or "float32").removeprefix("torch.")
    if dtype not in ("float32", "bfloat16"):
        raise unknown_name("dtype", dtype, ["float32", "bfloat16"])
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
    return encoder.to(device)


def _usable_device(device: str | None) -> str:
    """The device by name, or CUDA where there is one; UserError where this torch cannot compute on it."""
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
    """Those of our arguments that a plug-in's factory takes; weights or a dtype that it cannot have are an error."""
    parameters = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return wanted
    defaults = {"weights": None, "dtype": "float32"}
    for key, default in defaults.items():
        if key not in parameters and wanted[key] not in (default, "random"):
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


def _entries(kind: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=f"rvm_bench.{kind}")}


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"{entry.name} ({entry.value}) cannot be imported: {error}") from error


def _import_plugin(name: str) -> Callable[..., Any]:
    """The factory of "package.module:factory" (also looked for in the working directory) or "file.py:factory"."""
    place, _, attribute = name.rpartition(":")
    if place.endswith(".py"):
        module = _import_file(Path(place))
    else:
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise UserError(
                f"cannot import {place!r} for --model {name}: {error}; is it installed, or here? "
                f"(sources of models: {', '.join(sorted(_entries('sources')))})"
            ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        offered = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"factory in {place}", attribute, offered)
    return factory


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"no such file: {path} (expected --model path/to/file.py:factory)")
    name = f"rvm_bench_plugin_{path.stem}"
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path.resolve()):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        del sys.modules[name]
        raise UserError(f"{path} cannot be imported: {error}; install what it needs") from error
    return module
