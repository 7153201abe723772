"""DAVIS-2017 on disk, in the official layout.

<root>/ImageSets/2017/val.txt                  one sequence name per line
<root>/JPEGImages/480p/<sequence>/00000.jpg    RGB
<root>/Annotations/480p/<sequence>/00000.png   palette PNG: index = object id, 0 background, 255 void
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from propagation.datasets.sequences import MaskedVideo, verify_videos

SPLIT, FRAMES, MASKS = "ImageSets/2017/val.txt", "JPEGImages/480p", "Annotations/480p"
OFFICIAL_FRAMES = {
    row["sequence"]: int(row["frames"])
    for row in csv.DictReader(Path(__file__).with_name("davis_val.csv").read_text().splitlines())
}
"""Frames of each of the 30 sequences of the official validation split (1999 in all; db_info.yaml of davis-2017)."""


def verify_davis(data: Path, names: Sequence[str]) -> tuple[list[MaskedVideo], dict[str, list[str]]]:
    """Whole videos and problems; an official sequence must have its official length, and every video an object."""
    videos, problems = verify_videos(data, names, frames=FRAMES, masks=MASKS, least_frames=3)
    whole = []
    for video in videos:
        expected = OFFICIAL_FRAMES.get(video.name, len(video.frames))
        if len(video.frames) != expected:
            problems[video.name] = [f"{data / FRAMES / video.name} has {len(video.frames)} frames, expected {expected}"]
        elif video.largest_id == 0:
            problems[video.name] = [f"{data / MASKS / video.name} holds no object in any mask"]
        else:
            whole.append(video)
    return whole, problems


def unofficial(names: Sequence[str]) -> list[str]:
    """One line for every difference between a split file's names and the official validation split."""
    lines = [f"{name}: not in {SPLIT}" for name in OFFICIAL_FRAMES if name not in names]
    return lines + [f"{name}: not in the official split" for name in names if name not in OFFICIAL_FRAMES]
