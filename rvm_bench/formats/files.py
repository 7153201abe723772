"""Files that a kill leaves whole: replaced atomically, JSON, appended lines of JSON, and locks."""

import json
import os
from pathlib import Path
from typing import IO, Any

from rvm_bench.errors import UserError


class Appender:
    """Appends one JSON line at a time; a line is on the disk before `append` returns."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def append(self, record: dict[str, Any]) -> None:
        self.append_line(json.dumps(record, ensure_ascii=False, allow_nan=False))

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
    return [line.decode() for line in content.split(b"\n")[:-1]]


def cut_torn_line(file: IO[bytes]) -> None:
    """Cuts off a last line that has no end: a killed process wrote it, and it will be written again."""
    file.seek(0)
    content = file.read()
    file.truncate(content.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{file} is not JSON ({error}); delete it and run again") from None


def write_json(file: Path, value: dict[str, Any]) -> None:
    write_atomically(file, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_atomically(file: Path, content: str | bytes) -> None:
    """Writes a file (text as UTF-8) so that a reader, or a kill, sees the old content or the new one and nothing
    between; its folder is made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with temporary.open("wb") as handle:
        handle.write(content.encode() if isinstance(content, str) else content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(file)


def lock(file: IO[bytes], message: str, *, wait: bool = False) -> None:
    """Takes an exclusive lock that ends with the process, however it ends."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(message) from None
