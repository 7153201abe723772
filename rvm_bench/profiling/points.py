"""A point of a curve as data, and the file that keeps the finished ones. Imports nothing heavy."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rvm_bench.errors import UserError
from rvm_bench.formats.files import read_json, write_atomically

STREAM, AT_ONCE = "stream", "at once"
"""The ways of giving a model N frames: as in a run, or in one forward pass."""

SUFFIXES = (".json", ".csv")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One model, one way, one number of frames: what it costs, or why that was not measured.

    Attributes:
        model, published, family: of its card.
        kind: "image", "clip", "recurrent" or "other".
        way: `STREAM` or `AT_ONCE`.
        frames, size_px: of the square video.
        weights, weights_sha256, options, device, dtype, threads: what was measured, and on what; options as JSON.
        processor: or the accelerator's name.
        torch: its version.
        repeats, passes: passes that were asked for and made.
        wall_s, wall_low_s, wall_high_s: median, fastest and slowest pass; None where it was stopped.
        cpu_s, cpu_low_s, cpu_high_s: the same of CPU time, over all threads.
        peak_mb: peak memory of the first pass above model and input; None where it cannot be measured.
        gflop_per_frame: FLOPs of the pass by torch's counter over frames, / 10^9; None where they cannot be counted.
        stopped: why there is no measurement, and no longer video was tried; "" where there is one.
        pass_limit_s, memory_limit_mb: the limits that were set.
    """

    model: str
    published: str
    family: str
    kind: str
    way: str
    frames: int
    size_px: int
    weights: str
    weights_sha256: str
    options: str
    device: str
    dtype: str
    threads: int
    processor: str
    torch: str
    repeats: int
    passes: int = 0
    wall_s: float | None = None
    wall_low_s: float | None = None
    wall_high_s: float | None = None
    cpu_s: float | None = None
    cpu_low_s: float | None = None
    cpu_high_s: float | None = None
    peak_mb: float | None = None
    gflop_per_frame: float | None = None
    stopped: str = ""
    pass_limit_s: float
    memory_limit_mb: float | None = None

    @property
    def place(self) -> tuple[str, str, int]:
        """Where it stands among the points of a file."""
        return self.model, self.way, self.frames

    def same_terms(self, other: "Point") -> str:
        """The name of the first thing in which two points of one place were measured otherwise; "" where none."""
        terms = [f.name for f in fields(self)][: [f.name for f in fields(self)].index("passes")]
        if self.stopped or other.stopped:
            terms += ["pass_limit_s", "memory_limit_mb"]
        return next((name for name in terms if getattr(self, name) != getattr(other, name)), "")


def described(kind: str, way: str) -> str:
    """What a way is for a kind of encoder, in a word or two for a legend."""
    if way == AT_ONCE:
        return "all frames at once"
    return {"image": "frame by frame", "clip": "windows", "recurrent": "recurrent state"}.get(kind, STREAM)


def check_suffix(file: Path) -> None:
    if file.suffix not in SUFFIXES:
        raise UserError(f"--out {file}: expected a name that ends in {' or '.join(SUFFIXES)}")


def read_points(file: Path) -> list[Point]:
    """The points of a file that `write_points` made, in its order.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    check_suffix(file)
    if not file.is_file():
        raise UserError(f"no such file: {file} (expected points that `rvm-bench profile --out` wrote)")
    if file.suffix == ".csv":
        with file.open(newline="") as lines:
            rows: Sequence[dict[str, Any]] = list(csv.DictReader(lines))
    else:
        content = read_json(file)
        rows = content.get("points", []) if isinstance(content, dict) else []
    if not rows:
        raise UserError(f"{file} holds no points; expected what `rvm-bench profile --out` wrote")
    try:
        return [_point(row) for row in rows]
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{file} holds other rows than `rvm-bench profile` writes ({error}); name another --out"
        ) from None


def write_points(file: Path, points: Iterable[Point], **more: Any) -> None:
    """Writes the points, whole or not at all; `more` goes beside them into a .json file."""
    rows = [asdict(point) for point in points]
    if file.suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, [f.name for f in fields(Point)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        content = text.getvalue()
    else:
        content = json.dumps({**more, "points": rows}, indent=1, allow_nan=False) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)


def _point(row: dict[str, Any]) -> Point:
    """A point from a row of either format; in a CSV every value is a text, and "" is None or itself."""
    found: dict[str, Any] = {}
    for field in fields(Point):
        value = row.get(field.name)
        if field.type is str:
            found[field.name] = str(value)
        elif value in (None, ""):
            found[field.name] = None
        else:
            found[field.name] = int(value) if field.type is int else float(value)
    for name in ("frames", "size_px", "passes"):
        if found[name] is None:
            raise ValueError(f"no {name}")
    return Point(**found)
