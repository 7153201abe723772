"""A scene: bodies before a backdrop, a camera path, and everything that is true of it at any frame."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rvm_bench.procedural.backdrop import Backdrop
from rvm_bench.procedural.body import Body
from rvm_bench.procedural.figures import JOINTS
from rvm_bench.procedural.motion import Path
from rvm_bench.procedural.render import Frame, render
from rvm_bench.procedural.tracks import Tracks, draw_evenly, first_surface, follow
from rvm_bench.procedural.view import Camera, Surface, View

FOCAL = 1.2
"""Focal length in units of sqrt(height * width)."""

_LIGHT = np.array([-0.45, -0.65, -0.61])
_CONTOUR_POINTS = 96


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Bodies 1..n in the order of `bodies` before a backdrop; see `rvm_bench.demo` for axes, units and coordinates.

    Made by `rvm_bench.procedural.layout.make_scene`, or by hand where a scene has to be just so.
    """

    height_px: int
    width_px: int
    frames: int
    bodies: tuple[Body, ...]
    backdrop: Backdrop
    camera: Path
    ground_m: float

    @property
    def motions(self) -> tuple[str, ...]:
        """The motion class of every body."""
        return tuple(body.motion for body in self.bodies)

    @property
    def figures(self) -> tuple[int, ...]:
        """The instance ids of the bodies that have a skeleton."""
        return tuple(index + 1 for index, body in enumerate(self.bodies) if body.joints)

    @cached_property
    def surfaces(self) -> tuple[Surface, ...]:
        """Every surface of the scene: the backdrop's, then each body's parts."""
        return self.backdrop.surfaces + tuple(
            Surface(
                outline=part.outline,
                texture=part.texture,
                texture_at=part.texture_at,
                instance=index + 1,
                part=part.label,
            )
            for index, body in enumerate(self.bodies)
            for part in body.parts
        )

    def tau(self, t: int) -> float:
        """The share of the clip that has passed at frame `t`, 0 for the first and 1 for the last."""
        if not 0 <= t < self.frames:
            raise IndexError(f"frame {t} of a scene of {self.frames} frames")
        return t / max(self.frames - 1, 1)

    def camera_at(self, t: int) -> Camera:
        """The camera of frame `t`: its intrinsics are the same in every frame."""
        focal = FOCAL * float(np.sqrt(self.height_px * self.width_px))
        intrinsics = np.array([[focal, 0, self.width_px / 2], [0, focal, self.height_px / 2], [0, 0, 1]])
        to_world = np.eye(4)
        to_world[:3] = self.camera.pose(self.tau(t))
        return Camera(intrinsics=intrinsics, to_world=to_world, height_px=self.height_px, width_px=self.width_px)

    def view(self, t: int) -> View:
        """The geometry of frame `t`, from which all the rest follows."""
        tau = self.tau(t)
        planes = np.concatenate([self.backdrop.planes(tau), *(body.planes(tau) for body in self.bodies)])
        return View(self.surfaces, planes, self.camera_at(t), _LIGHT)

    def render(self, t: int) -> Frame:
        """Frame `t`: colours, masks and depth."""
        return render(self.view(t), self._shadows(self.tau(t)))

    def joints(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """The joints (`JOINTS`) of every figure, in the order of `figures`.

        Returns float64 [figures, 15, 2] in pixels and bool [figures, 15]: whether the pixel that holds the joint shows
        some part of its own figure.
        """
        view, tau = self.view(t), self.tau(t)
        xy = np.zeros((len(self.figures), len(JOINTS), 2))
        visible = np.zeros(xy.shape[:2], bool)
        instances = np.array([surface.instance for surface in self.surfaces])
        for row, figure in enumerate(self.figures):
            xy[row], depth = view.camera.project(self.bodies[figure - 1].joint_points(tau))
            hit = first_surface(view, xy[row])
            visible[row] = (hit >= 0) & (instances[hit] == figure) & (depth > 0)
        return xy, visible

    def boxes(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """The boxes around every body as if nothing hid it and the image had no border.

        Returns float64 [bodies, 4] as (x0, y0, x1, y1) and bool [bodies], whether the box touches the image; a body
        with a part behind the camera is absent, with a box of zeros. Curved outlines are bounded through 96 points, so
        a side can be short by some 0.05% of the part's size. `Frame.boxes` has the boxes of what is visible.
        """
        view = self.view(t)
        boxes, present = np.zeros((len(self.bodies), 4)), np.zeros(len(self.bodies), bool)
        for row in range(len(self.bodies)):
            parts = [k for k, surface in enumerate(self.surfaces) if surface.instance == row + 1]
            if not view.seen[parts].all():
                continue
            points = np.concatenate([self._contour(view, k) for k in parts])
            x0, y0, x1, y1 = boxes[row] = *points.min(axis=0), *points.max(axis=0)
            present[row] = x1 > 0 and y1 > 0 and x0 < self.width_px and y0 < self.height_px
        return boxes, present

    def follow(self, t: int, xy: np.ndarray) -> Tracks:
        """The tracks through every frame of the surface points that frame `t` shows at `xy`, float [P, 2] in pixels."""
        views = [self.view(frame) for frame in range(self.frames)]
        return follow(views, np.full(len(xy), t), xy)

    def tracks(self, points: int, seed: int = 0) -> Tracks:
        """`points` tracks, each drawn from what one random frame shows: first an instance, the background counting as
        one, then a place on it."""
        rng = np.random.default_rng(seed)
        views = [self.view(frame) for frame in range(self.frames)]
        instance_of = np.array([surface.instance for surface in self.surfaces])
        candidates = 24 * points
        frames = rng.integers(self.frames, size=candidates)
        xy = rng.uniform((0, 0), (self.width_px, self.height_px), (candidates, 2))
        instances = np.empty(candidates, int)
        for frame in np.unique(frames):
            of_frame = frames == frame
            instances[of_frame] = instance_of[first_surface(views[frame], xy[of_frame])]
        chosen = draw_evenly(rng, instances, points)
        return follow(views, frames[chosen], xy[chosen])

    def _contour(self, view: View, index: int) -> np.ndarray:
        outline = self.surfaces[index].outline
        assert outline is not None, "a body's part has an outline"
        contour = outline.contour(_CONTOUR_POINTS)
        seen = np.hstack([contour, np.ones((len(contour), 1))]) @ view.to_image[index].T
        return seen[:, :2] / seen[:, 2:]

    def _shadows(self, tau: float) -> np.ndarray:
        shadows = np.zeros((len(self.bodies), 3, 3))
        for row, body in enumerate(self.bodies):
            plane = body.path.plane(tau)
            half = 0.9 * max(part.outline.reach[0] for part in body.parts) + 0.15
            shadows[row] = [[half, 0, plane[0, 2]], [0, 0, self.ground_m], [0, half * 0.6, plane[2, 2]]]
        return shadows
