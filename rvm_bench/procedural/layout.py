"""Composing a scene from a seed: who plays in it, where, and how they move."""

from dataclasses import dataclass

import numpy as np

from rvm_bench.errors import UserError, unknown_name
from rvm_bench.procedural.backdrop import make_backdrop
from rvm_bench.procedural.body import Body
from rvm_bench.procedural.figures import FIGURE_HEIGHT_M, GAITS, HIP_TO_SOLE, make_figure
from rvm_bench.procedural.motion import MOTIONS, STANDING_MOTIONS, body_path, camera_path
from rvm_bench.procedural.scene import FOCAL, Scene
from rvm_bench.procedural.things import make_thing


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """What a scene is drawn from. The geometry does not depend on the number of frames, nor on the resolution at one
    aspect ratio: the same seed shows the same scene, longer or finer."""

    height_px: int = 96
    width_px: int = 96
    frames: int = 64
    things: int = 2
    """Bodies without a skeleton."""
    figures: int = 1
    """Articulated human figures; they stand on the ground where `motions` lets them."""
    posts: int = 1
    """Standing surfaces of the backdrop, which can hide bodies."""
    motions: tuple[str, ...] = MOTIONS
    """The classes a body's motion is drawn from."""
    travel: float = 0.6
    """The share of the view's width (height for up and down) that a moving body crosses in the clip."""
    camera_motion: float = 1.0
    """0 for a still camera; 1 for a hand-held one that moves some 0.4 m and 3 degrees."""
    wall_drift_m: float = 0.0
    """How far the wall slides along itself in the clip."""
    strides: float = 2.5
    """Cycles of a figure's gait in the clip."""
    gaits: tuple[str, ...] = GAITS
    """What a figure's gait is drawn from; a name that stands twice is twice as likely."""
    depths_m: tuple[float, float] = (3.6, 6.5)
    """Between which bodies are placed, each at a depth of its own."""
    thing_size: tuple[float, float] = (0.12, 0.23)
    """Radius of a thing as a share of the view's height at its depth, from and to."""

    def __post_init__(self) -> None:
        if min(self.height_px, self.width_px) < 16 or self.frames < 1:
            raise UserError(f"a scene needs at least 16 x 16 pixels and one frame, not {self}")
        if self.things < 0 or self.figures < 0 or self.things + self.figures > 255:
            raise UserError(f"a scene holds 0 to 255 bodies, not {self.things} things and {self.figures} figures")
        if not self.motions:
            raise UserError("a scene needs at least one motion class to draw from")
        for motion in self.motions:
            if motion not in MOTIONS:
                raise unknown_name("motion class", motion, MOTIONS)
        if not self.gaits:
            raise UserError("a scene needs at least one gait to draw from")
        for gait in self.gaits:
            if gait not in GAITS:
                raise unknown_name("gait", gait, set(GAITS))


def make_scene(seed: int, config: SceneConfig) -> Scene:
    """The scene that `seed` draws from `config`: the same bytes for the same arguments and library versions.

    Figures come first among the bodies. At 96 x 96 it takes some 25 ms, at 480 x 854 some 0.16 s.
    """
    rng = np.random.default_rng(seed)
    count = config.things + config.figures
    # Shapes and textures draw from generators of their own, so that a larger texture or a new garment moves nobody.
    backdrop_rng, *body_rngs = rng.spawn(1 + count)
    focal = FOCAL * np.sqrt(config.height_px * config.width_px)
    half_view = np.array([config.width_px, config.height_px]) / (2 * focal)
    ground = float(rng.uniform(0.95, 1.2))
    backdrop_side = _power_of_two(1.2 * focal, 128, 1024)
    body_side = _power_of_two(0.25 * focal, 32, 256)
    near, far = config.depths_m
    backdrop = make_backdrop(
        backdrop_rng,
        ground_m=ground,
        wall_m=float(rng.uniform(far + 2.5, far + 5.5)),
        posts=config.posts,
        post_depths_m=(near - 0.4, far + 1.5),
        drift_m=config.wall_drift_m,
        texture_side=backdrop_side,
    )
    # One depth and one column of the view for each, in unrelated orders.
    depths = near + (far - near) * (rng.permutation(count) + rng.uniform(0.2, 0.8, count)) / max(count, 1)
    columns = ((rng.permutation(count) + rng.uniform(0.25, 0.75, count)) / max(count, 1) - 0.5) * 1.3
    bodies: list[Body] = []
    for index in range(count):
        depth, body_rng, standing = float(depths[index]), body_rngs[index], index < config.figures
        classes = [name for name in config.motions if name in STANDING_MOTIONS] if standing else []
        motion = str(rng.choice(classes or list(config.motions)))
        size = rng.uniform(*config.thing_size) * 2 * half_view[1] * depth
        # Those who cross the view pass near its middle half way, and so one another.
        column = columns[index] * (0.35 if motion in ("left", "right") else 1.0)
        height = rng.uniform(-0.45, 0.2) * half_view[1] * depth
        # Room to come down without going through the ground.
        fall = config.travel * {"up": 0.8, "down": 0.8, "wander": 0.4}.get(motion, 0.0) * half_view[1] * depth
        height = ground - HIP_TO_SOLE * FIGURE_HEIGHT_M - 0.02 if standing else min(height, ground - 1.2 * size - fall)
        path = body_path(
            rng,
            motion,
            start=np.array([column * half_view[0] * depth, height, depth]),
            half_view=half_view * depth,
            travel=config.travel,
            standing=standing,
        )
        if standing:
            body = make_figure(
                body_rng,
                motion=motion,
                path=path,
                strides=config.strides,
                texture_side=body_side,
                gaits=config.gaits,
            )
        else:
            body = make_thing(body_rng, motion=motion, path=path, radius_m=float(size), texture_side=body_side)
        bodies.append(body)
    return Scene(
        height_px=config.height_px,
        width_px=config.width_px,
        frames=config.frames,
        bodies=tuple(bodies),
        backdrop=backdrop,
        camera=camera_path(rng, config.camera_motion),
        ground_m=ground,
    )


def _power_of_two(value: float, low: int, high: int) -> int:
    return int(2 ** np.clip(np.ceil(np.log2(value)), np.log2(low), np.log2(high)))
