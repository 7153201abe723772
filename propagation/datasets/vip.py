"""VIP (video instance-level parsing) on disk, in the layout of the released archive.

<root>/lists/val_videos.txt                    one video name per line
<root>/Images/<video>/<frame>.jpg              RGB
<root>/Annotations/Category_ids/<video>/<frame>.png    class ids 0..19, 255 ignored
"""

import re
from collections.abc import Sequence
from pathlib import Path

from propagation.datasets.sequences import MaskedVideo, verify_videos
from rvm_bench.media.images import read_labels

SPLIT, FRAMES, MASKS = "lists/val_videos.txt", "Images", "Annotations/Category_ids"
OFFICIAL_VIDEOS = 50
"""Videos of the official validation split (ATEN, Zhou et al. 2018: 304 + 50 + 50); their names are not known here."""
OFFICIAL_NAME = re.compile(r"videos\d+")


def verify_vip(
    data: Path, names: Sequence[str], *, classes: int, ignored: int
) -> tuple[list[MaskedVideo], dict[str, list[str]]]:
    """Whole videos and problems; every id must be a class or ignored, and frame 0 must hold a class."""
    videos, problems = verify_videos(data, names, frames=FRAMES, masks=MASKS, least_frames=1, consecutive=False)
    whole = []
    for video in videos:
        wrong = _not_classes(video.masks, classes, ignored) if video.largest_id >= classes else []
        if (read_labels(video.masks[0]) == ignored).all():
            wrong.append(f"{video.masks[0]} holds only {ignored}: there is nothing to propagate")
        if wrong:
            problems[video.name] = wrong
        else:
            whole.append(video)
    return whole, problems


def unofficial(names: Sequence[str]) -> list[str]:
    """One line for every difference between a split file's names and what is known of the official split."""
    lines = []
    if len(names) != OFFICIAL_VIDEOS:
        lines.append(f"{SPLIT} names {len(names)} videos, the official split has {OFFICIAL_VIDEOS}")
    return lines + [f"{name}: not an official name (videosN)" for name in names if not OFFICIAL_NAME.fullmatch(name)]


def _not_classes(masks: Sequence[Path], classes: int, ignored: int) -> list[str]:
    """A line for every mask with an id that is neither a class nor ignored."""
    found = {file: (mask := read_labels(file))[(mask >= classes) & (mask != ignored)] for file in masks}
    return [
        f"{file} holds id {ids.max()}, expected 0..{classes - 1} or {ignored}; are these the category ids?"
        for file, ids in found.items()
        if ids.size
    ]
