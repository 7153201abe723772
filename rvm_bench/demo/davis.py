"""Writes demo sequences in the official DAVIS-2017 layout.

    ImageSets/2017/val.txt               one sequence name per line
    JPEGImages/480p/<seq>/00000.jpg      RGB, 480 x 854
    Annotations/480p/<seq>/00000.png     palette PNG, index = object id, 0 background, PASCAL-VOC palette

Source of the layout: davischallenge.org, `DAVIS-2017-trainval-480p.zip`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from rvm_bench.errors import UserError
from rvm_bench.media.images import write_labels
from rvm_bench.procedural.layout import SceneConfig, make_scene
from rvm_bench.procedural.render import silhouette
from rvm_bench.procedural.scene import Scene

HEIGHT_PX, WIDTH_PX = 480, 854
JPEG_QUALITY = 92

MIN_AREA = 0.012
"""Least share of the first frame's pixels that every object of a sequence fills."""

_TRIES = 300


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """One sequence: its folder's name, and what its scene is drawn from."""

    name: str
    scene: SceneConfig


def _scene(things: int, figures: int, *motions: str, travel: float = 0.5, wall_drift_m: float = 0.0) -> SceneConfig:
    return SceneConfig(
        height_px=HEIGHT_PX,
        width_px=WIDTH_PX,
        things=things,
        figures=figures,
        motions=motions,
        travel=travel,
        wall_drift_m=wall_drift_m,
    )


SEQUENCES = (
    Sequence(name="demo-crossing", scene=_scene(2, 0, "left", "right", "up")),
    Sequence(name="demo-walkers", scene=_scene(1, 2, "left", "right", travel=0.4)),
    Sequence(name="demo-approach", scene=_scene(1, 1, "approach", "recede", "left", "right", wall_drift_m=0.8)),
    Sequence(name="demo-spin", scene=_scene(2, 1, "clockwise", "counterclockwise", "wander", travel=0.7)),
)


def write(
    folder: Path,
    *,
    seed: int = 0,
    sequences: tuple[Sequence, ...] = SEQUENCES,
    frames: int = 30,
    progress: Callable[[str, int], object] | None = None,
) -> None:
    """Writes `sequences` of `frames` frames under `folder`; the defaults take some 6 s and 12 MB.

    The files are the same bytes for the same arguments and library versions. After each frame, `progress` is called
    with the sequence's name and the number of its frames written so far.

    Raises UserError where the folder already lists sequences, so that no real copy is ever overwritten.
    """
    listing = folder / "ImageSets" / "2017" / "val.txt"
    if listing.exists():
        raise UserError(f"{listing} exists; name an empty folder for the demo copy, or remove that one")
    for number, sequence in enumerate(sequences):
        scene = fair_scene((seed, number), replace(sequence.scene, frames=frames))
        images = folder / "JPEGImages" / "480p" / sequence.name
        annotations = folder / "Annotations" / "480p" / sequence.name
        images.mkdir(parents=True, exist_ok=True)
        annotations.mkdir(parents=True, exist_ok=True)
        for t in range(frames):
            frame = scene.render(t)
            Image.fromarray(frame.rgb).save(images / f"{t:05d}.jpg", quality=JPEG_QUALITY)
            write_labels(annotations / f"{t:05d}.png", frame.instances)
            if progress is not None:
                progress(sequence.name, t + 1)
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("".join(f"{sequence.name}\n" for sequence in sequences))


def fair_scene(seed: tuple[int, ...], config: SceneConfig) -> Scene:
    """The first scene drawn that makes a fair sequence, judged at an eighth of the size on seven frames.

    Every object starts in plain sight and is seen again at the end; at some time one is largely hidden.

    Raises UserError where no such scene is found.
    """
    small = replace(config, height_px=config.height_px // 8, width_px=config.width_px // 8)
    for attempt in range(_TRIES):
        # Not seed + attempt: neighbouring seeds would then end in the same scene.
        drawn = int(np.random.SeedSequence([*seed, attempt]).generate_state(1)[0])
        scene = make_scene(drawn, small)
        area, shown = _sight(scene, 0)
        if (area < MIN_AREA).any() or (shown < 0.8).any():
            continue
        later = [_sight(scene, round(share * (config.frames - 1))) for share in (1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1)]
        least = np.min([shown for _, shown in later], axis=0)
        if config.frames == 1 or ((later[-1][0] >= MIN_AREA / 2).all() and (least < 0.65).any()):
            return make_scene(drawn, config)
    raise UserError(f"no fair scene in {_TRIES} tries with seed {seed} of {config}; try another seed or more travel")


def _sight(scene: Scene, t: int) -> tuple[np.ndarray, np.ndarray]:
    """For every body at frame `t`, what is seen of it as a share of the image and as a share of its silhouette."""
    view, instances = scene.view(t), scene.render(t).instances
    seen = np.array([(instances == body + 1).sum() for body in range(len(scene.bodies))])
    whole = np.array([silhouette(view, body + 1).sum() for body in range(len(scene.bodies))])
    return seen / instances.size, seen / np.maximum(whole, 1)
