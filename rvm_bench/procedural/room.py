"""Rooms seen from inside: textured blocks between four walls, cast ray by ray, with exact depth.

`scene.Scene` shows flat things before a far backdrop; here surfaces run from beside the camera to the end of the room,
so that perspective, occlusion, shading and the size of the texture all tell depth. Axes, units and image coordinates
are those of `rvm_bench.demo`; the origin is the middle of the room.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np

from rvm_bench.procedural.motion import PITCH, ROLL, YAW, Path, X, Y, Z
from rvm_bench.procedural.solids import ACROSS, Block
from rvm_bench.procedural.textures import PATTERNS, Texture, make_texture, random_palette
from rvm_bench.procedural.view import Camera

FOCAL = 0.9
"""Focal length in units of the image's width; ScanNet's cameras have 0.90 (colour) and 0.89 (depth)."""

STROLL_M = 0.5
"""The camera stays this near to the middle of the room, level with the ground."""
CLEARANCE_M = 0.3
"""No block comes nearer than this to where the camera may be."""

TEXTURE_SIDE = 256
"""Texels along each side of every texture in a room."""

_SUPERSAMPLE = 2
_LIGHT = np.array([-0.45, -0.65, -0.61])


@dataclass(frozen=True, kw_only=True, eq=False)
class Hits:
    """What rays meet: `along` float32 [...], in lengths of the ray; `surface` int16 [...], 0 to 5 the room's faces and
    then six for each block (-x, +x, -y, +y, -z, +z of its own axes); `u` and `v` float32 [...], metres on that face."""

    along: np.ndarray
    surface: np.ndarray
    u: np.ndarray
    v: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Room:
    """A room, its blocks and a camera in it.

    Attributes:
        half: half the sides of the room, [3] in metres.
        blocks: what is in it.
        textures: ceiling, walls and floor first.
        texture_at: where each surface starts on its texture, [surfaces, 2].
        path: of the camera.
        focal: focal length in units of the image's width.
        lamp_m: the distance at which the light of the camera's lamp has fallen to a half.
    """

    half: np.ndarray
    blocks: tuple[Block, ...]
    textures: tuple[Texture, ...]
    texture_at: np.ndarray
    path: Path
    focal: float = FOCAL
    lamp_m: float = 1.6

    def camera_at(self, tau: float, height_px: int, width_px: int) -> Camera:
        """The camera at `tau` in [0, 1], for an image of this size; the view is the same at every size of one shape."""
        focal = self.focal * width_px
        intrinsics = np.array([[focal, 0, width_px / 2], [0, focal, height_px / 2], [0, 0, 1]])
        to_world = np.eye(4)
        to_world[:3] = self.path.pose(tau)
        return Camera(intrinsics=intrinsics, to_world=to_world, height_px=height_px, width_px=width_px)

    def cast(self, origin: np.ndarray, rays: np.ndarray, camera: Camera | None = None) -> Hits:
        """What rays [H, W, 3] from `origin` [3], a point in the room and in no block, meet first; all in the world.

        `camera` says that the rays form its image, at any sampling; each block is then looked for only where it is.
        """
        rays_3HW = np.ascontiguousarray(np.moveaxis(rays, -1, 0), np.float32)
        shape = rays_3HW.shape[1:]
        along, surface = np.full(shape, np.inf, np.float32), np.zeros(shape, np.int16)
        with np.errstate(divide="ignore", invalid="ignore"):
            for axis, ray in enumerate(rays_3HW):
                wall = np.float32(self.half[axis])
                out = (np.copysign(wall, ray) - np.float32(origin[axis])) / ray
                nearer = out < along
                np.copyto(along, out, where=nearer)
                np.copyto(surface, 2 * axis + (ray > 0), where=nearer, casting="unsafe")
        u, v = np.empty(shape, np.float32), np.empty(shape, np.float32)
        for axis, (first, second) in enumerate(ACROSS):
            here = surface >> 1 == axis
            u[here] = origin[first] + (along * rays_3HW[first])[here]
            v[here] = origin[second] + (along * rays_3HW[second])[here]
        for index, block in enumerate(self.blocks):
            window = np.s_[:, :] if camera is None else block.window(camera, shape)
            if not along[window].size:
                continue
            met = block.meet(origin, rays_3HW[(slice(None), *window)], along[window])
            along[window][met.rows, met.columns] = met.along
            surface[window][met.rows, met.columns] = 6 * (index + 1) + met.side
            u[window][met.rows, met.columns], v[window][met.rows, met.columns] = met.u, met.v
        return Hits(along=along, surface=surface, u=u, v=v)

    def look(self, camera: Camera, samples: int = 1) -> tuple[Hits, np.ndarray]:
        """What a camera sees at `samples` x `samples` points of every pixel, evenly spaced: the hits [H * samples,
        W * samples], whose `along` is depth in metres, and float32 rays [..., 3] in the world with a camera z of 1."""
        rows, columns = camera.height_px * samples, camera.width_px * samples
        x, y = (np.arange(columns) + 0.5) / samples, (np.arange(rows) + 0.5) / samples
        (fx, _, cx), (_, fy, cy), _ = camera.intrinsics
        right, down, ahead = camera.to_world[:3, :3].T
        row, column = ((y - cy) / fy)[:, None] * down + ahead, ((x - cx) / fx)[:, None] * right
        rays = row.astype(np.float32)[:, None] + column.astype(np.float32)
        return self.cast(camera.to_world[:3, 3], rays, camera), rays

    def photograph(self, camera: Camera) -> np.ndarray:
        """The colours a camera sees, uint8 [H, W, 3]: textures lit by a lamp above, and by one that the camera carries
        and whose light falls off with distance."""
        hits, rays = self.look(camera, _SUPERSAMPLE)
        length = np.sqrt(np.einsum("hwc,hwc->hw", rays, rays))
        normals, shade = self.normals_at(hits), self._shade[hits.surface]
        bent = self._round[hits.surface]
        shade[bent] = _lit_from_above(normals[bent])
        facing = np.abs(np.einsum("hwc,hwc->hw", normals, rays)) / length
        distance = hits.along * length
        # The side of a square on the surface with the area that the sample covers.
        sample = distance / np.float32(camera.intrinsics[0, 0] * _SUPERSAMPLE) / np.sqrt(np.maximum(facing, 0.05))
        colour = self._sample(hits, sample)
        light = shade * (0.2 + (0.5 + 0.4 * facing) / (1 + (distance / self.lamp_m) ** 2))
        lit = cv2.blendLinear(colour, np.zeros_like(colour), light, 1 - light)
        return cv2.resize(lit, (camera.width_px, camera.height_px), interpolation=cv2.INTER_AREA)

    def places(self, surface: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Where places on surfaces, as `Hits` has them, are in the world: float64 [P, 3] in metres."""
        points = np.empty((len(surface), 3))
        for index in np.unique(surface // 6):
            here, solid = surface // 6 == index, self._solids[index]
            points[here] = solid.centre + solid.place(surface[here] % 6, u[here], v[here]) @ solid.turn.T
        return points

    def normals_at(self, hits: Hits) -> np.ndarray:
        """The normals in the world of what rays meet, on the side that they meet: float32 [..., 3]."""
        normals = self.normals.astype(np.float32)[hits.surface]
        bent = np.nonzero(self._round[hits.surface])
        surface, u, v = hits.surface[bent], hits.u[bent], hits.v[bent]
        seen = np.empty((len(surface), 3))
        for index in np.unique(surface // 6):
            here = surface // 6 == index
            seen[here] = self._solids[index].normals(surface[here] % 6, u[here], v[here])
        normals[bent] = seen
        return normals

    @cached_property
    def normals(self) -> np.ndarray:
        """The normal in the world of every surface where u = v = 0, into the open: float64 [surfaces, 3]."""
        outward = np.concatenate([np.repeat(solid.turn.T, 2, axis=0) for solid in self._solids])
        outward[::2] *= -1
        outward[:6] *= -1
        return outward

    @cached_property
    def _round(self) -> np.ndarray:
        """Whether every surface is bent, bool [surfaces]."""
        return np.repeat([solid.round for solid in self._solids], 6)

    @cached_property
    def _solids(self) -> tuple[Block, ...]:
        """The room, seen from inside, and its blocks."""
        return (Block(centre=np.zeros(3), half=self.half, yaw=0.0, texture=1), *self.blocks)

    @cached_property
    def _shade(self) -> np.ndarray:
        """How lit from above every flat surface is, float32 [surfaces]."""
        return _lit_from_above(self.normals)

    @cached_property
    def _texture_of(self) -> np.ndarray:
        """The texture of every surface: walls share one, and so do the faces of a block."""
        return np.array([1, 1, 0, 2, 1, 1, *(block.texture for block in self.blocks for _ in range(6))])

    def _sample(self, hits: Hits, footprint_m: np.ndarray) -> np.ndarray:
        """Colours uint8 [H, W, 3] of the textures, two neighbouring levels of detail being blended."""
        atlas, corners = _pack(self.textures)
        texture = self._texture_of[hits.surface]
        per_m = np.array([1 / t.tile_m for t in self.textures], np.float32)[texture]
        at = self.texture_at.astype(np.float32)[hits.surface]
        u, v = (hits.u + at[..., 0]) * per_m, (hits.v + at[..., 1]) * per_m
        u, v = u - np.floor(u), v - np.floor(v)
        last = corners.shape[1] - 1
        level = np.clip(np.log2(footprint_m * (TEXTURE_SIDE * per_m)), 0, last)
        finer = level.astype(np.intp)
        sides = np.array([pixels.shape[0] for pixels in self.textures[0].levels], np.float32)
        seen = []
        for whole in (finer, np.minimum(finer + 1, last)):
            side, corner = sides[whole], corners[texture, whole]
            x, y = corner[..., 0] + (u * side + np.float32(0.5)), corner[..., 1] + (v * side + np.float32(0.5))
            seen.append(cv2.remap(atlas, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR))
        share = level - finer.astype(np.float32)
        return cv2.blendLinear(seen[0], seen[1], 1 - share, share)


def make_room(seed: int | tuple[int, ...], path_seed: int | tuple[int, ...] = 0) -> Room:
    """The room that `seed` draws, crossed on the path that both seeds draw: 3.6 to 6.4 m wide, 5 to 10 m long and
    2.4 to 2.9 m high, with seven to eleven blocks standing in it, three of them close to the camera, one to three
    hanging and two to four on its walls.

    The camera, held 1.25 to 1.6 m above the ground, turns by 70 to 130 degrees and leans down.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    half = np.array([rng.uniform(1.8, 3.2), rng.uniform(1.2, 1.45), rng.uniform(2.5, 5.0)])
    boxes = [_standing(rng, half, 0.9 if k < 3 else np.inf) for k in range(rng.integers(7, 12))]
    boxes += [_hanging(rng, half) for _ in range(rng.integers(1, 4))]
    boxes += [_on_wall(rng, half) for _ in range(rng.integers(2, 5))]
    blocks = tuple(Block(centre=c, half=h, yaw=yaw, texture=3 + k) for k, (c, h, yaw) in enumerate(boxes))
    tiles = (3.0, 3.0, 2.0, *[1.2] * len(blocks))
    textures = tuple(
        make_texture(
            rng,
            side=TEXTURE_SIDE,
            tile_m=tile,
            palette=_paint(rng, muted=index < 3),
            pattern=str(rng.choice(PATTERNS)) if index != 2 else "checks",
        )
        for index, tile in enumerate(tiles)
    )
    texture_at = rng.uniform(0, 3, (6 * (1 + len(blocks)), 2))
    path = _stroll(np.random.default_rng(np.random.SeedSequence((*_words(seed), 1, *_words(path_seed)))), half)
    return Room(half=half, blocks=blocks, textures=textures, texture_at=texture_at, path=path)


def _words(seed: int | tuple[int, ...]) -> tuple[int, ...]:
    return seed if isinstance(seed, tuple) else (seed,)


def _paint(rng: np.random.Generator, *, muted: bool) -> np.ndarray:
    """Four colours of one mean brightness, float64 [4, 3] in 0..1, the muted ones near to one another: how bright a
    surface looks then tells its light, and so its distance."""
    palette = random_palette(rng, muted=muted)
    middle = palette.mean(axis=0)
    return middle * (0.7 / middle.mean()) + (0.4 if muted else 0.8) * (palette - middle)


def _standing(rng: np.random.Generator, half: np.ndarray, furthest_m: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Centre, half sides and yaw of a block on the ground that leaves the camera its room, and is at most `furthest_m`
    from it."""
    while True:
        sides = np.array([rng.uniform(0.2, 0.6), rng.uniform(0.2, 1.0), rng.uniform(0.2, 0.5)])
        reach = float(np.hypot(sides[0], sides[2]))
        x, z = rng.uniform(-1, 1, 2) * np.maximum(half[[0, 2]] - 0.75 * reach, 0.1)
        yaw = float(rng.integers(4) * np.pi / 2 + rng.uniform(-0.35, 0.35))
        centre = np.array([x, half[1] - sides[1], z])
        away = Block(centre=centre, half=sides, yaw=yaw, texture=0).distance_on_ground() - STROLL_M
        if CLEARANCE_M < away < furthest_m:
            return centre, sides, yaw


def _hanging(rng: np.random.Generator, half: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """A small block under the ceiling, above the camera or out of its way."""
    while True:
        sides = rng.uniform(0.12, 0.3, 3)
        x, z = rng.uniform(-1, 1, 2) * (half[[0, 2]] - 0.4)
        centre = np.array([x, -half[1] + rng.uniform(0.3, 0.7), z])
        yaw = float(rng.uniform(0, np.pi))
        if Block(centre=centre, half=sides, yaw=yaw, texture=0).distance_on_ground() > STROLL_M + CLEARANCE_M:
            return centre, sides, yaw


def _on_wall(rng: np.random.Generator, half: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """A panel on one of the four walls."""
    wide, high, thick = rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.5), 0.03
    axis, side = int(rng.choice((0, 2))), int(rng.choice((-1, 1)))
    other = 2 - axis
    centre, sides = np.zeros(3), np.zeros(3)
    centre[axis], sides[axis] = side * (half[axis] - thick), thick
    centre[other], sides[other] = rng.uniform(-1, 1) * (half[other] - wide), wide
    centre[1], sides[1] = rng.uniform(-0.5, 0.2), high
    return centre, sides, 0.0


def _stroll(rng: np.random.Generator, half: np.ndarray) -> Path:
    """A hand-held camera that looks around from near the middle of the room."""
    middle, drift, sway = np.zeros(7), np.zeros(7), np.zeros(7)
    cycles, phase = rng.uniform(0.4, 0.9, 7), rng.uniform(0, 2 * np.pi, 7)
    middle[[Y, PITCH, YAW]] = half[1] - rng.uniform(1.31, 1.54), rng.uniform(-0.45, -0.1), rng.uniform(0, 2 * np.pi)
    drift[YAW] = rng.uniform(1.2, 2.2) * rng.choice((-1, 1))
    sway[[X, Z]] = rng.uniform(0.2, STROLL_M / np.sqrt(2), 2)
    sway[[Y, PITCH, YAW, ROLL]] = 0.06, rng.uniform(0.05, 0.2), 0.05, rng.uniform(0.01, 0.04)
    return Path(middle=middle, drift=drift, sway=sway, cycles=cycles, phase=phase)


def _lit_from_above(normals: np.ndarray) -> np.ndarray:
    """How lit surfaces with these normals [..., 3], up to their signs, are: float32 [...]."""
    return (0.9 + 0.3 * np.abs(normals @ _LIGHT)).astype(np.float32)


# Kept from one picture to the next; the blocks of a room that `world` shows move, its textures stay.
@lru_cache(maxsize=2)
def _pack(textures: tuple[Texture, ...]) -> tuple[np.ndarray, np.ndarray]:
    """All textures at all levels of detail in one image, uint8 [rows, columns, 3], each with a border of one texel that
    repeats the other side; and the x, y at which each begins, its border included: float32 [textures, levels, 2]."""
    rows, corners = [], np.zeros((len(textures), len(textures[0].levels), 2), np.float32)
    for k, texture in enumerate(textures):
        row = np.zeros((TEXTURE_SIDE + 2, sum(level.shape[0] + 2 for level in texture.levels), 3), np.uint8)
        left = 0
        for level, pixels in enumerate(texture.levels):
            side = pixels.shape[0] + 2
            row[:side, left : left + side] = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="wrap")
            corners[k, level] = left, k * (TEXTURE_SIDE + 2)
            left += side
        rows.append(row)
    return np.concatenate(rows), corners
