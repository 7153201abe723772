"""Worlds of tumbling solids seen by a camera in flight, with exact tracks of any point: what point trackers train on.

A world is a `room.Room` whose blocks move. As much happens in a window of 16 frames, whatever the frame rate: the image
pans one way, by 0.1 to 0.2 of its width where the solids are, some of that because the camera turns and some because it
flies; the solids turn and drift, a few of them fast, and one leaves the image and returns.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from rvm_bench.procedural.motion import PITCH, YAW, Path, X, Y, Z
from rvm_bench.procedural.room import TEXTURE_SIDE, Room
from rvm_bench.procedural.solids import Block
from rvm_bench.procedural.textures import make_texture
from rvm_bench.procedural.tracks import Tracks, draw_evenly
from rvm_bench.procedural.view import Camera

FOCAL = 35 / 32
"""Focal length in units of the image's width, as 35 mm before a sensor of 32 mm in MOVi-E."""
WINDOW = 16
"""Frames of a window."""
PAN = (0.1, 0.2)
"""Least and most that the image pans sideways in a window, in shares of its width; up and down, at most `TILT`."""
TILT = 0.06
DISTANCE_M = 4.5
"""From the camera to the middle of the solids."""

_HALF = np.array([6.0, 2.6, 6.5])
_TOLERANCE = 1e-3
"""A point is seen where a ray to it is met by nothing before this share of its length is left."""


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """`room` at no time in particular: its block k is where and how `paths[k]` says. `frames` are those of a clip."""

    room: Room
    paths: tuple[Path, ...]
    frames: int

    def at(self, t: int) -> Room:
        """The room with its blocks where they are in frame `t`."""
        if not 0 <= t < self.frames:
            raise IndexError(f"frame {t} of a world of {self.frames} frames")
        blocks = []
        for block, path in zip(self.room.blocks, self.paths, strict=True):
            x, y, z, pitch, yaw, roll, _ = path.state(self._tau(t))
            blocks.append(replace(block, centre=np.array([x, y, z]), pitch=pitch, yaw=yaw, roll=roll))
        return replace(self.room, blocks=tuple(blocks))

    def camera_at(self, t: int, height_px: int, width_px: int) -> Camera:
        """The camera of frame `t`, for an image of this size."""
        return self.room.camera_at(self._tau(t), height_px, width_px)

    def photograph(self, t: int, height_px: int, width_px: int) -> np.ndarray:
        """Frame `t`, uint8 [H, W, 3]."""
        return self.at(t).photograph(self.camera_at(t, height_px, width_px))

    def follow(self, t: int, xy: np.ndarray, height_px: int, width_px: int) -> Tracks:
        """The tracks through every frame of the points that frame `t` shows at `xy`, float [P, 2] in pixels of an image
        of this size.

        `visible` is exact: it is of the point itself and not of its pixel. `part` is its side of the solid.
        """
        return self._follow(np.full(len(xy), t), xy, height_px, width_px, self._met(t, xy, height_px, width_px))

    def tracks(self, points: int, seed: int, height_px: int, width_px: int) -> Tracks:
        """`points` tracks as of `follow`, each drawn from what one random frame shows: half of them anywhere, half
        evenly from the solids and the background."""
        rng = np.random.default_rng(seed)
        candidates = 8 * points
        frames = rng.integers(self.frames, size=candidates)
        xy = rng.uniform((0, 0), (width_px, height_px), (candidates, 2))
        hits = np.empty((3, candidates))
        for t in np.unique(frames):
            hits[:, frames == t] = self._met(t, xy[frames == t], height_px, width_px)
        chosen = draw_evenly(rng, hits[0].astype(int) // 6, points, anywhere=0.5)
        return self._follow(frames[chosen], xy[chosen], height_px, width_px, hits[:, chosen])

    def _tau(self, t: int) -> float:
        return t / max(self.frames - 1, 1)

    def _met(self, t: int, xy: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
        """Surface, u and v at `xy` in frame `t`, float64 [3, P]."""
        camera = self.camera_at(t, height_px, width_px)
        if not camera.holds(xy).all():
            raise ValueError(f"every point to follow must lie in the image; frame {t} has some that do not")
        rays = np.hstack([xy, np.ones((len(xy), 1))]) @ np.linalg.inv(camera.intrinsics).T @ camera.to_world[:3, :3].T
        hits = self.at(t).cast(camera.to_world[:3, 3], rays[None])
        return np.concatenate([hits.surface, hits.u, hits.v])

    def _follow(self, frames: np.ndarray, xy: np.ndarray, height_px: int, width_px: int, met: np.ndarray) -> Tracks:
        surface = met[0].astype(int)
        tracks = np.full((len(xy), self.frames, 2), math.nan)
        depth, visible = np.zeros(tracks.shape[:2]), np.zeros(tracks.shape[:2], bool)
        for t in range(self.frames):
            room, camera = self.at(t), self.camera_at(t, height_px, width_px)
            points = room.places(surface, met[1], met[2])
            image, depth[:, t] = camera.project(points)
            front = depth[:, t] > 0
            tracks[front, t] = image[front]
            origin = camera.to_world[:3, 3]
            reached = room.cast(origin, (points - origin)[None]).along[0] > 1 - _TOLERANCE
            visible[:, t] = front & reached & camera.holds(image)
        return Tracks(
            xy=tracks,
            visible=visible,
            depth=depth,
            instance=surface // 6,
            part=surface % 6,
            frame=np.asarray(frames, int),
        )


def make_world(seed: int | tuple[int, ...], *, frames: int, stride: int = 1, solids: int = 10) -> World:
    """The world that `seed` draws, filmed for `frames` frames, every `stride`-th of which is one of a window.

    Two in five solids are ellipsoids. The first three are fast, the fourth leaves the image and returns.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    windows = (frames - 1) / (stride * (WINDOW - 1))
    blocks = tuple(
        Block(
            centre=np.zeros(3),
            half=rng.uniform(0.22, 0.55, 3),
            yaw=0.0,
            texture=3 + k,
            round=k % 5 < 2,
        )
        for k in range(solids)
    )
    textures = tuple(
        make_texture(rng, side=TEXTURE_SIDE, tile_m=float(tile), contrast=0.5)
        for tile in (4.0, 4.0, 3.0, *rng.uniform(0.8, 1.6, solids))
    )
    room = Room(
        half=_HALF,
        blocks=blocks,
        textures=textures,
        texture_at=rng.uniform(0, 3, (6 * (1 + solids), 2)),
        path=_flight(rng, windows),
        focal=FOCAL,
        lamp_m=9.0,
    )
    return World(room=room, paths=tuple(_tumble(rng, k, solids, windows) for k in range(solids)), frames=frames)


def _flight(rng: np.random.Generator, windows: float) -> Path:
    """The camera: in front of the solids, above the floor, looking a little down."""
    middle, drift, sway = np.zeros(7), np.zeros(7), np.zeros(7)
    middle[[X, Y, Z]] = rng.uniform(-0.3, 0.3), rng.uniform(-0.6, 0.2), -DISTANCE_M
    middle[PITCH] = -math.atan2(0.7 - middle[Y], DISTANCE_M)
    pan = np.array([rng.uniform(*PAN) * rng.choice((-1, 1)), rng.uniform(-TILT, TILT)])
    flown = rng.uniform(0.1, 0.5)
    # The image pans against the camera's motion. A camera that yaws by a positive angle looks to the right, one that
    # pitches by a positive angle looks up.
    drift[[X, Y]] = -flown * pan * DISTANCE_M / FOCAL
    drift[[YAW, PITCH]] = (1 - flown) * pan * (-1, 1) / FOCAL
    drift[Z] = rng.uniform(-0.2, 0.2)
    sway[[X, Y, YAW, PITCH]] = 0.04, 0.02, 0.008, 0.005
    cycles, phase = windows * rng.uniform(0.4, 0.9, 7), rng.uniform(0, 2 * np.pi, 7)
    return Path(middle=middle, drift=drift * windows, sway=sway, cycles=cycles, phase=phase)


def _tumble(rng: np.random.Generator, k: int, solids: int, windows: float) -> Path:
    """The path of solid `k`: it is somewhere before the camera half way through the clip."""
    middle, drift, sway = np.zeros(7), rng.uniform(-1, 1, 7), np.zeros(7)
    # Columns of the image are shared out among the solids, so that most of them are seen.
    column = ((7 * k) % solids + rng.uniform(0.1, 0.9)) / solids - 0.5
    middle[Z] = rng.uniform(-1.6, 2.0)
    half_view = (middle[Z] + DISTANCE_M) / (2 * FOCAL)
    middle[[X, Y]] = 1.9 * column * half_view, rng.uniform(-0.3, 1.7)
    middle[PITCH:-1] = rng.uniform(-np.pi, np.pi, 3)
    drift *= np.array([0.1, 0.07, 0.1, 0.2, 0.2, 0.2, 0]) * (3 if k < 3 else 1)
    if k == 3:
        side = rng.choice((-1, 1))
        middle[X], drift[X], sway[X] = 0.8 * side * half_view, 0, 0.7 * side * half_view
    return Path(middle=middle, drift=drift * windows, sway=sway, cycles=np.full(7, 0.5), phase=np.zeros(7))
