"""Released checkpoints: fetched with progress and resume, verified by size and hash, kept in a cache.

The cache is $RVM_BENCH_CACHE, or the platform's cache folder. A small one may come with this package instead.
"""

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from rvm_bench.api.card import EncoderCard, WeightsFile
from rvm_bench.errors import UserError
from rvm_bench.fetch.download import check_hash, download, record_of
from rvm_bench.formats.files import locked, read_json
from rvm_bench.formats.hashes import file_sha256

CONTAINER_OVERHEAD = 0.01
"""Where only the arrays' size is known: how much larger the file may be, for the headers of its container."""


def cache_folder() -> Path:
    """$RVM_BENCH_CACHE, or the platform's folder for caches."""
    import platformdirs

    return Path(os.environ.get("RVM_BENCH_CACHE") or platformdirs.user_cache_dir("rvm-bench", appauthor=False))


def path_of(released: WeightsFile) -> Path:
    """Where a checkpoint is once it is here: in this package or in the cache."""
    folder = Path(str(files("rvm_bench"))) if released.packaged else cache_folder()
    return folder / released.filename


def cached_file(card: EncoderCard) -> Path:
    """The checkpoint of a model in the cache, or in this package.

    Raises:
        UserError: the model has none to fetch, or it was not fetched yet.
    """
    released = released_file(card)
    path = path_of(released)
    if not path.exists():
        get = f"run `rvm-bench weights fetch {card.name}`" if released.url else _by_hand(released, path)
        raise UserError(
            f"the weights of {card.name} are not in {path.parent}; {get}, or give --weights PATH (or --weights random)"
        )
    return path


def released_file(card: EncoderCard) -> WeightsFile:
    if card.weights is None:
        reason = f" ({card.note})" if card.note else ""
        raise UserError(
            f"{card.name} has no released checkpoint to fetch{reason}; give --weights PATH or --weights random"
        )
    return card.weights


def fetch(card: EncoderCard) -> Path:
    """Downloads a model's checkpoint into the cache, resuming a part that is there, and verifies it.

    A file that is already there, or comes with this package, is verified again and not downloaded.

    Raises:
        UserError: the server cannot be reached, the file has another size or hash than it should have, or a person
            must get it (the message says how).
    """
    released = released_file(card)
    path = path_of(released)
    if released.packaged:
        if not path.exists() or file_sha256(path) != released.sha256:
            raise UserError(f"{path} is missing or damaged; it comes with rvm-bench: install that again")
        return path
    if not path.exists() and not released.url:
        raise UserError(f"the weights of {card.name} cannot be fetched by a plain URL: {_by_hand(released, path)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # A second process waits for the first one's download, and then finds the file.
    with locked(path.with_name(f".{path.name}.lock"), "", wait=True):
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
    """What is known of a model and its checkpoint: source, licence, size, hash, and where it is."""
    released = card.weights
    facts: dict[str, Any] = {"model": card.name, "source": card.source}
    if released is None:
        facts |= {"weights": "none released", "licence": card.licence}
    else:
        facts |= _file_facts(card.name, released)
    layers = set(card.taps.values())
    taps = {"every task": layers.pop()} if len(layers) == 1 else card.taps
    return facts | {
        "parameters": f"{card.params_m:g} M" if card.params_m else "",
        "taps": "; ".join(f"{family}: {layer}" for family, layer in taps.items()),
    }


def _file_facts(name: str, released: WeightsFile) -> dict[str, Any]:
    path = path_of(released)
    about = "" if released.size_exact else "about "
    facts = {
        "licence": released.licence + (" - no commercial use" if "NC" in released.licence else ""),
        "size": f"{about}{_readable(released.size_bytes)}" if released.size_bytes else "not published",
        "published sha256": released.sha256 or "none published",
    }
    if released.packaged:
        return {"file": f"comes with rvm-bench: {path}", **facts}
    recorded = read_json(record_of(path)) if record_of(path).exists() else {}
    missing = f"no; rvm-bench weights fetch {name}" if released.url else "no"
    return {
        "url": released.url or "none; see by hand",
        **facts,
        "recorded sha256": recorded.get("sha256", "not fetched yet" if released.url else "not here yet"),
        "cached": str(path) if path.exists() else missing,
        "by hand": _by_hand(released, path),
    }


def _by_hand(released: WeightsFile, path: Path) -> str:
    """How a person gets the file, and where it then belongs."""
    return f"{released.by_hand or 'download ' + released.url} and put it at {path}"


def _readable(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def _check_size(path: Path, released: WeightsFile) -> None:
    if not released.size_bytes:
        return
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
