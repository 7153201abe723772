"""Strict reader of JSON annotation files."""

import json
from pathlib import Path
from typing import Any

from rvm_bench.errors import UserError


def read_annotations(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: it cannot be read, is not JSON, is nested too deeply, or has a key twice in one object, where the
            standard library silently uses the last.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as JSON ({error}); get the file again") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in content if keys.count(key) > 1)
        raise ValueError(f"the key {repeated[:40]!r} is twice in one object")
    return content
