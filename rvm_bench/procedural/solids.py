"""Solid bodies that rays meet: cuboids and ellipsoids at any turn, in closed form.

A place on a solid is one of six sides (-x, +x, -y, +y, -z, +z of its own axes) and metres u, v along the other two
axes, `ACROSS`. An ellipsoid has the sides of the box around it: a point of it belongs to the one that the ray from the
centre through it meets. So a place stays the same place of the surface however the solid moves.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from rvm_bench.procedural.motion import rotation
from rvm_bench.procedural.view import Camera

ACROSS = ((2, 1), (0, 2), (0, 1))
"""The other two axes of a side, by its own axis: (u, v), v being the upright one on walls."""

CORNERS = np.stack(np.meshgrid(*[(-1, 1)] * 3, indexing="ij"), axis=-1).reshape(8, 3)
"""The corners of a box in units of half its sides, int [8, 3], z changing fastest."""


class Met(NamedTuple):
    """The rows and columns of the rays that meet a solid, and for each of them how far it goes, in lengths of the ray,
    and the place: side, u and v."""

    rows: np.ndarray
    columns: np.ndarray
    along: np.ndarray
    side: np.ndarray
    u: np.ndarray
    v: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """A cuboid, or where it is `round` the ellipsoid within.

    Attributes:
        centre, half: [3] in metres.
        pitch, yaw, roll: its turn in radians, as of `motion.rotation`; yaw is about the upright axis.
        texture: an index into the textures of whatever holds the block.
    """

    centre: np.ndarray
    half: np.ndarray
    yaw: float
    texture: int
    pitch: float = 0.0
    roll: float = 0.0
    round: bool = False

    @cached_property
    def turn(self) -> np.ndarray:
        """Own axes to world, float64 [3, 3]."""
        return rotation(self.pitch, self.yaw, self.roll)

    @property
    def corners(self) -> np.ndarray:
        """The corners of the box in the world, float64 [8, 3], in the order of `CORNERS`."""
        return self.centre + (CORNERS * self.half) @ self.turn.T

    def window(self, camera: Camera, shape: tuple[int, int]) -> tuple[slice, slice]:
        """The rows and columns of an image of `shape` by this camera that the block may touch; all where it is partly
        behind the camera and may reach into the view."""
        # The third homogeneous coordinate is the depth: behind the camera the comparisons with the image's four sides
        # are still those with the four planes through the camera and the sides.
        x, y, depth = camera.from_world[:, :3] @ self.corners.T + camera.from_world[:, 3:]
        beyond = (x < 0, y < 0, x > camera.width_px * depth, y > camera.height_px * depth, depth < 0)
        if any(outside.all() for outside in beyond):
            return slice(0, 0), slice(0, 0)
        if depth.min() < 0.05:
            return slice(0, shape[0]), slice(0, shape[1])
        scale = shape[1] / camera.width_px
        bounds = []
        for image, side in ((y / depth * scale, shape[0]), (x / depth * scale, shape[1])):
            low, high = np.clip((np.floor(image.min()) - 1, np.ceil(image.max()) + 1), 0, side)
            bounds.append(slice(int(low), int(high)))
        return bounds[0], bounds[1]

    def distance_on_ground(self) -> float:
        """How far the block is from the upright line through the world's origin, in metres."""
        inside = np.abs(self.turn.T @ -self.centre) - self.half
        return float(np.linalg.norm(np.maximum(inside[[0, 2]], 0)))

    def meet(self, origin: np.ndarray, rays_3HW: np.ndarray, before: np.ndarray) -> Met:
        """What rays from `origin` [3], outside of the block, meet of it nearer than `before` [H, W] lengths of the
        ray."""
        start = ((origin - self.centre) @ self.turn).astype(np.float32)
        turned = np.tensordot(self.turn.T.astype(np.float32), rays_3HW, 1)
        return (self._meet_ellipsoid if self.round else self._meet_cuboid)(start, turned, before)

    def _meet_cuboid(self, start: np.ndarray, turned: np.ndarray, before: np.ndarray) -> Met:
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            inverse = 1 / turned
            # Entering a slab is through the side that the ray runs against.
            middle = -start[:, None, None] * inverse
            reach = self.half.astype(np.float32)[:, None, None] * np.abs(inverse)
            enter, leave = middle - reach, middle + reach
            entered, left = enter.max(axis=0), leave.min(axis=0)
            rows, columns = np.nonzero((entered < left) & (entered > 0) & (entered < before))
        along, direction = entered[rows, columns], turned[:, rows, columns]
        axis = np.argmax(enter[:, rows, columns], axis=0)
        towards = np.take_along_axis(direction, axis[None], axis=0)[0]
        u, v = _across(start[:, None] + along * direction, axis)
        return Met(rows, columns, along, 2 * axis + (towards < 0), u, v)

    def _meet_ellipsoid(self, start: np.ndarray, turned: np.ndarray, before: np.ndarray) -> Met:
        # In units of half the sides it is the unit sphere.
        half = self.half.astype(np.float32)
        start = start / half
        direction = turned / half[:, None, None]
        squared = np.einsum("khw,khw->hw", direction, direction)
        nearest = -np.tensordot(start, direction, 1) / squared
        # How far the ray passes from the centre, taken at its nearest point: |start|^2 - ... would lose digits.
        miss = start[:, None, None] + nearest * direction
        reach = 1 - np.einsum("khw,khw->hw", miss, miss)
        along = nearest - np.sqrt(np.maximum(reach, 0) / squared)
        rows, columns = np.nonzero((reach > 0) & (along > 0) & (along < before))
        along = along[rows, columns]
        points = start[:, None] + along * direction[:, rows, columns]
        points /= np.sqrt(np.einsum("kp,kp->p", points, points))
        axis = np.argmax(np.abs(points), axis=0)
        towards = np.take_along_axis(points, axis[None], axis=0)[0]
        u, v = _across(points * half[:, None], axis)
        return Met(rows, columns, along, 2 * axis + (towards > 0), u, v)

    def place(self, side: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Where places are in the block's own axes, from its centre: float64 [P, 3] in metres."""
        axis, sign = side >> 1, 2.0 * (side & 1) - 1
        first, second = np.array(ACROSS)[axis].T
        rows, points = np.arange(len(side)), np.zeros((len(side), 3))
        points[rows, first], points[rows, second] = u, v
        height = np.sqrt(np.maximum(1 - ((points / self.half) ** 2).sum(axis=1), 0)) if self.round else 1.0
        points[rows, axis] = sign * self.half[axis] * height
        return points

    def normals(self, side: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The outward normals of places in the world, float64 [P, 3] of length 1."""
        if self.round:
            own = self.place(side, u, v) / self.half**2
            own /= np.linalg.norm(own, axis=1, keepdims=True)
        else:
            own = np.eye(3)[side >> 1] * (2.0 * (side & 1) - 1)[:, None]
        return own @ self.turn.T


def _across(points: np.ndarray, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """u and v of points [3, P] in own axes."""
    across = np.array(ACROSS)[axis]
    u, v = (np.take_along_axis(points, across[None, :, k], axis=0)[0] for k in (0, 1))
    return u, v
