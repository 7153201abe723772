"""The paper's numbers, read from the data files under results/published/ (rvm_bench/published/ in a wheel)."""

import csv
from functools import cache
from pathlib import Path

_HERE = Path(__file__).resolve().parent
FOLDER = next(folder for folder in (_HERE / "published", _HERE.parent / "results" / "published") if folder.is_dir())


def published_row(row: str) -> dict[str, str]:
    """What Table 1 or 2 of the paper prints in a row, by column, and in which "table"; empty where there is no row.

    Args:
        row: a card's `published`, the model's name as the paper prints it.
    """
    return _rows().get(row, {})


def published_score(row: str, task: str) -> float | None:
    """The number of one task in a row, in the task's unit; None where the paper prints nothing."""
    text = published_row(row).get(task)
    return float(text) if text else None


@cache
def _rows() -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for table in ("Table 2", "Table 1"):
        with (FOLDER / f"{table.lower().replace(' ', '')}.csv").open(newline="") as file:
            rows |= {row["model"]: row | {"table": table} for row in csv.DictReader(file)}
    return rows
