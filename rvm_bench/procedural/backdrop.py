"""What a scene plays in front of: a slanted wall, a ground, and standing posts that hide what passes behind them."""

from dataclasses import dataclass

import numpy as np

from rvm_bench.procedural.motion import rotation
from rvm_bench.procedural.shapes import Box
from rvm_bench.procedural.textures import make_texture, random_palette
from rvm_bench.procedural.view import Surface


@dataclass(frozen=True, kw_only=True, eq=False)
class Backdrop:
    """Surfaces of instance 0 and their planes.

    `rest` float64 [n, 3, 3] holds the planes at the middle of the clip (columns: u axis, v axis, origin), and `drift`
    float64 [n, 3] how far each origin slides within its own plane over the clip, in metres.
    """

    surfaces: tuple[Surface, ...]
    rest: np.ndarray
    drift: np.ndarray

    def planes(self, tau: float) -> np.ndarray:
        """The planes at `tau`, float64 [n, 3, 3]."""
        planes = self.rest.copy()
        planes[:, :, 2] += self.drift * (tau - 0.5)
        return planes


def make_backdrop(
    rng: np.random.Generator,
    *,
    ground_m: float,
    wall_m: float,
    posts: int,
    post_depths_m: tuple[float, float],
    drift_m: float,
    texture_side: int,
) -> Backdrop:
    """A wall about `wall_m` away, a ground `ground_m` below the camera, and `posts` between `post_depths_m`.

    `drift_m` is how far the wall slides along itself during the clip, as clouds or a passing landscape would.
    """
    wall = rotation(rng.uniform(-0.06, 0.06), rng.uniform(-0.25, 0.25), rng.uniform(-0.1, 0.1))
    ground = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ rotation(0, 0, rng.uniform(-0.6, 0.6))
    planes, drifts, surfaces = [], [], []

    def add(axes: np.ndarray, origin: tuple[float, float, float], tile_m: float, outline: Box | None) -> None:
        plane = axes.copy()
        plane[:, 2] = origin
        texture = make_texture(rng, side=texture_side, tile_m=tile_m, palette=random_palette(rng, muted=True))
        at = float(rng.uniform(0, tile_m)), float(rng.uniform(0, tile_m))
        planes.append(plane)
        drifts.append(np.zeros(3))
        surfaces.append(Surface(outline=outline, texture=texture, texture_at=at, instance=0, part=0))

    add(wall, (0.0, 0.0, wall_m), 11.0, None)
    drifts[0] = wall[:, 0] * drift_m * float(rng.choice([-1, 1]))
    add(ground, (0.0, ground_m, 0.0), 7.0, None)
    for _ in range(posts):
        depth, half_width, half_height = rng.uniform(*post_depths_m), rng.uniform(0.12, 0.4), rng.uniform(0.4, 1.1)
        turned = rotation(0.0, rng.uniform(-0.5, 0.5), 0.0)
        place = rng.uniform(-0.6, 0.6) * depth, ground_m - half_height, depth
        shape = Box(a=half_width, b=half_height, radius=half_width * rng.uniform(0.0, 0.9))
        add(turned, place, 3.0, shape)
    return Backdrop(surfaces=tuple(surfaces), rest=np.stack(planes), drift=np.stack(drifts))
