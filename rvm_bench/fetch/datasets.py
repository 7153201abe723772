"""The data of a task, downloaded from its public source and unpacked into the official layout.

    <out>/<archive>          what was downloaded; it may be deleted afterwards
    <out>/<archive>.json     its size and hash at the first download
    <out>/<task.folder>      the data, whole or not there

An archive is not trusted: whatever in it points outside of its folder, or is no plain file, is refused before anything
is written. It is unpacked beside the place where it belongs and renamed at the end, so that a kill leaves no half copy.
"""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from rvm_bench.api.task import DataSource, Task
from rvm_bench.errors import UserError
from rvm_bench.fetch.download import check_hash, download, require_space
from rvm_bench.formats.files import locked

COMPANIONS = ("__MACOSX", ".DS_Store")
"""What some archivers leave beside the data."""

_AGAIN = "run the same command"
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


def source_of(task: Task[Any]) -> DataSource:
    """Where a task's data comes from, or UserError where it cannot be had by a plain download."""
    if task.source is None:
        raise UserError(
            f"the data of {task.name} cannot be downloaded by a command; see its documentation, put it at "
            f"DIR/{task.folder}, and verify it with `rvm-bench data check {task.name} --data DIR`"
        )
    return task.source


def prepare(task: Task[Any], out: Path) -> Path:
    """Downloads and unpacks a task's data to `out`/`task.folder`, whole or not at all, and returns that folder.

    An archive that is at `out` already is verified against its record and used. Call it only once the user has agreed
    to `source_of(task).licence`, and where the folder is not there yet.

    Raises:
        UserError: no network, no room, another process at work, an archive that is damaged or not what it should be, or
            a folder that is there already.
    """
    source, folder = source_of(task), out / task.folder
    if folder.exists():
        raise UserError(f"{folder} is there already and is not overwritten; name another --out, or move it away")
    out.mkdir(parents=True, exist_ok=True)
    busy = f"{source.archive} is being prepared in {out} by another process; wait for it"
    with locked(out / f".{source.archive}.lock", busy):
        archive = _fetch(task, source, out)
        _unpack(archive, source.inside, folder)
    return folder


def _fetch(task: Task[Any], source: DataSource, out: Path) -> Path:
    archive = out / source.archive
    if not archive.exists():
        part = archive.with_name(archive.name + ".part")
        by_hand = (
            f"get the data by hand ({source.homepage}): put the archive at {archive} and {_AGAIN} again, "
            f"or put the unpacked data at {out / task.folder}"
        )
        # Frames are compressed already: unpacked they take about as much room again.
        download(source.url, part, by_hand=by_hand, verb=_AGAIN, room=2)
        check_hash(part, archive, source.url, verb=_AGAIN)
        part.replace(archive)
    else:
        check_hash(archive, archive, source.url, verb=_AGAIN)
    return archive


def _unpack(archive: Path, inside: str, folder: Path) -> None:
    """Unpacks the folder `inside` of an archive as `folder`."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with _opened(archive) as content:
            members = _members(content, archive, inside)
            require_space(folder.parent, sum(member.file_size for member, _ in members), f"unpacking {archive.name}")
            _extract(content, members, unfinished, archive.name)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as content:
            yield content
    except _UNREADABLE as error:
        raise UserError(f"{archive} is damaged ({error}); delete it and {_AGAIN} again") from error


def _members(content: zipfile.ZipFile, archive: Path, inside: str) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The files of the folder `inside` with their paths in it; UserError where anything in the archive is not safe."""
    found: dict[PurePosixPath, zipfile.ZipInfo] = {}
    tops = set()
    for member in content.infolist():
        path = PurePosixPath(member.filename)
        mode = member.external_attr >> 16
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or not path.parts:
            raise UserError(f"{archive} holds {member.filename!r}, which points outside of it; nothing was unpacked")
        encrypted = member.flag_bits & 1
        if encrypted or stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(f"{archive} holds {member.filename!r}, which is no plain file; nothing was unpacked")
        if member.is_dir() or any(part in COMPANIONS for part in path.parts):
            continue
        tops.add(path.parts[0])
        if not path.is_relative_to(inside) or path == PurePosixPath(inside):
            continue
        path = path.relative_to(inside)
        if path in found:
            raise UserError(f"{archive} holds {member.filename!r} twice; nothing was unpacked")
        found[path] = member
    if not found:
        raise UserError(f"{archive} holds {', '.join(sorted(tops)) or 'nothing'}, expected a folder {inside}")
    return [(member, path) for path, member in found.items()]


def _extract(
    content: zipfile.ZipFile, members: list[tuple[zipfile.ZipInfo, PurePosixPath]], folder: Path, name: str
) -> None:
    from tqdm import tqdm

    for member, path in tqdm(members, desc=f"unpacking {name}", unit="file", leave=False, disable=None):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with content.open(member) as packed, target.open("xb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
