"""Writes demo videos in the official layout of VIP (Video Instance-level Parsing).

    lists/val_videos.txt                                one video name per line
    Images/<video>/000000000001.jpg                     RGB, 480 x 854
    Annotations/Category_ids/<video>/000000000001.png   palette PNG, index = class 0..19, 0 background

As in a real copy only every 25th frame is there: the files are numbered 1, 26, 51, ..., and figures move a good deal
from one to the next. Source of the layout: HCPLab-SYSU/ATEN, and the released evaluation notebook of RVM.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from rvm_bench.demo.davis import fair_scene
from rvm_bench.errors import UserError
from rvm_bench.media.images import write_labels
from rvm_bench.procedural.figures import PART_NAMES
from rvm_bench.procedural.layout import SceneConfig

HEIGHT_PX, WIDTH_PX = 480, 854
JPEG_QUALITY = 92
CLASSES = PART_NAMES.index("thing")
"""Background and the parts of figures. What belongs to a thing is background in VIP."""
STEP = 25
"""Frames of the filmed video from one annotated frame to the next."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One video: its folder's name, its annotated frames, and what its scene is drawn from."""

    name: str
    frames: int
    scene: SceneConfig


def _scene(things: int, figures: int, *motions: str, travel: float, strides: float) -> SceneConfig:
    return SceneConfig(
        height_px=HEIGHT_PX,
        width_px=WIDTH_PX,
        things=things,
        figures=figures,
        motions=motions,
        travel=travel,
        strides=strides,
    )


CLIPS = (
    Clip(name="demo-videos1", frames=24, scene=_scene(0, 3, "left", "right", travel=0.5, strides=5)),
    Clip(name="demo-videos2", frames=26, scene=_scene(1, 2, "left", "right", "approach", travel=0.6, strides=4)),
    Clip(name="demo-videos3", frames=28, scene=_scene(1, 3, "left", "right", "recede", travel=0.4, strides=6)),
)


def write(
    folder: Path,
    *,
    seed: int = 0,
    clips: tuple[Clip, ...] = CLIPS,
    progress: Callable[[str, int], object] | None = None,
) -> None:
    """Writes `clips` under `folder`; the defaults take some 4 s and 8 MB.

    The files are the same bytes for the same arguments and library versions. After each frame, `progress` is called
    with the video's name and the number of its frames written so far.

    Raises UserError where the folder already lists videos, so that no real copy is ever overwritten.
    """
    listing = folder / "lists" / "val_videos.txt"
    if listing.exists():
        raise UserError(f"{listing} exists; name an empty folder for the demo copy, or remove that one")
    for number, clip in enumerate(clips):
        scene = fair_scene((seed, number), replace(clip.scene, frames=clip.frames))
        images = folder / "Images" / clip.name
        annotations = folder / "Annotations" / "Category_ids" / clip.name
        images.mkdir(parents=True, exist_ok=True)
        annotations.mkdir(parents=True, exist_ok=True)
        for t in range(clip.frames):
            frame, stem = scene.render(t), f"{1 + STEP * t:012d}"
            Image.fromarray(frame.rgb).save(images / f"{stem}.jpg", quality=JPEG_QUALITY)
            write_labels(annotations / f"{stem}.png", np.where(frame.parts < CLASSES, frame.parts, 0))
            if progress is not None:
                progress(clip.name, t + 1)
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("".join(f"{clip.name}\n" for clip in clips))
