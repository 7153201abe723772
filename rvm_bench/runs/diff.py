"""Which stamps of two runs differ: what the fingerprint covers, the surroundings, and the records themselves."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rvm_bench.errors import UserError
from rvm_bench.formats.files import read_json
from rvm_bench.runs.fingerprint import numerics_of
from rvm_bench.runs.store import recorded_lines

SECTIONS = (
    "protocol",
    "weights",
    "dtype",
    "encoder",
    "data",
    "source code",
    "versions",
    "device",
    "schema",
    "surroundings",
)
"""In the order in which they explain a difference."""
SURROUNDINGS = ("code", "environment")
"""Parts of the stamp that the fingerprint does not cover and that may still explain a difference."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that two runs do not have in common.

    Attributes:
        section: one of `SECTIONS`, or records.
        name: what it is.
        first, second: its values, as JSON values; None where a run does not have it, and both for records.
    """

    section: str
    name: str
    first: Any
    second: Any

    def __str__(self) -> str:
        if self.first is None and self.second is None:
            return f"{self.section}: {self.name}"
        return f"{self.section}: {self.name}: {_shown(self.first)} | {_shown(self.second)}"


def stamp_differences(first: Path, second: Path) -> list[Difference]:
    """All that differs between two run folders; empty where they are equal in everything that is stamped.

    Compared are what the fingerprint covers, the records of the videos that both hold and, where both runs are
    finished, code version and environment. Not compared: paths, times, memory, and who holds more videos.

    Raises:
        UserError: a folder is not a run.
    """
    for run in (first, second):
        if not (run / "run.json").is_file():
            raise UserError(f"{run} is not a run folder (no run.json); expected OUT/TASK/MODEL-FINGERPRINT")
    left, right = (dict(_leaves(run)) for run in (first, second))
    found = [
        Difference(section=key[0], name=key[1], first=left.get(key), second=right.get(key))
        for key in dict.fromkeys((*left, *right))
        if left.get(key) != right.get(key)
    ]
    found.sort(key=lambda difference: SECTIONS.index(difference.section))
    lines = [recorded_lines(run) for run in (first, second)]
    changed = [v for v in lines[0] if v in lines[1] and json.loads(lines[0][v]) != json.loads(lines[1][v])]
    if changed:
        counted = f"{len(changed)} of {len(lines[0].keys() & lines[1].keys())} common videos"
        name = f"{counted} were measured differently, the first is {changed[0]}"
        found.append(Difference(section="records", name=name, first=None, second=None))
    return found


def _leaves(run: Path) -> Iterator[tuple[tuple[str, str], Any]]:
    """Every stamped value of a run under (section, name)."""
    stated = read_json(run / "run.json")
    task, encoder = stated["task"], dict(stated["encoder"])
    sections: dict[str, Any] = {
        "protocol": {**{k: v for k, v in task.items() if k != "protocol"}, **task["protocol"]},
        "weights": encoder.pop("weights"),
        "dtype": {"dtype": encoder.pop("dtype")},
        "encoder": encoder,
        "data": stated["data"],
        "source code": {"sha256": stated["code_sha256"]},
        "versions": (computed := dict(numerics_of(stated))).pop("libraries"),
        "device": computed,
        "schema": {"schema": stated["schema"]},
    }
    if (run / "result.json").is_file():
        stamp = read_json(run / "result.json")["stamp"]
        sections["surroundings"] = {part: stamp[part] for part in SURROUNDINGS}
    for section, content in sections.items():
        for name, value in _flat(content):
            yield (section, name), value


def _flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str:
    """A value in one line; a sha256 by its first 12 digits."""
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    is_hash = len(text) == 64 and all(c in "0123456789abcdef" for c in text)
    return text[:12] if is_hash else text
