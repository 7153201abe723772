"""Writes demo videos in the official layout of Perception Test's point tracking: its validation split.

    point_tracking_valid.json                {video id: {"metadata": {...}, "point_tracking": [track, ...]}, ...}
    videos/<video id>.mp4                    H.264, 30 frames a second

The worlds are of the kind that `movi` writes, drawn from other seeds and filmed at 30 frames a second: in 16 frames of
every second one as much happens as in 16 frames of a clip there. Tracks are exact. A track has no entry for a frame in
which its point is hidden or outside the image. Two pictures in three are not square: a reader has to make them so.

Source of the layout: google-deepmind/perception_test, README.md and `baselines/single_point_tracking.ipynb`.
"""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.media.video.writer import write_video
from rvm_bench.procedural.tracks import Tracks
from rvm_bench.procedural.world import World, make_world

SIZES_HW = ((96, 112), (112, 96), (96, 96))
FPS = Fraction(30)
FRAMES = 64
"""Two windows of 16 frames at a stride of 2."""
STRIDE = 2
POINTS = 60
"""Tracks of a video, as many as the official split has on average: 4362 of 73 videos."""
FIRST_ID = 90_000
"""No official video has such a number."""

_OTHER_SEEDS = 1


def write(
    folder: Path,
    *,
    seed: int = 0,
    videos: int = 24,
    frames: int = FRAMES,
    progress: Callable[[str, int], object] | None = None,
) -> None:
    """Writes `videos` videos of `frames` frames under `folder`; the defaults take some 25 s and 3 MB.

    The files are the same bytes for the same arguments and library versions. After each video, `progress` is called
    with its id and the number of its frames.

    Raises UserError where the folder already lists videos, so that no real copy is ever overwritten.
    """
    listing = folder / "point_tracking_valid.json"
    if listing.exists():
        raise UserError(f"{listing} exists; name an empty folder for the demo copy, or remove that one")
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    entries = {}
    for number in range(videos):
        name, size_hw = f"video_{FIRST_ID + number}", SIZES_HW[number % len(SIZES_HW)]
        world = draw_world(seed, number, frames)
        pictures = (world.photograph(t, *size_hw) for t in range(frames))
        write_video(folder / "videos" / f"{name}.mp4", pictures, fps=FPS)
        entries[name] = {
            "metadata": {
                "split": "valid",
                "video_id": name,
                "frame_rate": float(FPS),
                "num_frames": frames,
                "resolution": list(size_hw),
                "is_cup_game": False,
                "is_camera_moving": True,
            },
            "point_tracking": _annotate(world.tracks(POINTS, number, *size_hw), size_hw),
        }
        if progress is not None:
            progress(name, frames)
    listing.write_text(json.dumps(entries) + "\n")


def draw_world(seed: int, number: int, frames: int = FRAMES) -> World:
    """The world of a video. None of them is one that `movi` draws from the same seed."""
    return make_world((seed, number, _OTHER_SEEDS), frames=frames, stride=STRIDE)


def _annotate(tracks: Tracks, size_hw: tuple[int, int]) -> list[dict[str, Any]]:
    """The entries of all tracks: y and x as shares of the image."""
    shares = tracks.xy[..., ::-1] / size_hw
    entries = []
    for i, instance in enumerate(tracks.instance.tolist()):
        frame_ids = np.flatnonzero(tracks.visible[i])
        entries.append(
            {
                "id": i,
                "label": f"solid {instance}" if instance else "background",
                "parent_objects": [instance - 1] if instance else [],
                "frame_ids": frame_ids.tolist(),
                "points": np.round(shares[i, frame_ids].T, 6).tolist(),
            }
        )
    return entries
