"""A player of one video beside the features of every model as colours (`viz.pca`), the same in all of them."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rvm_bench.api.encoder import Encoder
from rvm_bench.api.task import Dataset
from rvm_bench.errors import UserError
from rvm_bench.media.frame_sampling import spread
from rvm_bench.report.contents import Contents
from rvm_bench.report.pictures import Sources
from rvm_bench.report.reopen import model_of
from rvm_bench.report.sprites import Player, sprite
from rvm_bench.viz.compare import pca_panels
from rvm_bench.viz.footage import Choice, read_images

logger = logging.getLogger(__name__)

FRAMES, SIDE_PX = 16, 256
"""Of the video that models see: as many, from the first on, and their short side."""


def pca_player(contents: Contents, sources: Sources, frames: int) -> Player | None:
    """Three principal components of every model's features as red, green and blue, beside the video; None where no
    task of the report has videos of image files.

    A model that cannot be loaded is left out and named.

    Args:
        frames: shown at most, of the `FRAMES` over which the components are taken.
    """
    problems: list[str] = []
    for task in contents.tasks:
        for run in contents.of_task(task).values():
            try:
                dataset = sources.reopen(run).dataset
            except UserError as error:
                problems.append(str(error))
                continue
            video = _with_images(dataset)
            if video is not None:
                return _player(contents, sources, task, video, frames)
    if problems:
        return Player(heading="features", task="", problem=problems[0])
    return None


def _player(contents: Contents, sources: Sources, task: str, video: Any, shown: int) -> Player:
    choice = Choice(frames=FRAMES, side_px=SIDE_PX)
    footage = read_images(video.frames, choice, video.name)
    lacking: list[str] = []
    panels = pca_panels(_encoders(contents, sources, lacking), footage)
    if not panels:
        return Player(heading=video.name, task=task, problem="; ".join(lacking))
    times = spread(len(footage), shown)
    sprites = [sprite("video", [footage[t] for t in times])]
    sprites += [sprite(panel.caption, [panel.frames[t] for t in times]) for panel in panels]  # type: ignore[misc]
    return Player(
        heading=video.name,
        task=task,
        lines=tuple(f"not shown: {line}" for line in lacking),
        legend="the first three principal components of all tokens of these frames, as red, green and blue",
        sprites=tuple(sprites),
        texts=tuple(f"frame {t} of {len(video.frames)}" for t in times),
    )


def _encoders(contents: Contents, sources: Sources, lacking: list[str]) -> Iterator[Encoder]:
    """Each network once, the smallest first; those that cannot be loaded are named in `lacking`."""
    for name in contents.models:
        run = contents.a_run_of(name)
        try:
            encoder = model_of(run, sources.weights.get(run.model), sources.device)
        except (UserError, OSError) as error:
            logger.warning(f"features of {name}: {error}")
            lacking.append(str(error))
            continue
        yield encoder.at("propagation")


def _with_images(dataset: Dataset) -> Any | None:
    """The first video whose frames are image files."""
    for video in dataset.videos:
        frames = getattr(video, "frames", None)
        if isinstance(frames, tuple) and frames and isinstance(frames[0], Path):
            return video
    return None
