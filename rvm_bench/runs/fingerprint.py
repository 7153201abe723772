"""What can change a number, written down and hashed: the identity of a run."""

import hashlib
import inspect
import json
import sys
import uuid
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rvm_bench.api.encoder import Encoder
    from rvm_bench.api.task import Dataset, Task
from rvm_bench.formats.hashes import file_sha256, package_sha256

SCHEMA = 1
"""Version of the records and of result.json. Raise it when either changes its meaning."""

LIBRARIES = ("torch", "numpy", "opencv-python-headless", "Pillow", "av")
"""Distributions whose version can move a number: they decode, resize, multiply and select."""


def describe_run(encoder: "Encoder", task: "Task", dataset: "Dataset") -> dict[str, Any]:
    """All that can change the number of a run, as JSON values.

    Covers the schema, the task's protocol, the encoder's card, options, dtype and weights hash, the hash of every data
    file, the source code of encoder and task, the versions of the numerical libraries and the kind of device. Not
    covered: the model of the processor, so that shards of one run may come from several machines; its rounding may
    differ in the last bits and the stamp names it.
    """
    from rvm_bench.api.encoder import Encoder

    return {
        "schema": SCHEMA,
        "task": task.describe(),
        "encoder": encoder.describe(),
        "data": {"manifest_sha256": dataset.manifest_sha256, "missing": list(dataset.coverage.missing)},
        "code_sha256": source_sha256([Encoder, type(task), type(encoder)]),
        "libraries": {name: version(name) for name in LIBRARIES},
        "device": encoder.device.type,
    }


def fingerprint(description: dict[str, Any]) -> str:
    """sha256 of the canonical JSON of a description."""
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def source_sha256(classes: Sequence[type]) -> str:
    """Hash of the source code behind classes: of their whole top-level package, or of their one file.

    A class typed into a notebook is hashed by its own text; where even that cannot be had, the hash is different every
    time, so that nothing is ever reused.
    """
    digest = hashlib.sha256()
    for root in sorted({root for cls in classes if (root := _root_module(cls))}):
        path = Path(str(sys.modules[root].__file__))
        content = package_sha256(path.parent) if path.name == "__init__.py" else file_sha256(path)
        digest.update(f"{root} {content}\n".encode())
    for cls in classes:
        if _root_module(cls) is None:
            digest.update(_class_text(cls).encode())
    return digest.hexdigest()


def _root_module(cls: type) -> str | None:
    """The outermost module around a class that is a file (a namespace package is not); None in a notebook."""
    parts = cls.__module__.split(".")
    names = (".".join(parts[: i + 1]) for i in range(len(parts)))
    return next((name for name in names if getattr(sys.modules.get(name), "__file__", None)), None)


def _class_text(cls: type) -> str:
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):
        return uuid.uuid4().hex
