"""Released checkpoints: fetched with progress and resume, verified by size and hash, kept in a cache.

The cache is $RVM_BENCH_CACHE, or the platform's cache folder.
"""

import os
from pathlib import Path
from typing import Any

from rvm_bench.card import EncoderCard, WeightsFile
from rvm_bench.download import check_hash, download, record_of
from rvm_bench.errors import UserError
from rvm_bench.store import read_json

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
        download(released.url, part, by_hand="get the file by hand and give --weights PATH")
        _check_size(part, released)
        check_hash(part, path, released.url, released.sha256)
        part.replace(path)
    else:
        _check_size(path, released)
        check_hash(path, path, released.url, released.sha256)
    return path


def info(card: EncoderCard) -> dict[str, Any]:
    """What is known of a model's checkpoint: source, licence, size, hash, and where it is."""
    released = card.weights
    if released is None:
        return {"model": card.name, "weights": "none released", "licence": card.licence, "note": card.note}
    path = cache_folder() / released.filename
    recorded = read_json(record_of(path)) if record_of(path).exists() else {}
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


def _check_size(path: Path, released: WeightsFile) -> None:
    size = path.stat().st_size
    most = released.size_bytes * (1 if released.size_exact else 1 + CONTAINER_OVERHEAD)
    if not released.size_bytes <= size <= most:
        # Put aside, not deleted: where the expected size is our own estimate, the file may be right.
        aside = path.with_name(f"{released.filename}.unexpected")
        path.replace(aside)
        raise UserError(
            f"{released.url} has {size} bytes, expected {'' if released.size_exact else 'about '}"
            f"{released.size_bytes}; it is kept as {aside}: fetch again, or give --weights {aside} if you trust it"
        )
