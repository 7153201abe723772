"""Files that a kill leaves whole: replaced atomically, JSON, appended lines of JSON, and locks."""

import contextlib
import errno
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import filelock

from rvm_bench.errors import UserError

_TEMPORARY = ".tmp"
_A_DAY_S = 86_400


class Appender:
    """Appends one JSON line at a time; a line is on the disk before `append` returns it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def append(self, record: dict[str, Any]) -> str:
        line = json.dumps(record, ensure_ascii=False, allow_nan=False)
        self.append_line(line)
        return line

    def append_line(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def whole_lines(file: Path) -> list[str]:
    """The finished lines of a file (none where there is no file); a last line without its end is left out."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        # Not "if exists": another shard that finishes may merge this file away in between.
        return []
    lines = content.split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        try:
            line.decode()
        except UnicodeDecodeError:
            raise UserError(f"{file}:{number} is damaged (not UTF-8); delete the line and run again") from None
    return [line.decode() for line in lines]


def cut_torn_line(file: IO[bytes]) -> None:
    """Cuts off a last line that has no end: a killed process wrote it, and it will be written again."""
    file.seek(0)
    content = file.read()
    file.truncate(content.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def json_lines(file: Path, *keys: str) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, none where there is no file; a last line without its end is left out.

    Raises:
        UserError: a line is no JSON object, or lacks one of the keys.
    """
    found = []
    for number, line in enumerate(whole_lines(file), 1):
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict) or any(key not in value for key in keys):
            raise UserError(f"{file}:{number} is damaged ({shortened(line, 60)}); delete the line and run again")
        found.append(value)
    return found


def read_json(file: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        UserError: it is not UTF-8, not JSON, or not an object.
    """
    try:
        value = json.loads(file.read_bytes())
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({shortened(error)}); delete it and run again") from None
    if not isinstance(value, dict):
        raise UserError(f"{file} holds a JSON {type(value).__name__}, expected an object; delete it and run again")
    return value


def write_json(file: Path, value: dict[str, Any]) -> None:
    write_atomically(file, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_atomically(file: Path, content: str | bytes) -> None:
    """Writes a file (text as UTF-8) so that a reader, also after a kill, sees the old content or the new one.

    Its folder is made if need be.

    Raises:
        UserError: the disk is full.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(file)
    try:
        with temporary.open("wb") as handle:
            handle.write(content.encode() if isinstance(content, str) else content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_full(error, file) from error


def temporary_name(file: Path) -> Path:
    """A hidden name beside a file, for writing it: random, as hosts that share a folder may share process numbers."""
    return file.with_name(f".{file.name}.{uuid.uuid4().hex}{_TEMPORARY}")


def sweep(folder: Path) -> None:
    """Removes what killed processes left half written in a folder, once it is older than a day."""
    for file in folder.glob(f".*{_TEMPORARY}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > _A_DAY_S:
                file.unlink()


def disk_full(error: OSError, file: Path) -> Exception:
    """The error to raise for one that came while a file was written: one line where the disk is full."""
    if error.errno == errno.ENOSPC:
        return UserError(f"{file}: the disk is full; make room and run again, nothing that was written before is lost")
    return error


def shortened(text: object, most: int = 200) -> str:
    """A text on one line, cut where it is long: messages of parsers may quote a whole file."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[:most]}..."


@contextlib.contextmanager
def locked(file: Path, message: str, *, wait: bool = False) -> Iterator[None]:
    """An exclusive lock that ends with the process, however it ends.

    Args:
        file: the lock's own file; it stays, empty.
        message: of the error, where another process has the lock.
        wait: whether to wait for that process instead.

    Raises:
        UserError: another process has the lock.
    """
    lock = filelock.FileLock(file, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(message) from None
    try:
        yield
    finally:
        lock.release()
