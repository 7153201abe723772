"""Lists of runs of any task, one line each, as text, Markdown and CSV."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rvm_bench.formats.files import read_json
from rvm_bench.runs.finished import FLAGS, flags_of
from rvm_bench.tables.published import published_score

Row = dict[str, Any]


def run_rows(files: Sequence[Path]) -> list[Row]:
    """One row per result.json, ordered by task and from the best score down: names, score, interval, counts and flags.

    The paper's number stands beside a score only where the two measure the same thing (no flag).
    """
    rows = []
    for file in files:
        result = read_json(file)
        low, high = result["interval"] or (None, None)
        flags = flags_of(result)
        stamp = result["stamp"]
        printed = published_score(stamp["encoder"]["card"].get("published", ""), result["task"])
        rows.append(
            {
                "task": result["task"],
                "model": result["model"],
                "metric": result["metric"]["key"],
                "unit": result["metric"]["unit"],
                "scale": (scale := result["metric"].get("scale", 1.0)),
                "digits": result["metric"].get("digits", 1),
                "score": result["score"][result["metric"]["key"]],
                "low": low,
                "high": high,
                "floor": result["score"].get(result["metric"]["floor"]),
                "paper": None if printed is None or flags else printed / scale,
                "videos": result["videos"],
                "frames": result["frames"],
                "dtype": stamp["encoder"]["dtype"],
                "flags": "; ".join(flags),
                "wall_s": stamp["wall_s"],
                "finished": stamp["finished"],
                "fingerprint": stamp["fingerprint"][:12],
                "better": 1 if result["metric"]["higher_is_better"] else -1,
            }
        )
    return sorted(rows, key=lambda row: (row["task"], -row.pop("better") * row["score"]))


def as_csv(rows: Sequence[Row]) -> str:
    """All columns, numbers with all their digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_markdown(rows: Sequence[Row]) -> str:
    cells = _cells(rows)
    lines = [" | ".join(row) for row in cells]
    return "".join(f"| {line} |\n" for line in (lines[0], " | ".join("---" for _ in cells[0]), *lines[1:]))


def as_text(rows: Sequence[Row]) -> str:
    """Aligned columns, and below them what the flags mean."""
    seen = [flag for flag in FLAGS if any(flag in row["flags"] for row in rows)]
    return aligned(_cells(rows)) + "".join(f"{flag}: {FLAGS[flag]}\n" for flag in seen)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells with the columns padded to one width."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "".join(
        "  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )


def _cells(rows: Sequence[Row]) -> list[list[str]]:
    header = ["task", "model", "metric", "score", "95 % interval", "floor", "paper", "videos", "frames", "flags"]
    return [header, *(_line(row) for row in rows)]


def _line(row: Row) -> list[str]:
    def shown(key: str) -> str:
        return "" if row[key] is None else f"{row[key] * row['scale']:.{row['digits']}f}"

    interval = "" if row["low"] is None else f"{shown('low')} to {shown('high')}"
    counts = [str(row["videos"]), str(row["frames"])]
    return [
        row["task"],
        row["model"],
        f"{row['metric']} ({row['unit']})",
        shown("score"),
        interval,
        shown("floor"),
        shown("paper"),
        *counts,
        row["flags"],
    ]
