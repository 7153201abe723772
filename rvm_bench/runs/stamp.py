"""The stamp of a result: code version, libraries, hardware, time and memory."""

import dataclasses
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

STAMPED = ("torch", "numpy", "scipy", "opencv-python-headless", "Pillow", "safetensors", "av")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stamp:
    """How a score was obtained; "stamp" in result.json.

    Attributes:
        fingerprint: of the run.
        description: what the fingerprint covers, see `fingerprint.describe_run`.
        requested: what was asked for, as given: model, weights, options, data, protocol preset and overrides.
        weights_source: provenance of the weights (`Provenance.to_dict` without its sha256).
        data_root: folder of the data.
        code, environment: see `code_version` and `environment`.
        finished: time at which the result was written, UTC.
        wall_s: seconds, summed over videos.
        peak_memory_mb: kind of memory -> maximum over videos, in MiB.
    """

    fingerprint: str
    description: Mapping[str, Any]
    requested: Mapping[str, Any]
    weights_source: Mapping[str, Any]
    data_root: str
    code: Mapping[str, Any]
    environment: Mapping[str, Any]
    finished: str
    wall_s: float
    peak_memory_mb: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the entries of `description` are on the same level as the other fields."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        description = fields.pop("description")
        return {"fingerprint": fields.pop("fingerprint"), **description, **fields}


def code_version() -> dict[str, Any]:
    """The package's version and, in a git checkout, the commit and whether tracked or new source differs from it."""
    checkout = Path(__file__).resolve().parents[2]
    commit = _git(checkout, "rev-parse", "HEAD") if (checkout / ".git").exists() else None
    status = _git(checkout, "status", "--porcelain") if commit else None
    return {
        "version": version("rvm-bench"),
        "commit": commit,
        "dirty": None if status is None else bool(status),
    }


def environment(device: str) -> dict[str, Any]:
    """Library versions, processor, accelerator and threads of this process."""
    import torch

    cuda = device == "cuda"
    return {
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in STAMPED},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        "tf32": torch.backends.cuda.matmul.allow_tf32 if cuda else None,
        "plugins": _plugins(),
    }


def peak_memory_mb(device: str) -> dict[str, float]:
    """Peak memory of this process since its start, in MiB: "resident" and, on CUDA, "accelerator"."""
    import torch

    scale = 1 if sys.platform == "darwin" else 1024
    peak = {"resident": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20, 1)}
    if device == "cuda":
        peak["accelerator"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return peak


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _plugins() -> dict[str, str]:
    """Name and version of the other installed distributions with entry points for models or tasks."""
    groups = {f"rvm_bench.{kind}" for kind in ("models", "sources", "files", "tasks")}
    return {
        d.name: d.version
        for d in distributions()
        if d.name != "rvm-bench" and any(e.group in groups for e in d.entry_points)
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
