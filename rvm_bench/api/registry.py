"""Models and tasks by name: entry points, `source:reference`, `module:factory`, or a file.

Plug-ins are imported on first use. Four groups of entry points, in which ours are declared like a third party's:

    rvm_bench.models    name -> a `card.Model`, or any callable that returns an `Encoder`
    rvm_bench.sources   name -> a callable (reference, ...) -> `Encoder`: `hf` resolves `hf:facebook/dinov2-small`
    rvm_bench.files     suffix -> a `card.Model` that loads such checkpoints: `npz` resolves `weights.npz`
    rvm_bench.tasks     name -> a `Task` class

A source is called with the text after the first colon (a repository, a path) and, by keyword, with those arguments of
`load_encoder` that its signature has: `weights`, `device`, `dtype`, and options of its own.
"""

import dataclasses
import fnmatch
import functools
import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvm_bench.api.card import Model
from rvm_bench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from rvm_bench.api.task import Task

logger = logging.getLogger(__name__)

OURS = "rvm-bench"
"""The distribution whose names nobody else can take."""


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a pattern such as "dinov2-*", sorted."""
    return sorted(fnmatch.filter(_entries("models"), pattern))


def list_tasks(pattern: str = "*") -> list[str]:
    """Names of the registered tasks that match a pattern, sorted."""
    return sorted(fnmatch.filter(_entries("tasks"), pattern))


def model_of_file(name: str) -> str | None:
    """The entry point in `rvm_bench.files` for a checkpoint such as "weights.npz"; None for any other name."""
    suffix = Path(name).suffix.removeprefix(".")
    files = _entries("files")
    return suffix if ":" not in name and suffix in files else None


def find_model(name: str) -> Callable[..., Any]:
    """The `card.Model` of a name, or the plug-in's factory.

    Args:
        name: a registered name, "source:reference" of a registered source, "package.module:factory",
            "path/to/file.py:factory", or a checkpoint whose suffix a model has registered ("path/to/file.npz").

    Raises:
        UserError: unknown name (the nearest are offered), or a plug-in that cannot be imported.
    """
    prefix, colon, reference = name.partition(":")
    sources = _entries("sources")
    if colon and prefix in sources:
        if not reference:
            raise UserError(f"--model {name}: expected {prefix}:NAME, where NAME is a repository or a folder")
        return functools.partial(_load(sources[prefix]), reference)
    if colon:
        return _import_plugin(name)
    entries = _entries("models")
    if (suffix := model_of_file(name)) is not None:
        return _load_model(_entries("files")[suffix])
    if name not in entries:
        raise unknown_name("model", name, entries)
    return _load_model(entries[name])


def find_task(
    name: str, *, data: str | Path | None = None, preset: str | None = None, overrides: Sequence[str] = ()
) -> "Task":
    """A new instance of a registered task.

    Args:
        name: one of `list_tasks`.
        data: the data that it will be opened on; "demo" selects the preset "demo", if the task has one.
        preset: a preset of its protocol; None for the official one.
        overrides: values for single constants, as "topk=5"; see `overrides.override`.

    Raises:
        UserError: an unknown task, preset or constant (the nearest are offered), or an invalid value.
    """
    from rvm_bench.api.overrides import override
    from rvm_bench.api.task import DEMO

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
    task.requested = {"task": name, "protocol": preset, "overrides": list(overrides)}
    return task


def _entries(kind: str) -> dict[str, EntryPoint]:
    """The entry points of a kind by name. A name of ours that another distribution declares too stays ours.

    Raises:
        UserError: two other distributions declare one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"rvm_bench.{kind}"):
        other = found.setdefault(entry.name, entry)
        if other is entry or (other.value, _distribution(other)) == (entry.value, _distribution(entry)):
            continue
        if OURS not in (_distribution(entry), _distribution(other)):
            raise UserError(
                f"{kind} {entry.name!r} is declared by {_distribution(other)} and by {_distribution(entry)}; uninstall "
                "one of them, or name its module:factory"
            )
        ours, theirs = (other, entry) if _distribution(other) == OURS else (entry, other)
        found[entry.name] = ours
        _warn_once(
            f"{_distribution(theirs)} declares {kind} {entry.name!r}, a name of {OURS}'s: it is ignored; it can be "
            f"named as {theirs.value}"
        )
    return found


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unknown distribution"


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def _load_model(entry: EntryPoint) -> Callable[..., Any]:
    model = _load(entry)
    return dataclasses.replace(model, module=entry.module) if isinstance(model, Model) and not model.module else model


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"{entry.name} ({entry.value}) cannot be imported: {error}") from error


def _import_plugin(name: str) -> Callable[..., Any]:
    """The factory of "package.module:factory" (the working directory is searched too) or "file.py:factory"."""
    target, _, attribute = name.rpartition(":")
    if target.endswith(".py"):
        module = _import_file(Path(target))
    else:
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            module = importlib.import_module(target)
        except ModuleNotFoundError as error:
            raise UserError(
                f"cannot import {target!r} for --model {name}: {error}; install it, or run from its folder "
                f"(sources of models: {', '.join(sorted(_entries('sources')))})"
            ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        offered = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"factory in {target}", attribute, offered)
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
        raise UserError(f"{path} cannot be imported: {error}; install the packages that it needs") from error
    return module
