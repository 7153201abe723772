"""VIP (Video Instance-level Parsing) on disk, in the layout of the released archive.

    <root>/lists/val_videos.txt                           one video name per line
    <root>/Images/<video>/<frame>.jpg                     RGB
    <root>/Annotations/Category_ids/<video>/<frame>.png   label PNG: 0 background, 1..19 parts and garments, 255 ignored

Only every 25th frame of a video is annotated, and only annotated frames are in the archive: the numbers of the files
have gaps.
"""

import re
from pathlib import Path

from propagation.datasets.sequences import VOID, MaskedVideo, verify_masked_videos
from propagation.datasets.split import VerifiedSplit, read_names
from rvm_bench.media.images import read_labels

SPLIT, FRAMES, MASKS = "lists/val_videos.txt", "Images", "Annotations/Category_ids"
CLASSES = 20
"""19 parts and garments, and the background (HCPLab-SYSU/ATEN, `evaluate/test_parsing.py`)."""
OFFICIAL_VIDEOS = 50
"""Videos of the official validation split (ATEN, Zhou et al. 2018: 304 + 50 + 50). Their names are not known here."""
OFFICIAL_NAME = re.compile(r"videos\d+")


def read_vip(root: Path) -> VerifiedSplit:
    """The validation split of the copy under `root`; UserError where its list is missing, empty or repeats a name."""
    names = read_names(root / SPLIT)
    videos, problems = verify_masked_videos(
        root, names, frames=FRAMES, masks=MASKS, least_frames=1, consecutive=False, check=_problems
    )
    remarks = [f"{name}: not an official name (videosN)" for name in names if not OFFICIAL_NAME.fullmatch(name)]
    if len(names) != OFFICIAL_VIDEOS:
        remarks.insert(0, f"{SPLIT} names {len(names)} videos, the official split has {OFFICIAL_VIDEOS}")
    return VerifiedSplit(
        root=root,
        lists=[root / SPLIT],
        listed=names,
        videos=videos,
        problems=problems,
        official=OFFICIAL_VIDEOS,
        in_official=sum(OFFICIAL_NAME.fullmatch(video.name) is not None for video in videos),
        remarks=remarks,
    )


def _problems(video: MaskedVideo) -> list[str]:
    """Every id must be a class or ignored, and frame 0 must have a class."""
    wrong = []
    for file in video.masks if video.largest_id >= CLASSES else ():
        mask = read_labels(file)
        unknown = mask[(mask >= CLASSES) & (mask != VOID)]
        if unknown.size:
            wrong.append(
                f"{file} holds id {unknown.max()}, expected 0..{CLASSES - 1} or {VOID}; are these the category ids?"
            )
    if (read_labels(video.masks[0]) == VOID).all():
        wrong.append(f"{video.masks[0]} holds only {VOID}: there is nothing to propagate")
    return wrong
