"""The folder of one fit, which survives being killed at any point.

identity.json           all that can change the readout; a fit of another identity is refused
checkpoint.safetensors  parameters, moments and counters at some step; replaced as a whole, gone when all is done
log.jsonl               loss and learning rate of every replica; the same bytes whether a fit was interrupted or not
timings.jsonl           one line per call: when, from and to which step, and how fast
tensorboard/            the same as the log, to look at
readout.safetensors     the chosen readout under the released names
fit.json                every replica's held-out score, the choice and its rule, time and speed
"""

import json
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from readouts.integrity import checksum, save_atomically
from rvm_bench.errors import UserError
from rvm_bench.fingerprint import file_sha256, fingerprint
from rvm_bench.store import lock, read_json, whole_lines, write_atomically, write_json

CHECKPOINT, LOG, READOUT, SUMMARY = "checkpoint.safetensors", "log.jsonl", "readout.safetensors", "fit.json"


class FitFolder:
    """What a fit keeps on disk. A context: it is locked, and its files are open, while one is in it.

    Args:
        path: the folder.
        identity: all that can change the readout, as JSON values.
        writes: whether this process writes; the others of a distributed fit only read.

    Raises:
        UserError: the folder holds a fit of another identity (it says in what they differ), or another process has it.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], *, writes: bool = True) -> None:
        self.path, self.identity, self.writes = path, dict(identity), writes
        self.fingerprint = fingerprint(self.identity)
        self._lock: IO[bytes] | None = None
        self._log: IO[str] | None = None
        self._board: Any = None

    def __enter__(self) -> "FitFolder":
        if self.writes:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("ab")
            try:
                lock(self._lock, f"{self.path} is being fitted by another process; wait for it")
                self._check_identity()
                for unfinished in self.path.glob(f".{CHECKPOINT}.*"):
                    unfinished.unlink()
            except BaseException:
                self._lock.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        for open_file in (self._log, self._board, self._lock):
            if open_file is not None:
                open_file.close()

    def finished(self) -> dict[str, Any] | None:
        """What fit.json says, where the fit is done.

        Raises:
            UserError: the readout beside it is missing or damaged.
        """
        if not (self.path / SUMMARY).exists():
            return None
        summary = read_json(self.path / SUMMARY)
        readout = self.path / READOUT
        if not readout.exists() or file_sha256(readout) != summary["readout_sha256"]:
            raise UserError(f"{readout} is missing or damaged; delete {self.path} and fit again")
        return summary

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and facts of the last checkpoint, or None.

        Raises:
            UserError: it is damaged, or was made under another identity.
        """
        from safetensors import SafetensorError, safe_open

        file = self.path / CHECKPOINT
        if not file.exists():
            return None
        try:
            with safe_open(file, "pt") as content:
                facts = json.loads(content.metadata()["rvm_bench"])
                tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
            sound = facts["checksum"] == _checksum(tensors)
        except (SafetensorError, KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise UserError(f"{file} is damaged; delete it to fit from the start")
        if facts["identity"] != self.fingerprint:
            raise UserError(f"{file} is of another fit ({facts['identity'][:12]}, not {self.fingerprint[:12]})")
        return tensors, facts

    def save(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Replaces the checkpoint; the log is on the disk before it."""
        if self._log is not None:
            self._log.flush()
            os.fsync(self._log.fileno())
        tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
        facts = {**facts, "identity": self.fingerprint, "checksum": _checksum(tensors)}
        save_atomically(self.path / CHECKPOINT, tensors, facts)

    def open_log(self, step: int, *, board: bool) -> None:
        """Opens the log, cut back to what it said at this step, to go on from there."""
        file = self.path / LOG
        kept = [line for line in whole_lines(file) if json.loads(line)["step"] <= step]
        write_atomically(file, "".join(line + "\n" for line in kept))
        self._log = file.open("a", encoding="utf-8")
        if board:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(self.path / "tensorboard", purge_step=step + 1)

    def log(self, step: int, names: Sequence[str], losses: Sequence[float | None], rates: Sequence[float]) -> None:
        """Appends one line, in the order of the replicas; a loss is None where it is not finite."""
        assert self._log is not None
        self._log.write(json.dumps({"step": step, "loss": list(losses), "learning_rate": list(rates)}) + "\n")
        self._log.flush()
        if self._board is not None:
            for name, loss, rate in zip(names, losses, rates, strict=True):
                if loss is not None:
                    self._board.add_scalar(f"loss/{name}", loss, step)
                self._board.add_scalar(f"learning_rate/{name}", rate, step)

    def add_timing(self, timing: Mapping[str, Any]) -> None:
        """Appends a line on this call: what may differ from call to call stays out of the log."""
        with (self.path / "timings.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(timing)) + "\n")

    def finish(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Writes the readout and then the summary, which makes the fit a finished one, and drops the checkpoint."""
        save_atomically(self.path / READOUT, tensors, facts)
        sha256 = file_sha256(self.path / READOUT)
        write_json(self.path / SUMMARY, {"identity": self.fingerprint, **summary, "readout_sha256": sha256})
        (self.path / CHECKPOINT).unlink(missing_ok=True)

    def check_room(self, size: int) -> None:
        """Raises UserError where two checkpoints of this size do not fit on the disk."""
        free = shutil.disk_usage(self.path).free
        if 2 * size > free:
            raise UserError(f"{self.path}: two checkpoints need {2 * size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free")

    def _check_identity(self) -> None:
        file = self.path / "identity.json"
        if not file.exists():
            write_json(file, self.identity)
            return
        found = read_json(file)
        if fingerprint(found) != self.fingerprint:
            before, now = _leaves(found), _leaves(self.identity)
            names = [name for name in sorted(before | now) if before.get(name) != now.get(name)]
            told = [f"{name} {before.get(name)} -> {now.get(name)}" for name in names[:4]]
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            raise UserError(f"{self.path} holds another fit: {', '.join(told)}{more}; use another folder")


def _leaves(value: Any, name: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {k: v for key in value for k, v in _leaves(value[key], f"{name}.{key}".lstrip(".")).items()}
    return {name: json.dumps(value)}


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    total = 0
    for name in sorted(tensors):
        content = tensors[name].contiguous().numpy()
        total = zlib.crc32(f"{name} {content.shape} {checksum(content.reshape(-1).view('uint8').data)}".encode(), total)
    return total
