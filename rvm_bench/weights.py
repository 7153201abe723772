"""Released checkpoints: fetched with progress and resume, verified by size and hash, kept in a cache.

The cache is $RVM_BENCH_CACHE, or the platform's cache folder. Beside each file stands FILE.json with its size and
sha256: the published hash where there is one, else the hash of the first download, so that a file that changes later is
noticed.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rvm_bench.card import EncoderCard, WeightsFile
from rvm_bench.errors import UserError
from rvm_bench.fingerprint import file_sha256
from rvm_bench.stamp import now
from rvm_bench.store import read_json, write_json

CONTAINER_OVERHEAD = 0.01
"""Where only the arrays' size is known: how much larger the file may be, for the headers of its container."""


def cache_folder() -> Path:
    import pooch

    return Path(os.environ.get("RVM_BENCH_CACHE") or pooch.os_cache("rvm-bench"))


def cached_file(card: EncoderCard) -> Path:
    """The checkpoint of a model in the cache.

    Raises:
        UserError: the model has none to fetch, or it was not fetched yet.
    """
    released = released_file(card)
    path = cache_folder() / released.filename
    if not path.exists():
        raise UserError(
            f"the weights of {card.name} are not in {path.parent}; run `rvm-bench weights fetch {card.name}`, "
            "or give --weights PATH (or --weights random)"
        )
    return path


def released_file(card: EncoderCard) -> WeightsFile:
    if card.weights is None:
        raise UserError(f"{card.name} has no released checkpoint to fetch; give --weights PATH or --weights random")
    return card.weights


def fetch(card: EncoderCard) -> Path:
    """Downloads a model's checkpoint into the cache, resuming a part that is there, and verifies it.

    A file that is already there is verified again and not downloaded.

    Raises:
        UserError: the server cannot be reached, or the file has another size or hash than it should have.
    """
    released = released_file(card)
    path = cache_folder() / released.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        part = path.with_name(path.name + ".part")
        download(released.url, part)
        _check_size(part, released)
        _check_hash(part, path, released)
        part.replace(path)
    else:
        _check_size(path, released)
        _check_hash(path, path, released)
    return path


def info(card: EncoderCard) -> dict[str, Any]:
    """What is known of a model's checkpoint: source, licence, size, hash, and where it is."""
    released = card.weights
    if released is None:
        return {"model": card.name, "weights": "none released", "licence": card.licence, "note": card.note}
    path = cache_folder() / released.filename
    recorded = read_json(_record_of(path)) if _record_of(path).exists() else {}
    return {
        "model": card.name,
        "url": released.url,
        "licence": released.licence,
        "size": f"{'' if released.size_exact else 'about '}{released.size_bytes / 1e6:.1f} MB",
        "published sha256": released.sha256 or "none published",
        "recorded sha256": recorded.get("sha256", "not fetched yet"),
        "cached": str(path) if path.exists() else f"no; rvm-bench weights fetch {card.name}",
        "by hand": f"put the file at {path}, or give --weights PATH",
        "note": card.note,
    }


def download(url: str, part: Path) -> None:
    """Appends to `part` until it holds all of `url`, with a progress bar where there is a terminal.

    A server that does not resume sends everything again. Interrupted, the part stays, and the next call goes on.
    """
    import requests
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    try:
        with requests.get(url, headers=_resume_headers(part, have), stream=True, timeout=60) as response:
            if response.status_code == 416:
                part.unlink()
                raise UserError(f"{url} is shorter than the part that was here, which is now deleted; fetch again")
            response.raise_for_status()
            if response.status_code != 206:
                have = 0
            _remember_version(part, response.headers)
            left = int(response.headers.get("Content-Length", 0))
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
            f"cannot download {url}: {_reason(error)}; fetch again to go on from what arrived, "
            "or get the file by hand and give --weights PATH"
        ) from error
    if left and part.stat().st_size != have + left:
        raise UserError(f"{url} ended after {part.stat().st_size} of {have + left} bytes; fetch again to go on")
    _version_file(part).unlink(missing_ok=True)


def _blocks(response: Any) -> Iterator[bytes]:
    return response.iter_content(chunk_size=1 << 16)


def _resume_headers(part: Path, have: int) -> dict[str, str]:
    """Asks for the rest, on condition that the file is still the version of which we have a part."""
    if not have:
        return {}
    headers = {"Range": f"bytes={have}-"}
    if _version_file(part).exists():
        headers["If-Range"] = _version_file(part).read_text()
    return headers


def _remember_version(part: Path, headers: Any) -> None:
    tag = headers.get("ETag") or headers.get("Last-Modified")
    if tag and not tag.startswith("W/"):
        _version_file(part).write_text(tag)


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    return f"HTTP {response.status_code} {response.reason}" if response is not None else type(error).__name__


def _check_size(path: Path, released: WeightsFile) -> None:
    size = path.stat().st_size
    most = released.size_bytes * (1 if released.size_exact else 1 + CONTAINER_OVERHEAD)
    if not released.size_bytes <= size <= most:
        path.unlink()
        raise UserError(
            f"{released.url} has {size} bytes, expected {'' if released.size_exact else 'about '}"
            f"{released.size_bytes}; the file was deleted: fetch again, or get it by hand and give --weights PATH"
        )


def _check_hash(file: Path, path: Path, released: WeightsFile) -> None:
    """Compares with the published hash or the first download's, and records the latter."""
    record = _record_of(path)
    known = released.sha256 or (read_json(record)["sha256"] if record.exists() else None)
    sha256 = file_sha256(file)
    if known and sha256 != known:
        source = "published" if released.sha256 else f"recorded in {record}"
        raise UserError(
            f"{file} has sha256 {sha256}, expected {known} ({source}); "
            "delete it and fetch again, or delete the record if the release was replaced"
        )
    if not record.exists():
        write_json(record, {"url": released.url, "size": file.stat().st_size, "sha256": sha256, "recorded": now()})
