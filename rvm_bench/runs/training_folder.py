"""The folder of something that is trained: of one identity, owned by one process at a time, with a log.

identity.json   all that can change the result; another identity is refused
log.jsonl       what was computed, step by step; the same bytes whether the training was interrupted or not
timings.jsonl   how fast it went: what may differ from call to call
tensorboard/    the same, to look at
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Self

from rvm_bench.errors import UserError
from rvm_bench.formats.files import locked, read_json, sweep, whole_lines, write_atomically, write_json
from rvm_bench.runs.fingerprint import fingerprint

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

LOG, TIMINGS = "log.jsonl", "timings.jsonl"


class TrainingFolder:
    """What a training keeps on disk. A context: it is locked, and its files are open, while one is in it.

    Args:
        path: the folder.
        identity: all that can change the result, as JSON values.
        writes: whether this process writes; the others of a distributed training only read.

    Raises:
        UserError: the folder holds a training of another identity (it says in what they differ), or another process
            has it.
    """

    kind: ClassVar[str] = "training"

    def __init__(self, path: Path, identity: Mapping[str, Any], *, writes: bool = True) -> None:
        self.path, self.identity, self.writes = path, dict(identity), writes
        self.fingerprint = fingerprint(self.identity)
        self._locked = contextlib.ExitStack()
        self._log: IO[str] | None = None
        self._board: Any = None

    def __enter__(self) -> Self:
        if self.writes:
            self.path.mkdir(parents=True, exist_ok=True)
            self._locked.enter_context(
                locked(self.path / ".lock", f"{self.path} is in use by another process; wait for it")
            )
            try:
                self._check_identity()
                self._clear()
                sweep(self.path)
            except BaseException:
                self._locked.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        for open_file in (self._log, self._board):
            if open_file is not None:
                open_file.close()
        self._locked.close()

    def open_log(self, step: int, *, board: bool) -> None:
        """Opens the log, cut back to what it said at this step, to go on from there."""
        file = self.path / LOG
        lines = [line for line in whole_lines(file) if json.loads(line)["step"] <= step]
        write_atomically(file, "".join(line + "\n" for line in lines))
        self._log = file.open("a", encoding="utf-8")
        if board:
            self._board = _tensorboard(self.path / "tensorboard", step)

    def write_line(self, step: int, values: Mapping[str, Any], scalars: Mapping[str, float]) -> None:
        """Appends a line to the log, and scalars under their names to what TensorBoard shows."""
        assert self._log is not None
        self._log.write(json.dumps({"step": step, **values}) + "\n")
        self._log.flush()
        if self._board is not None:
            for name, value in scalars.items():
                self._board.add_scalar(name, value, step)

    def show(self, name: str, picture: "np.ndarray", step: int) -> None:
        """Adds a picture, uint8 RGB [h, w, 3], to what TensorBoard shows."""
        if self._board is not None:
            self._board.add_image(name, picture, step, dataformats="HWC")

    def sync_log(self) -> None:
        """Waits until the log is on the disk."""
        if self._log is not None:
            self._log.flush()
            os.fsync(self._log.fileno())

    def add_timing(self, timing: Mapping[str, Any]) -> None:
        """Appends a line to the timings."""
        with (self.path / TIMINGS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(timing)) + "\n")

    def require_disk_space(self, size: int, copies: int = 2) -> None:
        """Raises UserError where so many checkpoints of `size` bytes do not fit on the disk."""
        free = shutil.disk_usage(self.path).free
        if copies * size > free:
            raise UserError(
                f"{self.path}: {copies} checkpoints need {copies * size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
            )

    def _clear(self) -> None:
        """Removes what an interrupted process left unfinished."""

    def _check_identity(self) -> None:
        file = self.path / "identity.json"
        if not file.exists():
            write_json(file, self.identity)
            return
        found = read_json(file)
        if fingerprint(found) != self.fingerprint:
            before, now = _leaves(found), _leaves(self.identity)
            names = [name for name in sorted(before | now) if before.get(name) != now.get(name)]
            changes = [f"{name} {before.get(name)} -> {now.get(name)}" for name in names[:4]]
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            raise UserError(f"{self.path} holds another {self.kind}: {', '.join(changes)}{more}; use another folder")


def _tensorboard(folder: Path, step: int) -> Any:
    """A TensorBoard writer that goes on after a step; None, and one line, where the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.info("no TensorBoard log: tensorboard is not installed (pip install 'rvm-bench[tensorboard]')")
        return None
    return SummaryWriter(folder, purge_step=step + 1)


def _leaves(value: Any, name: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {k: v for key in value for k, v in _leaves(value[key], f"{name}.{key}".lstrip(".")).items()}
    return {name: json.dumps(value)}
