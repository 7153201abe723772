"""DAVIS-2017 on disk, in the official layout.

<root>/ImageSets/2017/val.txt                  one sequence name per line
<root>/JPEGImages/480p/<sequence>/00000.jpg    RGB
<root>/Annotations/480p/<sequence>/00000.png   palette PNG: index = object id, 0 background, 255 void
"""

import csv
from pathlib import Path

from propagation.datasets.sequences import MaskedVideo, verify_masked_videos
from propagation.datasets.split import VerifiedSplit, read_names

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
    """An official sequence must have its official length, and every sequence an object."""
    expected = OFFICIAL_FRAMES.get(video.name, video.length)
    if video.length != expected:
        return [f"{video.frames[0].parent} has {video.length} frames, expected {expected}"]
    if video.largest_id == 0:
        return [f"{video.masks[0].parent} holds no object in any mask"]
    return []
