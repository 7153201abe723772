"""Bodies: flat parts hung on a tree of bones, moving along a path. One body is one instance of the ground truth."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rvm_bench.procedural.motion import Path
from rvm_bench.procedural.shapes import Outline
from rvm_bench.procedural.textures import Texture


@dataclass(frozen=True, kw_only=True)
class Bone:
    """A hinge in the body's plane: its pivot (u, v) lies in the parent's frame, and its angle swings about `rest`.

    The angle at tau is `rest + swing * sin(2 pi cycles tau + phase)` radians, clockwise on the screen. `parent` is the
    index of an earlier bone, or -1 for the body itself. A bone's own axes are the parent's, turned by the angle.
    """

    parent: int = -1
    pivot: tuple[float, float] = (0.0, 0.0)
    rest: float = 0.0
    swing: float = 0.0
    cycles: float = 1.0
    phase: float = 0.0

    def hinge(self, tau: float) -> np.ndarray:
        """The bone's frame in its parent's, float64 [3, 3] on (u, v, 1)."""
        angle = self.rest + self.swing * math.sin(2 * math.pi * self.cycles * tau + self.phase)
        return placed(*self.pivot, angle)


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One flat piece of a body: an outline and a texture, fixed to a bone.

    `at` (u, v) and `angle` place the outline's origin in the bone's frame, `layer_m` is how far in front of the body's
    plane it lies (parts of one body need different layers), and `label` is its id in the part masks (`PART_NAMES`).
    `texture_at` (u, v) is the place on the texture that the outline's origin shows.
    """

    outline: Outline
    texture: Texture
    label: int
    layer_m: float
    bone: int = 0
    at: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    texture_at: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """Parts on bones on a path. `joints` are (bone, u, v) of named points; empty for what has no skeleton."""

    motion: str
    path: Path
    bones: tuple[Bone, ...]
    parts: tuple[Part, ...]
    joints: tuple[tuple[int, float, float], ...] = ()

    @cached_property
    def _fixed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each part's bone int [parts], frame on the bone [parts, 3, 3] and layer [parts]."""
        local = np.stack([placed(*part.at, part.angle) for part in self.parts])
        return np.array([part.bone for part in self.parts]), local, np.array([part.layer_m for part in self.parts])

    def bone_frames(self, tau: float) -> np.ndarray:
        """Every bone's frame in the body's plane, float64 [bones, 3, 3] on (u, v, 1)."""
        frames = np.empty((len(self.bones), 3, 3))
        for index, bone in enumerate(self.bones):
            hinge = bone.hinge(tau)
            frames[index] = hinge if bone.parent < 0 else frames[bone.parent] @ hinge
        return frames

    def planes(self, tau: float) -> np.ndarray:
        """Every part's plane in the world, float64 [parts, 3, 3]: columns are its u axis, its v axis and its origin."""
        body = self.path.plane(tau)
        bones, local, layers = self._fixed
        planes = body @ self.bone_frames(tau)[bones] @ local
        # u x v points away from the viewer where a body faces the camera, so the front is against it.
        towards = -np.cross(body[:, 0], body[:, 1])
        towards /= np.sqrt(np.linalg.norm(towards))
        planes[:, :, 2] += np.outer(layers, towards)
        return planes

    def joint_points(self, tau: float) -> np.ndarray:
        """The joints in the world, float64 [joints, 3] in metres."""
        frames = self.bone_frames(tau)
        local = np.array([[u, v, 1.0] for _, u, v in self.joints])
        in_body = np.einsum("jab,jb->ja", frames[[bone for bone, _, _ in self.joints]], local)
        return in_body @ self.path.plane(tau).T


def placed(u: float, v: float, angle: float) -> np.ndarray:
    """The motion that turns by `angle` and moves the origin to (u, v): float64 [3, 3] on (u, v, 1)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    return np.array([[cosine, -sine, u], [sine, cosine, v], [0.0, 0.0, 1.0]])
