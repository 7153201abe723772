"""The paper's numbers, read from the data files under results/published/ (rvm_bench/published/ in a wheel)."""

import csv
from functools import cache
from pathlib import Path

_HERE = Path(__file__).resolve().parent
FOLDER = next(folder for folder in (_HERE / "published", _HERE.parent / "results" / "published") if folder.is_dir())


def published_score(model: str, task: str) -> float | None:
    """What Table 1 or 2 of the paper prints for a model and a task, in the task's unit; None where it prints nothing.

    Args:
        model: a card's name; the paper's "RVM-L" is our "rvm-l".
        task: a task's name, as in the tables' header.
    """
    row = _rows().get(model.lower(), {})
    return float(row[task]) if row.get(task) else None


@cache
def _rows() -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for name in ("table2.csv", "table1.csv"):
        with (FOLDER / name).open(newline="") as file:
            rows |= {row["model"].lower(): row for row in csv.DictReader(file)}
    return rows
