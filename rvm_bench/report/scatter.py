"""Every video's score in every model, and the paired comparison of every two models, as JSON values for the page."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from rvm_bench.errors import UserError
from rvm_bench.report.contents import Contents
from rvm_bench.runs.finished import FinishedRun
from rvm_bench.tables.comparison import Comparison, compare_runs, records_of, task_of, video_score

MOST_POINTS = 2000
"""Videos of a task that the page holds one by one; of more, every so-manieth. Comparisons always take all of them."""

VideoScores = dict[str, dict[str, float]]
"""Scores by the name of the network and by video, in the unit they are printed in; a video without one is not there."""


def scatter_data(contents: Contents, problems: list[str]) -> dict[str, Any]:
    """For each task what its scatter plot shows: see the keys below. A task that cannot be read is left out.

    Args:
        problems: is added a line for what could not be read.

    Returns:
        task -> {metric, unit, digits, better ("higher" or "lower"), models [names], videos [names], left_out,
        scores [model][video] (None where there is none), pairs [{a, b (places in models), difference, low, high, p,
        resampled, videos, notes}, or with a `problem` in place of the numbers]}.
    """
    found: dict[str, Any] = {}
    pairs = sum(math.comb(len(contents.of_task(task)), 2) for task in contents.tasks)
    with tqdm(total=pairs, desc="comparing", unit="pair", leave=False, disable=None) as bar:
        for task in contents.tasks:
            runs = contents.of_task(task)
            try:
                scores = video_scores(runs)
            except UserError as error:
                problems.append(f"{task}: no scores of single videos: {error}")
                bar.update(math.comb(len(runs), 2))
                continue
            found[task] = _of_task(runs, scores, bar)
    return found


def video_scores(runs: Mapping[str, FinishedRun]) -> VideoScores:
    """The score of every recorded video in every run of one task.

    Raises:
        UserError: the task is not installed, or its protocol has other constants now.
    """
    found: VideoScores = {}
    for name, run in runs.items():
        task = task_of(run)
        scores = {video: video_score(task, record) for video, record in records_of(run).items()}
        found[name] = {video: score for video, score in scores.items() if math.isfinite(score)}
    return found


def _of_task(runs: Mapping[str, FinishedRun], scores: VideoScores, bar: Any) -> dict[str, Any]:
    metric = next(iter(runs.values())).result["metric"]
    digits = metric.get("digits", 1)
    names = list(runs)
    videos = list(dict.fromkeys(video for name in names for video in scores[name]))
    shown = videos[:: math.ceil(len(videos) / MOST_POINTS) or 1]
    pairs = []
    for a, b in itertools.combinations(range(len(names)), 2):
        pair: dict[str, Any] = {"a": a, "b": b}
        try:
            pair |= _compared(compare_runs(runs[names[a]], runs[names[b]]))
        except UserError as error:
            pair["problem"] = str(error)
        pairs.append(pair)
        bar.update()
    return {
        "metric": metric["key"],
        "unit": metric.get("unit", ""),
        "digits": digits,
        "better": "higher" if metric.get("higher_is_better", True) else "lower",
        "models": names,
        "videos": shown,
        "left_out": len(videos) - len(shown),
        "scores": [[_rounded(scores[name].get(video), digits + 2) for video in shown] for name in names],
        "pairs": pairs,
    }


def _compared(found: Comparison) -> dict[str, Any]:
    interval = found.paired.interval or (None, None)
    return {
        "difference": found.paired.difference,
        "low": interval[0],
        "high": interval[1],
        "p": found.paired.p_value,
        "resampled": found.paired.groups,
        "videos": len(found.videos),
        "notes": [note for note in found.notes if not note.startswith(("A: ", "B: "))],
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
