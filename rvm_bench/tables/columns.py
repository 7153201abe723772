"""The eight columns of the paper's Tables 1 and 2, and the normalised average over them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column, as the paper heads it.

    Attributes:
        task: the task that measures it.
        heading, metric: the two lines of its head.
        group: which side of the table it stands on.
        higher_is_better: which way is better.
        digits: decimals that the paper prints.
    """

    task: str
    heading: str
    metric: str
    group: Literal["video", "spatial"]
    higher_is_better: bool = True
    digits: int = 1

    @property
    def arrow(self) -> str:
        return "↑" if self.higher_is_better else "↓"


COLUMNS = (
    Column(task="ssv2", heading="SSv2", metric="Acc. (%)", group="video"),
    Column(task="kinetics", heading="Kinetics", metric="Acc. (%)", group="video"),
    Column(task="waymo", heading="Waymo", metric="mIoU", group="video"),
    Column(task="perception_test", heading="PT", metric="AJ", group="video"),
    Column(task="scannet", heading="ScanNet", metric="AbsRel (x10)", group="spatial", higher_is_better=False, digits=2),
    Column(task="davis", heading="DAVIS", metric="J&F (%)", group="spatial"),
    Column(task="jhmdb", heading="JHMDB", metric="PCK@0.1 (%)", group="spatial"),
    Column(task="vip", heading="VIP", metric="mIoU", group="spatial"),
)
"""In the paper's order. The paper heads ScanNet with AbsRel alone and prints it ten times as large."""

GROUPS = {"video": "Video tasks", "spatial": "Spatial tasks"}
AVERAGE_DIGITS = 1

Scores = Mapping[str, float]
"""Numbers of one model by task, in the unit that the paper prints; a task that was not run is not there."""


def best_scores(rows: Iterable[Scores]) -> dict[str, float]:
    """The best number of each column over all rows, complete or not; a column that no row has is not there."""
    rows = list(rows)
    best = {}
    for column in COLUMNS:
        numbers = [row[column.task] for row in rows if column.task in row]
        if numbers:
            best[column.task] = max(numbers) if column.higher_is_better else min(numbers)
    return best


def normalized_average(row: Scores, best: Scores) -> float | None:
    """The plain mean over the eight columns of score / best, or best / score where lower is better, in percent.

    The rule is read off Table 1, whose nine printed averages it gives: the best of a column is over all of its eleven
    rows, among them the two of 4DS that have no average themselves.

    Args:
        row: one model's numbers.
        best: the number that counts as 1, by task: `best_scores` of the rows shown, or of the paper's.

    Returns:
        the average, or None where the row lacks a column or a quotient has no value (a best or an AbsRel of 0).
    """
    shares = []
    for column in COLUMNS:
        if column.task not in row or column.task not in best:
            return None
        found = share(column, row[column.task], best[column.task])
        if found is None:
            return None
        shares.append(found)
    return 100 * sum(shares) / len(shares)


def share(column: Column, score: float, best: float) -> float | None:
    """score / best, or best / score where lower is better; None where that has no value (a best or an AbsRel of 0)."""
    above, below = (score, best) if column.higher_is_better else (best, score)
    return above / below if below else None
