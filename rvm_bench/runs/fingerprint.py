"""The identity of a run: all that can change its number, written down as JSON values and hashed.

| part | what it holds |
|---|---|
| task | name, class and every constant of the protocol |
| encoder | card, class, options, dtype, chunk, layer; the options it was asked for; every tensor that computes |
| data | hash over names, sizes and contents of the files, relative to the data's root |
| code | source files behind encoder, task and algorithm, by their import statements |
| numerics | versions that decode, resize, multiply and select; device; precision of products; threads of a fit |

It is computed anew by every `evaluate`. Names and contents go into it, never paths, addresses or messages.
"""

import hashlib
import inspect
import json
import os
import sys
import uuid
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvm_bench.formats.hashes import file_sha256
from rvm_bench.formats.source_code import closure

if TYPE_CHECKING:
    from rvm_bench.api.encoder import Encoder
    from rvm_bench.api.task import Dataset, Task

SCHEMA = 1
"""Version of the format of records and of result.json; raise it if the meaning of either changes."""

LIBRARIES = ("torch", "numpy", "scipy", "opencv-python-headless", "Pillow", "av")
"""Distributions whose version can move a number: they decode, resize, multiply and select."""
JAX_LIBRARIES = ("jax", "jaxlib", "flax")
"""The same for an encoder that computes in JAX."""

DOES_NOT_COMPUTE = (
    "rvm_bench.cli",
    "rvm_bench.demo",
    "rvm_bench.doctor",
    "rvm_bench.errors",
    "rvm_bench.fetch",
    "rvm_bench.figures",
    "rvm_bench.procedural",
    "rvm_bench.profiling",
    "rvm_bench.report",
    "rvm_bench.runs",
    "rvm_bench.tables",
    "rvm_bench.viz",
)
"""Rooms that a task or an encoder may import and that no number comes from: they write, show, fetch and store. Demo
data is covered by its files."""


def describe_run(encoder: "Encoder", task: "Task", dataset: "Dataset") -> dict[str, Any]:
    """The identity of a run.

    Not covered: the model of the processor, so that shards may come from several machines. Its rounding may differ in
    the last bits, and the stamp names it.
    """
    from rvm_bench.api.task import FitsHeads

    return {
        "schema": SCHEMA,
        "task": task.describe(),
        "encoder": encoder.describe(),
        "data": {"manifest_sha256": dataset.manifest_sha256, "missing": names_of(dataset.coverage.missing)},
        "code_sha256": code_sha256(code_of(encoder) | code_of(task)),
        "numerics": numerics(encoder, fits=isinstance(task, FitsHeads)),
    }


def names_of(missing: Iterable[str]) -> list[str]:
    """The names in lines such as "scene0011_00: /data/scans/... is cut short"; why and where is no part of a run."""
    return sorted({Path(line.partition(": ")[0]).name for line in missing})


def numerics(encoder: "Encoder", *, fits: bool = False) -> dict[str, Any]:
    """Versions, device and precision that an encoder computes with.

    Args:
        encoder: on its device.
        fits: whether a head is fitted too. The sums of a fit depend on the number of processes and, on a CPU, of
            threads.
    """
    import torch

    kind = encoder.device.type
    names = LIBRARIES + (JAX_LIBRARIES if uses_jax(encoder) else ())
    found: dict[str, Any] = {
        "libraries": {name: _version(name) for name in names},
        "device": kind,
        "float32_products": torch.get_float32_matmul_precision(),
    }
    if kind == "cuda":
        found["cuda"] = {
            "build": torch.version.cuda,
            "device": torch.cuda.get_device_name(encoder.device),
            "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        }
    if fits:
        found["processes"] = int(os.environ.get("WORLD_SIZE", "1"))
        if kind == "cpu":
            found["threads"] = torch.get_num_threads()
    return found


def numerics_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """`numerics` as a run's description states it; earlier versions stated less, and elsewhere."""
    if "numerics" in description:
        return description["numerics"]
    return {"libraries": description["libraries"], "device": description["device"]}


def uses_jax(encoder: "Encoder") -> bool:
    """Whether an encoder computes in JAX, by the modules of its class."""
    return any(name.partition(".")[0] == "jax" or ".jax." in name for name in encoder.modules)


def fingerprint(description: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of a description: the order of keys does not matter."""
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def code_of(thing: Any) -> set[str | type]:
    """Where the code of an encoder, a task or any object begins: modules of its classes and of its factory.

    A class that is in no file, as in a notebook, stands for itself.
    """
    classes = [cls for cls in type(thing).__mro__ if cls.__module__ not in ("builtins", "abc", "typing")]
    begins: set[str | type] = {cls.__module__ if _has_file(cls.__module__) else cls for cls in classes}
    return begins | set(getattr(thing, "modules", ()))


def code_sha256(begins: Iterable[str | type]) -> str:
    """Hash over the source files that the given modules reach by imports, and over classes without a file.

    Where the code of a class cannot be had, the hash is another one every time, so that nothing is ever reused.
    """
    begins = list(begins)
    files = closure((name for name in begins if isinstance(name, str)), without=DOES_NOT_COMPUTE)
    lines = [f"{name} {file_sha256(file)}" for name, file in sorted(files.items())]
    texts = sorted(_class_text(cls) for cls in begins if isinstance(cls, type))
    return hashlib.sha256("\n".join([*lines, *texts]).encode()).hexdigest()


def _has_file(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and Path(file).is_file()


def _class_text(cls: type) -> str:
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):
        return uuid.uuid4().hex


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
