"""Writes demo videos in the official layout of Something-Something v2, told apart by motion alone.

    20bn-something-something-v2/<id>.webm            VP9, 12 frames per second
    something-something-v2-train.json                [{"id", "label", "template", "placeholders"}, ...]
    something-something-v2-validation.json           the same
    something-something-v2-labels.json               {template without brackets: "0", ...}

The four classes are a thing that moves right, left, down or up over a still background. No single frame can tell them
apart, whatever its time in the clip:

- What leaves the image on one side comes in on the other. The thing's place half way through the clip is uniform over
  the image, and so it is at every frame of every class.
- A scene is filmed four times, once for each class, with the same thing, background and speed. The video to the left
  is the one to the right played backwards, and the one up is the one down played backwards: before encoding, the two
  videos of a pair hold the same pictures.

What is left for a model of single frames is what a codec that looks back in time leaves in its artefacts, and what a
readout over all frames makes of the places that they show.

Source of the layout: Goyal et al., ICCV 2017, and the data set's page at Qualcomm.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.media.video.writer import write_video
from rvm_bench.procedural.layout import SceneConfig, make_scene

HEIGHT_PX = 96
WIDTHS_PX = (104, 112, 120, 128)
"""Not far from square: the middle square of a frame shows some of the thing nearly wherever it is."""
FPS = Fraction(12)
FRAMES = (40, 52)
"""Fewest and most frames of a video."""
SPEED_PX = (1.2, 2.8)
"""Slowest and fastest thing, in pixels a frame."""

DIRECTIONS = {
    "Pushing [something] from left to right": (1, 0),
    "Pushing [something] from right to left": (-1, 0),
    "Moving [something] down": (0, 1),
    "Moving [something] up": (0, -1),
}
"""The classes by template, with the motion (x to the right, y down) of each."""

WALL, THING = 0.3, 1.25
"""Brightness of background and thing, as factors: a bright thing before a dim wall, which an untrained network tells
apart, so that what is hard is the motion and not the finding."""

_FINER = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """What the four videos of a scene share.

    Attributes:
        background: uint8 [H, W, 3].
        thing: float32 [H, W, 4], colour times cover (0..255) and cover (0..1), around the middle of the image.
        middle_xy: the thing's place half way through the clip, in pixels.
        speed_px: how far it moves in a frame.
        frames: of each video.
    """

    background: np.ndarray
    thing: np.ndarray
    middle_xy: np.ndarray
    speed_px: float
    frames: int

    def place(self, direction: tuple[int, int], t: int) -> np.ndarray:
        """Where the thing is at frame `t`: float64 (x, y) in pixels, within the image."""
        height, width = self.background.shape[:2]
        moved = np.array(direction) * (self.speed_px * (t - (self.frames - 1) / 2))
        return (self.middle_xy + moved) % (width, height)

    def render(self, direction: tuple[int, int], t: int) -> np.ndarray:
        """Frame `t`, uint8 [H, W, 3]: the thing over the background, its overhang on the opposite side."""
        height, width = self.background.shape[:2]
        shift = self.place(direction, t) - (width / 2, height / 2)
        motion = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
        thing = cv2.warpAffine(self.thing, motion, (width, height), borderMode=cv2.BORDER_WRAP)
        return np.rint(thing[..., :3] + self.background * (1 - thing[..., 3:])).clip(0, 255).astype(np.uint8)


def draw_stage(seed: tuple[int, ...]) -> Stage:
    """The scene that a seed draws: thing, background, size, speed and length."""
    rng = np.random.default_rng(seed)
    config = SceneConfig(
        height_px=_FINER * HEIGHT_PX,
        width_px=_FINER * int(rng.choice(WIDTHS_PX)),
        frames=1,
        things=1,
        figures=0,
        posts=0,
        motions=("still",),
        camera_motion=0.0,
        thing_size=(0.14, 0.24),
    )
    scene = make_scene(int(rng.integers(2**31)), config)
    (body,) = scene.bodies
    middle = body.path.middle.copy()
    middle[:2] = 0
    alone = replace(scene, bodies=(replace(body, path=replace(body.path, middle=middle)),)).render(0)
    cover = (alone.instances == 1).astype(np.float32)[..., None]
    size = config.width_px // _FINER, HEIGHT_PX
    background = cv2.resize(replace(scene, bodies=()).render(0).rgb, size, interpolation=cv2.INTER_AREA)
    thing = cv2.resize(np.concatenate([alone.rgb * cover, cover], axis=2), size, interpolation=cv2.INTER_AREA)
    thing = thing * np.array([THING, THING, THING, 1], np.float32)
    return Stage(
        background=np.rint(WALL * background).astype(np.uint8),
        thing=thing,
        middle_xy=rng.uniform((0, 0), size),
        speed_px=float(rng.uniform(*SPEED_PX)),
        frames=int(rng.integers(FRAMES[0], FRAMES[1] + 1)),
    )


def write(
    folder: Path,
    *,
    seed: int = 0,
    training: int = 96,
    validation: int = 24,
    progress: Callable[[str, int], object] | None = None,
) -> None:
    """Writes `training` and `validation` scenes, of one video for each class, under `folder`.

    The defaults make 384 and 96 videos and take some 20 s and 11 MB. The files are the same bytes for the same
    arguments and library versions. After each video, `progress` is called with its id and the number of its frames.

    Raises UserError where the folder already lists videos, so that no real copy is ever overwritten.
    """
    prefix = folder / "something-something-v2"
    listing = prefix.with_name(f"{prefix.name}-labels.json")
    if listing.exists():
        raise UserError(f"{listing} exists; name an empty folder for the demo copy, or remove that one")
    videos = folder / "20bn-something-something-v2"
    videos.mkdir(parents=True, exist_ok=True)
    # Ids tell nothing of the class.
    ids = iter(np.random.default_rng(seed).permutation(4 * (training + validation)) + 1)
    for number, (split, scenes) in enumerate((("train", training), ("validation", validation))):
        entries = []
        for scene in range(scenes):
            stage = draw_stage((seed, number, scene))
            for template, direction in DIRECTIONS.items():
                entry = {
                    "id": str(next(ids)),
                    "label": template.replace("[something]", "a thing").lower(),
                    "template": template,
                    "placeholders": ["a thing"],
                }
                pictures = (stage.render(direction, t) for t in range(stage.frames))
                write_video(videos / f"{entry['id']}.webm", pictures, fps=FPS)
                entries.append(entry)
                if progress is not None:
                    progress(str(entry["id"]), stage.frames)
        entries.sort(key=lambda entry: int(str(entry["id"])))
        prefix.with_name(f"{prefix.name}-{split}.json").write_text(json.dumps(entries, indent=1) + "\n")
    names = sorted(template.replace("[", "").replace("]", "") for template in DIRECTIONS)
    listing.write_text(json.dumps({name: str(index) for index, name in enumerate(names)}, indent=1) + "\n")
