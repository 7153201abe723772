"""DAVIS-2017 on disk, in the official layout.

<root>/ImageSets/2017/val.txt                  one sequence name per line
<root>/JPEGImages/480p/<sequence>/00000.jpg    RGB
<root>/Annotations/480p/<sequence>/00000.png   palette PNG: index = object id, 0 background, 255 void
"""

import csv
from pathlib import Path

import numpy as np

from propagation.datasets.sequences import MaskedVideo, verify_masked_videos
from propagation.datasets.split import VerifiedSplit, read_names
from rvm_bench.media.images import read_labels

SPLIT, FRAMES, MASKS = "ImageSets/2017/val.txt", "JPEGImages/480p", "Annotations/480p"
OFFICIAL_FRAMES = {
    row["sequence"]: int(row["frames"])
    for row in csv.DictReader(Path(__file__).with_name("davis_val.csv").read_text().splitlines())
}
"""Frames of each of the 30 sequences of the official validation split (1999 in all; db_info.yaml of davis-2017)."""


def read_davis(root: Path) -> VerifiedSplit:
    """The validation split of the copy under `root`; UserError where its list is missing, empty or repeats a name."""
    names = read_names(root / SPLIT)
    videos, problems = verify_masked_videos(
        root, names, frames=FRAMES, masks=MASKS, least_frames=3, consecutive=True, check=_problems
    )
    return VerifiedSplit(
        root=root,
        lists=[root / SPLIT],
        listed=names,
        videos=videos,
        problems=problems,
        official=len(OFFICIAL_FRAMES),
        in_official=sum(video.name in OFFICIAL_FRAMES for video in videos),
        remarks=[
            *(f"{name}: not in {SPLIT}" for name in OFFICIAL_FRAMES if name not in names),
            *(f"{name}: not in the official split" for name in names if name not in OFFICIAL_FRAMES),
        ],
    )


def _problems(video: MaskedVideo) -> list[str]:
    """An official sequence must have its official length, and every sequence objects 1 to n in its first mask."""
    expected = OFFICIAL_FRAMES.get(video.name, video.length)
    if video.length != expected:
        return [f"{video.frames[0].parent} has {video.length} frames, expected {expected}"]
    if video.objects == 0:
        return [f"{video.masks[0]} holds no object: there is nothing to propagate"]
    if unused := _unused(video):
        named = ", ".join(map(str, unused[:5])) + (", ..." if len(unused) > 5 else "")
        return [
            f"{video.masks[0]} holds id {video.objects}, but {len(unused)} ids below it occur in no mask ({named}); "
            "each would count as an object that was found: number the objects 1, 2, 3, ..."
        ]
    return []


def _unused(video: MaskedVideo) -> list[int]:
    """Ids below the largest of the first mask that no mask holds; later masks are read only for what is missing."""
    unused = set(range(1, video.objects + 1))
    for file in video.masks:
        unused.difference_update(np.unique(read_labels(file)).tolist())
        if not unused:
            break
    return sorted(unused)
