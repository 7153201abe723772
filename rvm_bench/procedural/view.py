"""What one frame's geometry is: every surface of the scene and its homography to the image of one camera pose."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rvm_bench.procedural.shapes import Outline
from rvm_bench.procedural.textures import Texture

NEAR_M = 0.1
"""A bounded surface with a point nearer than this to the camera's plane is not shown at all in that frame."""

UPRIGHT = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""From our worlds, whose y is down, to those of data sets whose z is up."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """A flat textured surface; `outline` None is a whole plane. `instance` is 0 for all that is background."""

    outline: Outline | None
    texture: Texture
    texture_at: tuple[float, float]
    instance: int
    part: int


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera: `intrinsics` [3, 3] in pixels, `to_world` [4, 4] from camera to world metres, and the image's
    height and width in pixels."""

    intrinsics: np.ndarray
    to_world: np.ndarray
    height_px: int
    width_px: int

    @cached_property
    def from_world(self) -> np.ndarray:
        """World to homogeneous image coordinates, float64 [3, 4]; the third of these is the depth in metres."""
        turn = self.to_world[:3, :3].T
        return self.intrinsics @ np.hstack([turn, -turn @ self.to_world[:3, 3:]])

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image coordinates [..., 2] in pixels and depths [...] in metres of world points [..., 3]."""
        homogeneous = points @ self.from_world[:, :3].T + self.from_world[:, 3]
        return homogeneous[..., :2] / homogeneous[..., 2:], homogeneous[..., 2]

    def holds(self, xy: np.ndarray) -> np.ndarray:
        """Whether image coordinates [..., 2] lie in the image, bool [...]."""
        return np.logical_and.reduce((xy >= 0) & (xy < (self.width_px, self.height_px)), axis=-1)


class View:
    """All surfaces as one camera sees them at one time.

    `to_image` float64 [S, 3, 3] takes (u, v, 1) in metres to (x, y, 1) * depth, `to_plane` is its inverse, `shade`
    float64 [S] is how lit each surface is, and `order` lists the surfaces that can be seen from far to near.
    `depths`, `px_per_m` float64 [S] are a bounded surface's depth and scale where its origin is, and `bounds` float64
    [S, 4] is a box (x0, y0, x1, y1) in pixels around it.
    """

    def __init__(self, surfaces: tuple[Surface, ...], planes: np.ndarray, camera: Camera, light: np.ndarray) -> None:
        self.surfaces, self.camera = surfaces, camera
        from_world = camera.from_world
        self.to_image = from_world[:, :3] @ planes
        self.to_image[:, :, 2] += from_world[:, 3]
        # A plane seen edge-on has no inverse; it covers no pixel either.
        flat = np.linalg.det(self.to_image)
        self.seen = np.abs(flat) > 1e-9
        self.to_plane = np.linalg.inv(np.where(self.seen[:, None, None], self.to_image, np.eye(3)))
        shifts = np.tile(np.eye(3), (len(surfaces), 1, 1))
        shifts[:, :2, 2] = [surface.texture_at for surface in surfaces]
        self.to_tile = shifts @ self.to_plane
        normals = np.cross(planes[:, :, 0], planes[:, :, 1])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        self.shade = 0.72 + 0.28 * np.abs(normals @ light)
        self.area_scale = np.abs(flat)
        bounded = np.array([surface.outline is not None for surface in surfaces])
        reach = np.array([(1.0, 1.0) if surface.outline is None else surface.outline.reach for surface in surfaces])
        corners = np.ones((len(surfaces), 3, 4))
        corners[:, 0], corners[:, 1] = reach[:, :1] * (-1, 1, 1, -1), reach[:, 1:] * (-1, -1, 1, 1)
        corners = self.to_image @ corners
        self.seen &= ~bounded | (corners[:, 2].min(axis=1) >= NEAR_M)
        usable = self.seen & bounded
        self.bounds = np.tile((0.0, 0.0, camera.width_px, camera.height_px), (len(surfaces), 1))
        corners = corners[usable, :2] / corners[usable, 2:]
        self.bounds[usable] = np.hstack([corners.min(axis=2), corners.max(axis=2)])
        self.depths = np.where(bounded, self.to_image[:, 2, 2], np.inf)
        self.px_per_m = np.where(usable, np.sqrt(self.area_scale / np.abs(self.depths) ** 3), 0.0)
        self.order = [int(k) for k in np.argsort(-self.depths, kind="stable") if self.seen[k]]

    def window(self, index: int, margin_px: float = 1.0) -> tuple[int, int, int, int] | None:
        """The pixels (x0, y0, x1, y1) that surface `index` may touch; None where it is outside the image."""
        left, top, right, bottom = self.bounds[index].tolist()
        x0, y0 = max(math.floor(left - margin_px), 0), max(math.floor(top - margin_px), 0)
        x1 = min(math.ceil(right + margin_px), self.camera.width_px)
        y1 = min(math.ceil(bottom + margin_px), self.camera.height_px)
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def on_plane(self, index: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Plane coordinates u, v in metres and 1 / depth of surface `index` at image coordinates x, y that broadcast
        together; float32. A negative 1 / depth means that the plane is behind the camera there."""
        x, y = x.astype(np.float32, copy=False), y.astype(np.float32, copy=False)
        u, v, nearness = (a * x + (b * y + c) for a, b, c in self.to_plane[index].tolist())
        with np.errstate(divide="ignore", invalid="ignore"):
            return u / nearness, v / nearness, nearness
