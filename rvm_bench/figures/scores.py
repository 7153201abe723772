"""What there is to show of a column of Table 1: the numbers that the paper prints, and those of finished runs.

Averages are normalised by the best number that the paper's Table 1 prints in each column, for the paper's rows and for
ours alike, so that they stay what they are when a model is added. For rows of Table 1 this is the paper's own rule.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rvm_bench.errors import UserError, unknown_name
from rvm_bench.runs.finished import FinishedRun, chosen_runs, find_runs, refuse_mixed_versions
from rvm_bench.tables.columns import COLUMNS, Column, share
from rvm_bench.tables.paper_table import published_best
from rvm_bench.tables.published import TITLES, published_table

GROUPS: dict[str, tuple[Column, ...]] = {
    "average": COLUMNS,
    "video": tuple(column for column in COLUMNS if column.group == "video"),
    "spatial": tuple(column for column in COLUMNS if column.group == "spatial"),
}
"""The columns over which there are averages. Fig. 1 of the paper has all three."""

AXES = {
    **{
        column.task: f"{column.heading} {column.metric}" + ("" if column.higher_is_better else ", lower is better")
        for column in COLUMNS
    },
    "average": "normalised average of 8 tasks (%)",
    "video": "normalised average of 4 video tasks (%)",
    "spatial": "normalised average of 4 spatial tasks (%)",
}
"""What stands beside an axis: a column and its unit, as the paper heads it, or an average."""

LOWER_IS_BETTER = tuple(column.task for column in COLUMNS if not column.higher_is_better)


@dataclass(frozen=True, kw_only=True)
class Score:
    """A number in the paper's unit, with its 95 % interval; None where there is none."""

    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class ScoredModel:
    """A model with its number in one column, or its average.

    Attributes:
        name: what stands beside its mark.
        family: by which it is drawn.
        row: its name in the paper's tables; "" where the paper does not have it.
        params_m: parameters in millions; 0 where it has none.
        score: the number.
        origin: the paper, or a run.
        remarks: what sets a run apart from the paper's terms, as in `finished.FLAGS`; empty where nothing does.
    """

    name: str
    family: str
    row: str
    params_m: float
    score: Score
    origin: Literal["paper", "run"]
    remarks: tuple[str, ...] = ()


def published(task: str) -> list[ScoredModel]:
    """The models of Tables 1 and 2 that have this number, or all columns of this average.

    Raises:
        UserError: no such column or average.
    """
    check_column(task)
    models = []
    for row in (row for table in TITLES for row in published_table(table)):
        score = _of({column: Score(value=value) for column, value in row.scores.items()}, task)
        if score is not None:
            models.append(
                ScoredModel(
                    name=row.model, family="", row=row.model, params_m=row.params_m, score=score, origin="paper"
                )
            )
    return models


def measured(task: str, runs: Path) -> list[ScoredModel]:
    """The models with finished runs of this column, or of all columns of this average. Where one network was run on a
    task several times, `finished.chosen_runs` says which one counts.

    Raises:
        UserError: no such column or average, no finished run in the folder, or several versions of a protocol.
    """
    check_column(task)
    return models_of(task, find_runs(runs))


def left_out(task: str, runs: Sequence[FinishedRun]) -> list[str]:
    """A line for each network with finished runs that `models_of` leaves out, with the columns that it lacks."""
    needed = {column.task: column.heading for column in _columns(task)}
    networks = _networks(runs)
    lines = []
    for name, of in zip(_names(networks), networks, strict=True):
        if lacking := [heading for column, heading in needed.items() if column not in of]:
            lines.append(f"{name} was not run on {', '.join(lacking)}: left out")
    return lines


def models_of(task: str, runs: Sequence[FinishedRun]) -> list[ScoredModel]:
    """The same of finished runs that were read already; those of other tasks are left out."""
    check_column(task)
    wanted = {column.task for column in _columns(task)}
    found = [run for run in runs if run.task in wanted]
    refuse_mixed_versions(found)
    networks = _networks(chosen_runs(found)[0])
    models = []
    for name, of in zip(_names(networks), networks, strict=True):
        score = _of({name: Score(value=run.printed, interval=run.printed_interval) for name, run in of.items()}, task)
        if score is None:
            continue
        first = next(iter(of.values()))
        models.append(
            ScoredModel(
                name=name,
                family=first.card["family"],
                row=first.card.get("published", ""),
                params_m=first.card["params_m"],
                score=score,
                origin="run",
                remarks=tuple(dict.fromkeys(flag for run in of.values() for flag in run.flags)),
            )
        )
    return models


def _networks(runs: Iterable[FinishedRun]) -> list[dict[str, FinishedRun]]:
    """The runs of each network by their task; of several of one task the last."""
    found: dict[tuple[object, ...], dict[str, FinishedRun]] = {}
    for run in runs:
        found.setdefault(run.network, {})[run.task] = run
    return list(found.values())


def _names(networks: Sequence[dict[str, FinishedRun]]) -> list[str]:
    """What each is called: by its model, and where several are of one, by the hash of its weights, too."""
    firsts = [next(iter(of.values())) for of in networks]
    models = [first.model for first in firsts]
    return [
        first.model + ("" if models.count(first.model) == 1 else f" ({(first.weights_sha256 or 'none')[:8]})")
        for first in firsts
    ]


def check_column(task: str) -> None:
    if task not in AXES:
        raise unknown_name("column", task, AXES)


def _columns(task: str) -> tuple[Column, ...]:
    """Those of an average, or the one."""
    return GROUPS[task] if task in GROUPS else tuple(column for column in COLUMNS if column.task == task)


def normalized(scores: Mapping[str, Score], columns: tuple[Column, ...]) -> Score:
    """The plain mean over the columns of score / best, or best / score where lower is better, in percent.

    The interval takes the columns as independent, which they are: each has its own videos. Its lower and its upper part
    are the roots of the sums of squares of the parts of the columns; None where a column has none.

    Raises:
        UserError: a score of which there is no share.
    """
    best = published_best()
    shares, below, above, whole = [], [], [], True
    for column in columns:
        score = scores[column.task]
        found = [share(column, value, best[column.task]) for value in (score.value, *(score.interval or ()))]
        real = [100 * value for value in found if value is not None]
        if len(real) < len(found):
            raise UserError(f"{column.heading} has a score or an interval of 0, which cannot be averaged; leave it out")
        shares.append(real[0])
        below.append(real[0] - min(real))
        above.append(max(real) - real[0])
        whole = whole and score.interval is not None
    value, count = sum(shares) / len(shares), len(shares)
    interval = (value - math.hypot(*below) / count, value + math.hypot(*above) / count) if whole else None
    return Score(value=value, interval=interval)


def _of(scores: Mapping[str, Score], task: str) -> Score | None:
    """One of the numbers, or their average; None where one that it needs is not there."""
    if task not in GROUPS:
        return scores.get(task)
    if any(column.task not in scores for column in GROUPS[task]):
        return None
    return normalized(scores, GROUPS[task])
