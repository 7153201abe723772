"""Locating a task's data: the user's copy, or procedural demo data, which is written on first use."""

import os
import shutil
import tempfile
from pathlib import Path

from rvm_bench.api.task import DEMO, Task
from rvm_bench.errors import UserError
from rvm_bench.fetch.weights import cache_folder


def data_folder(task: Task, data: str | Path | None) -> Path:
    """The folder of a task's data.

    Args:
        task: whose data.
        data: "demo"; the data folder; a root that holds it under `task.folder`; None: the root in $RVM_BENCH_DATA.

    Raises:
        UserError: the folder does not exist, or the task has no demo data.
    """
    if str(data) == DEMO:
        return demo_folder(task)
    root = data or os.environ.get("RVM_BENCH_DATA")
    if not root:
        raise UserError(f"no data folder for {task.name}; give --data DIR, set RVM_BENCH_DATA, or try --data demo")
    path = Path(root).expanduser()
    if not path.is_dir():
        raise UserError(f"no such data folder: {path}; give --data DIR, or try --data demo")
    return path / task.folder if (path / task.folder).is_dir() else path


def demo_folder(task: Task) -> Path:
    """The demo data of a task in the cache, written on first use. It is keyed by the code that writes it."""
    from rvm_bench.formats.source_code import closure_sha256, modules_used_by

    version = closure_sha256(modules_used_by(type(task).write_demo))[:12]
    return write_demo(task, cache_folder() / "demo" / version)


def write_demo(task: Task, root: Path) -> Path:
    """Writes the demo data of a task atomically to a folder of its own in `root`, and returns the folder."""
    folder = root / (task.demo_folder or task.folder)
    if folder.exists():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=root))
    try:
        task.write_demo(unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except OSError:
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder
