"""A road as a driving camera sees it: vehicles and people, and posts that hide what is behind them.

Traffic keeps to its lanes: it comes nearer on the left and goes away on the right, and across the view it goes to the
right near by and to the left farther off. So much of the motion can be learned from a few scenes; how the camera turns,
how fast all goes, and where the people walk has to be seen.
"""

import math
from dataclasses import replace

import numpy as np

from rvm_bench.procedural.backdrop import make_backdrop
from rvm_bench.procedural.body import Body, Bone, Part
from rvm_bench.procedural.figures import FIGURE_HEIGHT_M, HIP_TO_SOLE, PART_NAMES, make_figure
from rvm_bench.procedural.motion import PITCH, YAW, Path, X, Z, body_path
from rvm_bench.procedural.scene import FOCAL, Scene
from rvm_bench.procedural.shapes import Box, Outline, Superellipse
from rvm_bench.procedural.textures import Texture, make_texture

HEIGHT_PX, WIDTH_PX = 128, 192
"""Half as wide again as high, as 1280 x 1920."""

NEAR_LANE_M = 7.0
"""Vehicles that cross the view nearer than this go to the right, the others to the left."""

_HALF_VIEW = np.array([WIDTH_PX, HEIGHT_PX]) / (2 * FOCAL * math.sqrt(HEIGHT_PX * WIDTH_PX))


def draw_road(rng: np.random.Generator, frames: int) -> Scene:
    """A road with one to four vehicles and at most one person, each at a depth of its own."""
    vehicles, people = int(rng.integers(1, 5)), int(rng.integers(0, 2))
    count = vehicles + people
    ground = float(rng.uniform(1.2, 1.5))
    backdrop = make_backdrop(
        rng,
        ground_m=ground,
        wall_m=float(rng.uniform(14, 20)),
        posts=int(rng.integers(1, 3)),
        post_depths_m=(4.0, 9.0),
        drift_m=0.0,
        texture_side=256,
    )
    depths = 4.0 + 6.0 * (rng.permutation(count) + rng.uniform(0.2, 0.8, count)) / count
    columns = ((rng.permutation(count) + rng.uniform(0.2, 0.8, count)) / count - 0.5) * 1.2
    bodies = [
        _vehicle(rng, ground, float(depths[k]), float(columns[k]))
        if k < vehicles
        else _person(rng, ground, float(depths[k]), float(columns[k]))
        for k in range(count)
    ]
    return Scene(
        height_px=HEIGHT_PX,
        width_px=WIDTH_PX,
        frames=frames,
        bodies=tuple(bodies),
        backdrop=backdrop,
        camera=_drive(rng),
        ground_m=ground,
    )


def _drive(rng: np.random.Generator) -> Path:
    """The camera's path: it drives ahead, turns to one side, sways, and pitches a little."""
    middle, drift, sway = np.zeros(7), np.zeros(7), np.zeros(7)
    side = float(rng.choice([-1, 1]))
    drift[Z] = rng.uniform(0.5, 2.5)
    drift[X] = rng.uniform(-0.5, 0.5)
    drift[YAW] = side * rng.uniform(0.03, 0.25)
    sway[YAW], sway[X], sway[PITCH] = rng.uniform(0.0, 0.03), rng.uniform(0.0, 0.15), rng.uniform(0.002, 0.012)
    cycles, phase = rng.uniform(0.5, 1.2, 7), rng.uniform(0, 2 * np.pi, 7)
    return Path(middle=middle, drift=drift, sway=sway, cycles=cycles, phase=phase)


def _path(rng: np.random.Generator, motion: str, height_m: float, depth_m: float, column: float, travel: float) -> Path:
    half_view = _HALF_VIEW * depth_m
    # Those who cross the view pass near its middle half way.
    start = np.array([column * half_view[0] * (0.4 if motion in ("left", "right") else 1), height_m, depth_m])
    return body_path(rng, motion, start=start, half_view=half_view, travel=travel, standing=True)


def _motion(rng: np.random.Generator, depth_m: float, column: float) -> str:
    """A class of motion for a lane; `column` is -0.6 at the left and 0.6 at the right."""
    across = "right" if depth_m < NEAR_LANE_M else "left"
    along = "approach" if column < 0 else "recede"
    return str(rng.choice([across, along, "leave-return"], p=[0.55, 0.33, 0.12]))


def _person(rng: np.random.Generator, ground: float, depth_m: float, column: float) -> Body:
    motion = str(rng.choice(["left", "right"]))
    path = _path(rng, motion, ground - HIP_TO_SOLE * FIGURE_HEIGHT_M, depth_m, column, float(rng.uniform(0.4, 0.8)))
    return make_figure(rng, motion=motion, path=path, strides=5.0, texture_side=64, gaits=("walk",))


def _vehicle(rng: np.random.Generator, ground: float, depth_m: float, column: float) -> Body:
    """A box with a cabin, a lamp or two and two wheels. One that crosses has its cabin behind and its lamp in front;
    one that comes shows two bright lamps, one that goes two red ones."""
    motion = _motion(rng, depth_m, column)
    across = motion in ("left", "right", "leave-return")
    ahead = 0.0 if not across else 1.0 if depth_m < NEAR_LANE_M else -1.0
    length = rng.uniform(0.85, 1.4) if across else rng.uniform(0.55, 0.75)
    body_half, cabin_half, wheel = rng.uniform(0.22, 0.34), rng.uniform(0.2, 0.3), rng.uniform(0.17, 0.24)
    path = _path(rng, motion, ground - wheel - body_half, depth_m, column, float(rng.uniform(0.9, 1.1)))
    if motion == "leave-return":
        path.sway[X] = ahead * abs(path.sway[X])
    paint, glass, rubber = (make_texture(rng, side=64, tile_m=tile) for tile in (2.5, 1.0, 0.4))
    lamp = replace(rubber, pixels=np.full_like(rubber.pixels, (230, 40, 40) if motion == "recede" else (255, 245, 190)))
    bones, parts = [Bone()], []

    def add(outline: Outline, texture: Texture, layer_m: float, at: tuple[float, float], bone: int = 0) -> None:
        label = PART_NAMES.index("thing" if texture is paint else "thing detail")
        parts.append(Part(outline=outline, texture=texture, label=label, layer_m=layer_m, at=at, bone=bone))

    cabin_at = -0.3 * ahead * length, -body_half - 0.6 * cabin_half
    add(Box(a=length * 0.6, b=cabin_half, radius=0.12), glass, -0.01, cabin_at)
    add(Box(a=length, b=body_half, radius=0.1), paint, 0.0, (0.0, 0.0))
    for side in (-1.0, 1.0):
        bones.append(Bone(parent=0, pivot=(side * 0.62 * length, body_half), swing=6.0, cycles=0.5))
        add(Superellipse(a=wheel, b=wheel), rubber, 0.01, (0.0, 0.0), len(bones) - 1)
        if ahead in (0.0, side):
            add(Superellipse(a=0.12, b=0.12), lamp, 0.02, (side * (length - 0.14), -0.3 * body_half))
    return Body(motion=motion, path=path, bones=tuple(bones), parts=tuple(parts))
