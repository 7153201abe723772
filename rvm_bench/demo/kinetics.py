"""Writes demo videos in the layout of Kinetics-700-2020, as the copy that CVDF hosts has it.

    train.csv, val.csv                                  label,youtube_id,time_start,time_end,split
    train/<youtube id>_<start:06d>_<end:06d>.mp4        H.264, of many sizes and frame rates
    val/<youtube id>_<start:06d>_<end:06d>.mp4

The five classes differ in what is seen and in how it moves: figures that run, jump or wave, things that spin or fly.
As in the data set a video is named by ten seconds of a longer one; here it holds the first two or three of them. Source
of the layout: cvdfoundation/kinetics-dataset.
"""

import csv
import operator
import string
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.media.video.writer import write_video
from rvm_bench.procedural.layout import SceneConfig, make_scene
from rvm_bench.procedural.scene import Scene

SIZES_HW = ((96, 128), (96, 168), (108, 144), (128, 96), (112, 112))
RATES = (Fraction(25), Fraction(30), Fraction(30000, 1001), Fraction(24))
FRAMES = (48, 64)
"""Fewest and most frames of a video."""

COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")

_TRIES = 100


@dataclass(frozen=True, kw_only=True)
class Action:
    """One class: its label, and what its scenes are drawn from."""

    label: str
    scene: SceneConfig


def _figure(label: str, gait: str, *motions: str, things: int = 0, strides: float = 4.0) -> Action:
    scene = SceneConfig(
        things=things, figures=1, posts=0, motions=motions, gaits=(gait,), strides=strides, depths_m=(3.2, 4.6)
    )
    return Action(label=label, scene=scene)


ACTIONS = (
    Action(
        label="flying kite",
        scene=SceneConfig(things=1, figures=0, posts=0, motions=("wander",), travel=0.7, thing_size=(0.13, 0.2)),
    ),
    _figure("jogging", "walk", "left", "right", strides=3.5),
    _figure("jumping jacks", "jacks", "still"),
    Action(
        label="spinning plates",
        scene=SceneConfig(
            things=3, figures=0, posts=1, motions=("clockwise", "counterclockwise"), thing_size=(0.12, 0.2)
        ),
    ),
    _figure("waving hand", "wave", "still", strides=3.0),
)


def draw_scene(seed: tuple[int, ...], action: Action) -> Scene:
    """The first scene drawn, of a size and a length drawn as well, whose bodies are well in view half way through.

    Raises UserError where no such scene is found.
    """
    rng = np.random.default_rng(seed)
    height, width = SIZES_HW[int(rng.integers(len(SIZES_HW)))]
    frames = int(rng.integers(FRAMES[0], FRAMES[1] + 1))
    config = replace(action.scene, height_px=height, width_px=width, frames=frames)
    for _ in range(_TRIES):
        scene = make_scene(int(rng.integers(2**31)), config)
        boxes, _ = scene.boxes(frames // 2)
        inside = np.clip(boxes, 0, (width, height, width, height))
        if (_areas(inside) > 0.85 * _areas(boxes)).all():
            return scene
    raise UserError(f"no scene of {action.label!r} in view in {_TRIES} tries with seed {seed}; try another seed")


def write(
    folder: Path,
    *,
    seed: int = 0,
    actions: tuple[Action, ...] = ACTIONS,
    training: int = 20,
    validation: int = 10,
    progress: Callable[[str, int], object] | None = None,
) -> None:
    """Writes `training` and `validation` videos of each of `actions` under `folder`.

    The defaults make 100 and 50 videos and take some 35 s and 4 MB. The files are the same bytes for the same arguments
    and library versions. After each video, `progress` is called with its file's stem and the number of its frames.

    Raises UserError where the folder already lists videos, so that no real copy is ever overwritten.
    """
    listings = {split: folder / f"{split}.csv" for split in ("train", "val")}
    for listing in listings.values():
        if listing.exists():
            raise UserError(f"{listing} exists; name an empty folder for the demo copy, or remove that one")
    for number, (split, count) in enumerate((("train", training), ("val", validation))):
        (folder / split).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng((seed, number))
        rows: list[tuple[str, str, int, int, str]] = []
        for kind, action in enumerate(actions):
            for video in range(count):
                scene = draw_scene((seed, number, kind, video), action)
                youtube_id, start = _youtube_id(rng), int(rng.integers(0, 400))
                file = folder / split / f"{youtube_id}_{start:06d}_{start + 10:06d}.mp4"
                fps = RATES[int(rng.integers(len(RATES)))]
                write_video(file, (scene.render(t).rgb for t in range(scene.frames)), fps=fps)
                rows.append((action.label, youtube_id, start, start + 10, split))
                if progress is not None:
                    progress(file.stem, scene.frames)
        with listings[split].open("w", newline="") as file_:
            writer = csv.writer(file_, lineterminator="\n")
            writer.writerow(COLUMNS)
            # By id as in the official lists, so that the classes mix.
            by_id = sorted(rows, key=operator.itemgetter(1))
            writer.writerows(by_id)


def _youtube_id(rng: np.random.Generator) -> str:
    """Eleven characters of YouTube's alphabet; some ids begin with a hyphen, more often here than there."""
    alphabet = list(string.ascii_letters + string.digits + "-_")
    first = "-" if rng.random() < 0.1 else str(rng.choice(alphabet))
    return first + "".join(rng.choice(alphabet, 10))


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
