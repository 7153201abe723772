"""Annotation files in JSON, as data sets are published with."""

import json
from pathlib import Path
from typing import Any

from rvm_bench.errors import UserError


def read_annotations(file: Path) -> Any:
    """What a JSON file says.

    Raises:
        UserError: it cannot be read, is no JSON, is nested beyond reason, or has a key twice in one object, of which
            the standard library would keep the last and say nothing.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as JSON ({error}); get the file again") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in content if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:40]!r} stands twice in one object")
    return content
