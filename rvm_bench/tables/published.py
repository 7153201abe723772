"""Numbers of the paper and of others, read from the data files under results/published/ (rvm_bench/published/ in a
wheel)."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rvm_bench.tables.columns import COLUMNS

_HERE = Path(__file__).resolve().parent
FOLDER = next(folder for folder in (_HERE / "published", _HERE.parents[1] / "results" / "published") if folder.is_dir())

TITLES = {"Table 1": "large models", "Table 2": "small models"}


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One row of the paper's Table 1 or 2.

    Attributes:
        model: its name as the paper prints it.
        params_m: its size in millions of parameters, as printed.
        scores: the printed numbers by task, in the printed unit (AbsRel x10); what is not printed is not there.
        average: the printed normalised average, or None.
    """

    model: str
    params_m: float
    scores: dict[str, float]
    average: float | None


def published_table(table: str) -> tuple[PublishedRow, ...]:
    """The rows of "Table 1" or "Table 2" of the paper, in its order."""
    return tuple(
        PublishedRow(
            model=row["model"],
            params_m=float(row["params_m"]),
            scores={column.task: float(row[column.task]) for column in COLUMNS if row[column.task]},
            average=float(row["normalized_average"]) if row.get("normalized_average") else None,
        )
        for row in _read(f"{table.lower().replace(' ', '')}.csv")
    )


def published_ablation(table: str) -> tuple[dict[str, str], ...]:
    """The rows of Table 3a, 3b or 3c ("3a", ...): the ablated setting in the first column, then ssv2 and kinetics
    (top-1 %) and scannet (AbsRel x10), with the digits that the paper prints."""
    return _read(f"table{table}.csv")


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
        rows |= {row["model"]: row | {"table": table} for row in _read(f"{table.lower().replace(' ', '')}.csv")}
    return rows


@cache
def _read(name: str) -> tuple[dict[str, str], ...]:
    with (FOLDER / name).open(newline="") as file:
        return tuple(csv.DictReader(file))
