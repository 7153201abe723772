"""Lists of runs of any task, one line each, as text, Markdown and CSV."""

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
    import pandas as pd

    return pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")


def as_markdown(rows: Sequence[Row]) -> str:
    """A Markdown table; `|` in names is escaped."""
    return markdown(_cells(rows))


def as_text(rows: Sequence[Row]) -> str:
    """Aligned columns, and below them what the flags mean."""
    seen = [flag for flag in FLAGS if any(flag in row["flags"] for row in rows)]
    return aligned(_cells(rows)) + "".join(f"{flag}: {FLAGS[flag]}\n" for flag in seen)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells with the columns padded to one width."""
    from tabulate import tabulate

    table = tabulate(rows, tablefmt="plain", disable_numparse=True, preserve_whitespace=True)
    return "".join(f"{line.rstrip()}\n" for line in table.splitlines())


def markdown(rows: Sequence[Sequence[str]], align: Sequence[str] | None = None) -> str:
    """A Markdown table of rows of cells, the first of them the header.

    Args:
        rows: at least the header.
        align: "left" or "right" for each column; None: all to the left.
    """
    from tabulate import tabulate

    escaped = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    alignment = align or ["left"] * len(rows[0])
    table = tabulate(escaped[1:], escaped[0], tablefmt="pipe", disable_numparse=True, colalign=alignment)
    return f"{table}\n"


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
