"""A comparison of two runs as text, Markdown, CSV (one line per video) and JSON."""

import dataclasses
import json
from typing import Any

from rvm_bench.tables.comparison import Comparison, SeedSpread
from rvm_bench.tables.run_list import aligned, markdown


def as_text(found: Comparison, most: int = 10) -> str:
    """What was compared, the difference with its interval and p-value, and the videos that differ most.

    Args:
        found: the comparison.
        most: how many videos are listed.
    """
    return "\n".join(
        [
            *_head(found),
            *_seeds(found),
            *found.notes,
            "",
            aligned([_VIDEO_HEAD, *_video_lines(found, most)]).rstrip("\n"),
            "",
        ]
    )


def as_markdown(found: Comparison, most: int = 10) -> str:
    """The same with the videos as a Markdown table."""
    lines = [f"- {line}" for line in (*_head(found), *_seeds(found), *found.notes)]
    table = markdown([_VIDEO_HEAD, *_video_lines(found, most)], ["left", "right", "right", "right"])
    return "\n".join([*lines, "", table])


def as_csv(found: Comparison) -> str:
    """One line per common video with both scores and their difference, all digits, the largest difference first."""
    import pandas as pd

    columns = ["video", "a", "b", "difference"]
    rows = [(pair.video, pair.first, pair.second, pair.difference) for pair in found.videos]
    return pd.DataFrame(rows, columns=columns).to_csv(index=False, lineterminator="\n")


def as_json(found: Comparison) -> str:
    """Everything that was found, with all digits."""
    return json.dumps(to_dict(found), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_dict(found: Comparison) -> dict[str, Any]:
    """The comparison as JSON values."""
    metric = found.first.result["metric"]
    runs = [
        {
            "model": run.model,
            "run": str(run.path),
            "fingerprint": run.stamp["fingerprint"],
            "score": score,
            "only_here": only,
            "seeds": None if spread is None else dataclasses.asdict(spread),
        }
        for run, score, only, spread in zip(
            (found.first, found.second), found.scores, found.left_out, found.seeds, strict=True
        )
    ]
    interval = found.paired.interval
    return {
        "task": found.first.task,
        "metric": metric["key"],
        "unit": metric["unit"],
        "higher_is_better": metric["higher_is_better"],
        "a": runs[0],
        "b": runs[1],
        "difference": found.paired.difference,
        "interval": None if interval is None else list(interval),
        "p_value": found.paired.p_value,
        "resampled": found.paired.groups,
        "notes": list(found.notes),
        "videos": [
            {"video": pair.video, "a": pair.first, "b": pair.second, "difference": pair.difference}
            for pair in found.videos
        ],
    }


_VIDEO_HEAD = ["video", "A", "B", "A - B"]


def _head(found: Comparison) -> list[str]:
    metric = found.first.result["metric"]
    digits = metric["digits"] + 1
    unit = f"{metric['key']} ({metric['unit']}, {'higher' if metric['higher_is_better'] else 'lower'} is better)"
    videos = len(found.videos)
    lines = [
        f"{found.first.task}, {unit}, on {videos} videos of both runs"
        + (f" in {found.paired.groups} scenes" if found.paired.groups != videos else "")
    ]
    for name, run, score, only in zip("AB", (found.first, found.second), found.scores, found.left_out, strict=True):
        left = f"; {only} videos that only this run has are left out" if only else ""
        lines.append(f"{name}  {run.model}  {score:.{digits}f}  {run.path}{left}")
    shown = f"A - B  {found.paired.difference:+.{digits}f}"
    if found.paired.interval is None or found.paired.p_value is None:
        return [*lines, f"{shown}  (one video or scene: no interval and no test)"]
    low, high = found.paired.interval
    return [*lines, f"{shown}  [{low:+.{digits}f}, {high:+.{digits}f}]  p = {found.paired.p_value:.2g}"]


def _seeds(found: Comparison) -> list[str]:
    return [
        line for name, spread in zip("AB", found.seeds, strict=True) if spread and (line := _seed_line(name, spread))
    ]


def _seed_line(name: str, spread: SeedSpread) -> str:
    where = f"on {spread.examples} held-out training examples, at the chosen learning rate {spread.learning_rate:g}"
    scores = ", ".join(f"{score:.4g}" for score in spread.scores.values())
    if spread.deviation is None:
        return f"{name}: one seed of the head; how much another would change the score is not known"
    return (
        f"{name}: {len(spread.scores)} seeds of the head have {spread.metric} {scores} {where}: standard deviation "
        f"{spread.deviation:.2g}, which the interval does not hold"
    )


def _video_lines(found: Comparison, most: int) -> list[list[str]]:
    digits = found.first.result["metric"]["digits"]
    return [
        [pair.video, f"{pair.first:.{digits}f}", f"{pair.second:.{digits}f}", f"{pair.difference:+.{digits}f}"]
        for pair in found.videos[:most]
    ]
