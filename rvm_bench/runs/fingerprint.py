"""The fingerprint of a run: a hash over everything that can change its score."""

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
"""Version of the format of records and of result.json; raise it if the meaning of either changes."""

LIBRARIES = ("torch", "numpy", "opencv-python-headless", "Pillow", "av")
"""Distributions whose version can change a score: decoding, resizing, matrix products, selection."""


def describe_run(encoder: "Encoder", task: "Task", dataset: "Dataset") -> dict[str, Any]:
    """Everything that can change the score of a run, as JSON values.

    Covers the schema, the task's protocol, the encoder's card, options, dtype and weights hash, the hash of every data
    file, the source code of encoder and task, the versions of the numerical libraries and the type of device. The
    processor model is excluded, so that shards of a run may come from several machines; rounding may differ between
    them in the last bits, and the stamp names the processor.
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
    """Hash of the source code of classes: of their whole top-level package, or of their single file.

    A class defined in a notebook is hashed by its own source text. If that is not available either, the hash is random,
    so that no earlier records are reused.
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
    """The outermost module around a class that has a file (namespace packages have none); None in a notebook."""
    parts = cls.__module__.split(".")
    names = (".".join(parts[: i + 1]) for i in range(len(parts)))
    return next((name for name in names if getattr(sys.modules.get(name), "__file__", None)), None)


def _class_text(cls: type) -> str:
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):
        return uuid.uuid4().hex
