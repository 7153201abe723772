"""Players of the worst videos of every task: truth and prediction over their frames."""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from rvm_bench.errors import UserError
from rvm_bench.report.contents import Contents
from rvm_bench.report.pictures import Sources
from rvm_bench.report.reopen import worst_videos
from rvm_bench.report.scatter import VideoScores, video_scores
from rvm_bench.report.sprites import Player, sprite
from rvm_bench.runs.finished import FinishedRun

logger = logging.getLogger(__name__)


def worst_players(
    contents: Contents, sources: Sources | None, *, count: int, frames: int, of: str | None = None
) -> list[Player]:
    """For each task a player for each of the `count` videos on which one model does worst, the worst first.

    A video whose pictures cannot be made keeps its player, which says why and how to mend it.

    Args:
        sources: where pictures come from; None makes none.
        count: videos of each task.
        frames: of each video, at most.
        of: name of the network whose worst videos they are; where it was not run on a task, and for None, the one that
            is best there.
    """
    players = []
    for task in contents.tasks if count else ():
        runs = contents.of_task(task)
        try:
            scores = video_scores(runs)
        except UserError:
            continue  # The scatter plot of this task says why.
        name = of if of in runs else best_of(runs)
        run = runs[name]
        metric = run.result["metric"]
        videos = worst_videos(scores[name], count, higher_is_better=metric.get("higher_is_better", True))
        with _predictions(sources, run) as folder:
            for video in tqdm(videos, desc=f"drawing {task}", unit="video", leave=False, disable=None):
                player = Player(heading=video, task=task, lines=_lines(name, scores, video, run))
                players.append(player if sources is None else _with_pictures(player, run, sources, folder, frames))
        if sources is not None:
            lacking = Counter(player.problem for player in players if player.task == task and player.problem)
            for problem, videos_without in lacking.items():
                logger.warning(f"{task}: no pictures of {videos_without} of {len(videos)} videos: {problem}")
    return players


def best_of(runs: dict[str, FinishedRun]) -> str:
    """The name of the run with the best headline number; of equal ones the first."""
    sign = 1 if next(iter(runs.values())).result["metric"].get("higher_is_better", True) else -1
    return max(runs, key=lambda name: sign * runs[name].score)


def _lines(name: str, scores: VideoScores, video: str, run: FinishedRun) -> tuple[str, ...]:
    metric = run.result["metric"]
    digits, unit = metric.get("digits", 1), metric.get("unit", "")
    captions = [f"{name}: {metric['key']} {scores[name][video]:.{digits}f} {unit}".rstrip()]
    others = [f"{other} {of[video]:.{digits}f}" for other, of in scores.items() if other != name and video in of]
    return (*captions, f"others: {', '.join(others)}") if others else tuple(captions)


def _with_pictures(player: Player, run: FinishedRun, sources: Sources, folder: Path, frames: int) -> Player:
    try:
        again = sources.reopen(run)
        remark = again.predict(player.heading, folder, make=sources.predictions is None)
        drawn = again.task.overlay(folder, again.video(player.heading), again.record(player.heading), frames)
    except (UserError, OSError) as error:
        return replace(player, problem=str(error))
    return replace(
        player,
        lines=(*player.lines, remark) if remark else player.lines,
        legend=drawn.legend,
        sprites=(sprite(run.model, [frame.picture for frame in drawn.frames]),),
        texts=tuple(f"frame {frame.number} of {drawn.length}: {frame.text}" for frame in drawn.frames),
    )


@contextmanager
def _predictions(sources: Sources | None, run: FinishedRun) -> Iterator[Path]:
    """The folder of a run's predictions: the user's, or one that goes when the pictures are made."""
    if sources is not None and sources.predictions is not None:
        yield sources.predictions / run.task / run.model
        return
    with tempfile.TemporaryDirectory(prefix="rvm-bench-report-") as folder:
        yield Path(folder)
