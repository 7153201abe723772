"""Two models on the same videos of one task: a paired test, the videos that differ most, and how heads vary by seed."""

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rvm_bench.api.registry import find_task
from rvm_bench.api.task import FitsHeads, Record, Task
from rvm_bench.errors import UserError
from rvm_bench.runs.finished import FinishedRun
from rvm_bench.runs.store import FIT, recorded_lines
from rvm_bench.stats.bootstrap import FEWEST_TESTED, Paired, paired_bootstrap


@dataclass(frozen=True, kw_only=True)
class VideoPair:
    """The scores of one video in two runs, each as the task scores that video alone, in the unit it is printed in."""

    video: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        return self.first - self.second


@dataclass(frozen=True, kw_only=True)
class SeedSpread:
    """How the heads of one fit vary that differ in nothing but their seed.

    Attributes:
        metric: by what heads are chosen, on training examples that were held out.
        examples: how many those are.
        learning_rate: that of the chosen head; heads of other rates are left out.
        scores: the metric by seed. A head that diverged is not there.
        deviation: their standard deviation (of the sample); None for fewer than two.
    """

    metric: str
    examples: int
    learning_rate: float
    scores: dict[int, float]
    deviation: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare_runs` found. Scores are in the unit they are printed in.

    Attributes:
        first, second: the runs.
        scores: of both on the videos that both recorded.
        paired: difference (first less second), interval and p-value.
        videos: every common video, from the largest difference either way to the smallest.
        left_out: how many videos only the first and only the second run recorded.
        seeds: for each run how its heads vary by seed; None where it fitted no head.
        notes: what is to be kept in mind.
    """

    first: FinishedRun
    second: FinishedRun
    scores: tuple[float, float]
    paired: Paired
    videos: tuple[VideoPair, ...]
    left_out: tuple[int, int]
    seeds: tuple[SeedSpread | None, SeedSpread | None]
    notes: tuple[str, ...]


def compare_runs(first: FinishedRun, second: FinishedRun) -> Comparison:
    """The paired bootstrap over videos of two finished runs of one task.

    The score of a draw is the task's own score of the drawn videos' records, averaged as the task averages: clips and
    objects go with their video, and videos of one scene (`Task.scene`) go together.

    Raises:
        UserError: the runs are of different tasks, protocols or data, have no video in common, or their records do not
            give the scores that their result.json states.
    """
    _check_comparable(first, second)
    task = task_of(first)
    scale = task.metric.scale
    records_a, records_b = records_of(first), records_of(second)
    common = [video for video in records_a if video in records_b]
    if not common:
        raise UserError(f"{first.path} and {second.path} have no video in common")
    for run, records in ((first, records_a), (second, records_b)):
        _check_score(run, task, list(records.values()))
    of_a, of_b = ([records[video] for video in common] for records in (records_a, records_b))

    def score(records: Sequence[Record]) -> float:
        return scale * task.score(records)[task.metric.key]

    paired = paired_bootstrap(of_a, of_b, score, groups=[task.scene(video) for video in common])
    videos = video_pairs(task, of_a, of_b)
    notes = []
    if first.stamp["data"]["manifest_sha256"] != second.stamp["data"]["manifest_sha256"]:
        notes.append(
            "one run left videos out, so the two data sets cannot be compared file by file; videos are matched by name"
        )
    if paired.groups < FEWEST_TESTED:
        notes.append(
            f"fewer than {FEWEST_TESTED} videos or scenes: p cannot fall below 0.05, and the interval is too narrow"
        )
    for name, run in (("A", first), ("B", second)):
        notes += [f"{name}: {flag}" for flag in run.flags]
    if first.stamp["encoder"]["dtype"] != second.stamp["encoder"]["dtype"]:
        notes.append("the runs differ in precision; `rvm-bench diff` lists all that differs")
    return Comparison(
        first=first,
        second=second,
        scores=(score(of_a), score(of_b)),
        paired=paired,
        videos=tuple(sorted(videos, key=lambda pair: -abs(pair.difference))),
        left_out=(len(records_a) - len(common), len(records_b) - len(common)),
        seeds=(seed_spread(task, first), seed_spread(task, second)),
        notes=tuple(notes),
    )


def video_pairs(task: Task[Any], first: Sequence[Record], second: Sequence[Record]) -> list[VideoPair]:
    """The points of a scatter plot: each video's score in two runs, in the unit it is printed in.

    Args:
        task: under the protocol of both runs; see `task_of`.
        first, second: records of the two runs, entry i of both for the same video; see `records_of`.

    Returns:
        one pair per video, in the order of the records. A video that alone has no score (it is not a number) is left
        out.
    """
    pairs = []
    for a, b in zip(first, second, strict=True):
        scores = [video_score(task, record) for record in (a, b)]
        if all(map(math.isfinite, scores)):
            pairs.append(VideoPair(video=a["video"], first=scores[0], second=scores[1]))
    return pairs


def video_score(task: Task[Any], record: Record) -> float:
    """What the task says of one video alone, in the unit it is printed in; not a number where it says nothing."""
    return task.metric.scale * task.score([record])[task.metric.key]


def task_of(run: FinishedRun) -> Task[Any]:
    """The task of a run, under the protocol that the run was made under.

    Raises:
        UserError: the task is not installed, or its protocol has other constants now.
    """
    task = find_task(run.task)
    stated = {name: tuple(value) if isinstance(value, list) else value for name, value in run.protocol.items()}
    fields = {field.name for field in dataclasses.fields(task.protocol) if field.init}
    if fields != stated.keys():
        differing = ", ".join(sorted(fields ^ stated.keys()))
        raise UserError(
            f"{run.path} was made under a protocol with other constants ({differing}) than this version has; "
            "run it again, or use the version that its stamp names"
        )
    task.protocol = dataclasses.replace(task.protocol, **stated)
    return task


def records_of(run: FinishedRun) -> dict[str, Record]:
    """The records of a run by video, in the order of the data set."""
    return {video: json.loads(line) for video, line in recorded_lines(run.path).items()}


def seed_spread(task: Task[Any], run: FinishedRun) -> SeedSpread | None:
    """How the heads of a run vary by seed; None where the task fits none."""
    fit = task.fit_summary(run.path / FIT) if isinstance(task, FitsHeads) else None
    if fit is None:
        return None
    scores = dict(fit.seed_scores)
    return SeedSpread(
        metric=fit.metric,
        examples=fit.examples,
        learning_rate=fit.learning_rate,
        scores=scores,
        deviation=statistics.stdev(scores.values()) if len(scores) > 1 else None,
    )


def _check_comparable(first: FinishedRun, second: FinishedRun) -> None:
    if first.task != second.task:
        raise UserError(f"{first.path} is a run of {first.task}, {second.path} of {second.task}; name two of one task")
    if first.protocol != second.protocol:
        differing = {
            name: f"{name} ({first.protocol.get(name)} and {second.protocol.get(name)})"
            for name in (*first.protocol, *second.protocol)
            if first.protocol.get(name) != second.protocol.get(name)
        }
        raise UserError(
            f"{first.path} and {second.path} were made under different protocols: {', '.join(differing.values())}; "
            "run one of them again with the constants of the other"
        )
    data = [run.stamp["data"] for run in (first, second)]
    if data[0]["manifest_sha256"] != data[1]["manifest_sha256"] and not any(run.left_out for run in (first, second)):
        raise UserError(
            f"{first.path} and {second.path} were measured on different data ({first.stamp['data_root']} and "
            f"{second.stamp['data_root']}, or files that changed in between); run both on one copy"
        )


def _check_score(run: FinishedRun, task: Task[Any], records: Sequence[Record]) -> None:
    found = task.score(records)[task.metric.key]
    if not math.isclose(found, run.score, rel_tol=1e-9, abs_tol=1e-12):
        raise UserError(
            f"the records of {run.path} give {task.metric.key} {found!r}, its result.json says {run.score!r}; records "
            "or scoring changed since: run it again"
        )
