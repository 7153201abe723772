"""One file from a web server: with progress, resumed where it stopped, and its hash remembered.

Beside a FILE stands FILE.json with its size and sha256: the published hash where there is one, else the hash of the
first download, so that a file that changes later is noticed.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rvm_bench.errors import UserError
from rvm_bench.formats.files import read_json, write_json
from rvm_bench.formats.hashes import file_sha256
from rvm_bench.formats.time import now


def download(url: str, part: Path, *, by_hand: str, verb: str = "fetch", room: float = 1.0) -> None:
    """Appends to `part` until it holds all of `url`, with a progress bar where there is a terminal.

    A server that does not resume sends everything again. Interrupted, the part stays, and the next call goes on.

    Args:
        url: of the file.
        part: the unfinished file; the caller renames it.
        by_hand: what the user can do without this download, as the end of a sentence.
        verb: what the user does to try again.
        room: how often the whole file must fit onto the disk, besides what is there.

    Raises:
        UserError: the server cannot be reached, ends too early, or the disk is too small.
    """
    import requests
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    try:
        with requests.get(url, headers=_headers(part, have), stream=True, timeout=60) as response:
            if response.status_code == 416:
                part.unlink()
                raise UserError(f"{url} is shorter than the part that was here, which is now deleted; {verb} again")
            response.raise_for_status()
            if response.status_code != 206:
                have = 0
            left = int(response.headers.get("Content-Length", 0))
            require_space(part.parent, round(room * (have + left)) - have, url)
            _remember_version(part, response.headers)
            with (
                part.open("ab" if have else "wb") as file,
                tqdm(
                    desc=part.stem, total=have + left or None, initial=have, unit="B", unit_scale=True, disable=None
                ) as bar,
            ):
                for block in _blocks(response):
                    file.write(block)
                    bar.update(len(block))
    except requests.RequestException as error:
        raise UserError(
            f"cannot download {url}: {_reason(error)}; {verb} again to go on from what arrived, or {by_hand}"
        ) from error
    if left and part.stat().st_size != have + left:
        raise UserError(f"{url} ended after {part.stat().st_size} of {have + left} bytes; {verb} again to go on")
    _version_file(part).unlink(missing_ok=True)


def require_space(folder: Path, size: int, what: str) -> None:
    """UserError where fewer than `size` bytes are free in an existing folder."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(f"{what} needs {size / 1e9:.2f} GB in {folder}, where {free / 1e9:.2f} GB are free; make room")


def record_of(path: Path) -> Path:
    """Where the size and hash of a downloaded file are remembered."""
    return path.with_name(path.name + ".json")


def check_hash(file: Path, path: Path, url: str, published: str | None = None, verb: str = "fetch") -> None:
    """Compares a file's sha256 with the published one or the first download's, and records it where none is recorded.

    Args:
        file: what was downloaded, perhaps still under another name.
        path: its final name; the record stands beside that.
        url: where it came from.
        published: the published hash.
        verb: what the user does to try again.
    """
    record = record_of(path)
    known = published or (read_json(record)["sha256"] if record.exists() else None)
    sha256 = file_sha256(file)
    if known and sha256 != known:
        source = "published" if published else f"recorded in {record}"
        raise UserError(
            f"{file} has sha256 {sha256}, expected {known} ({source}); "
            f"delete it and {verb} again, or delete the record if the release was replaced"
        )
    if not record.exists():
        write_json(record, {"url": url, "size": file.stat().st_size, "sha256": sha256, "recorded": now()})


def _blocks(response: Any) -> Iterator[bytes]:
    return response.iter_content(chunk_size=1 << 16)


def _headers(part: Path, have: int) -> dict[str, str]:
    """Asks for the bytes as they are and for the rest of them, if the file is still the version we have a part of."""
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _version_file(part).exists():
            headers["If-Range"] = _version_file(part).read_text()
    return headers


def _remember_version(part: Path, headers: Any) -> None:
    tag = headers.get("ETag") or headers.get("Last-Modified")
    if tag and not tag.startswith("W/"):
        _version_file(part).write_text(tag)


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    return f"HTTP {response.status_code} {response.reason}" if response is not None else type(error).__name__
