"""Hashes of files, of lists of files, and of text."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def manifest_sha256(files: Iterable[tuple[str, Path]]) -> str:
    """Hash over (label, size, content hash) of files, in the order given."""
    digest = hashlib.sha256()
    for label, path in files:
        content = path.read_bytes()
        digest.update(f"{label} {len(content)} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file of any size, read once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
