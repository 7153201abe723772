"""Endless procedural clips: textured bodies that move, turn and hide one another, seen by a moving, zooming camera.

It is a light painter for the bodies, paths and views of `rvm_bench.demo`: polygons filled by OpenCV, textures from a
bank that each process paints once, and no ground truth. A frame follows from the scene's seed and its own number, so
only the few frames that a training sample holds are painted. Nothing is read from disk.
"""

import functools
import math
from statistics import NormalDist

import cv2
import numpy as np

from rvm_bench.procedural.body import Body, Bone, Part
from rvm_bench.procedural.motion import MOTIONS, body_path, camera_path, rotation
from rvm_bench.procedural.shapes import Blob, Box, Outline, Superellipse
from rvm_bench.procedural.textures import PATTERNS, Texture, make_texture
from rvm_bench.procedural.view import Camera, Surface, View

FRAMES = 64
"""Frames of a scene, as of the paper's training clips (section 4.1)."""
ASPECTS = (1.0, 1.0, 4 / 3, 16 / 9, 3 / 4)
"""Width of the frames in units of their height; one that stands twice is twice as likely."""
BANK = 192
"""Textures that all scenes choose from; each recolours what it chose."""

_TEXTURES, _SCENES, _NOISE = range(3)  # first word of the seeds of what is drawn
_TEXTURE_SIDE = 128
_LIGHT = np.array([-0.45, -0.65, -0.61])
_CONTOUR_POINTS = 48
_SUBPIXEL_BITS = 4
_QUANTILES = np.array([NormalDist().inv_cdf((k + 0.5) / 256) for k in range(256)], np.float32)


class ProceduralScene:
    """The scene that `seed` draws, with frames whose short side is `short_side_px`.

    Attributes:
        size_hw: height and width of the frames in pixels.
    """

    def __init__(self, seed: int, short_side_px: int) -> None:
        rng = np.random.default_rng([_SCENES, seed])
        self._seed = seed
        aspect = ASPECTS[int(rng.integers(len(ASPECTS)))]
        self.size_hw = round(short_side_px * max(1 / aspect, 1)), round(short_side_px * max(aspect, 1))
        self._focal = float(rng.uniform(0.9, 1.5)) * math.sqrt(self.size_hw[0] * self.size_hw[1])
        self._zoom = float(rng.normal(0, 0.25)) * (rng.random() < 0.4)
        self._camera = camera_path(rng, float(rng.choice([0.0, 0.5, 1.5, 3.0])))
        ground_m = float(rng.uniform(0.8, 1.3))
        self._planes, self._backdrop = _backdrop(rng, ground_m)
        self._slide = self._planes[0, :, 0] * rng.normal(0, 0.8) * (rng.random() < 0.3)
        half_view = np.array([self.size_hw[1], self.size_hw[0]]) / (2 * self._focal)
        self._bodies = tuple(_body(rng, half_view) for _ in range(int(rng.integers(1, 8))))
        self._surfaces = self._backdrop + tuple(
            Surface(outline=part.outline, texture=part.texture, texture_at=part.texture_at, instance=0, part=0)
            for body in self._bodies
            for part in body.parts
        )
        self._contours = [None if s.outline is None else _contour(s.outline) for s in self._surfaces]
        self._gain = rng.uniform(0.7, 1.2), rng.uniform(0, 0.25), rng.uniform(0.3, 2.0), rng.uniform(0, 2 * math.pi)
        self._offset = float(rng.uniform(-12, 25))
        self._blur_px = float(rng.uniform(0.4, 1.2)) * short_side_px / 128 * (rng.random() < 0.4)
        self._noise = float(rng.uniform(0.5, 8)) * (rng.random() < 0.7)

    def frame(self, number: int) -> np.ndarray:
        """uint8 RGB [H, W, 3]: frame `number`, from 0 to `FRAMES` - 1."""
        if not 0 <= number < FRAMES:
            raise IndexError(f"frame {number} of a scene of {FRAMES} frames")
        tau = number / (FRAMES - 1)
        planes = self._planes.copy()
        planes[0, :, 2] += self._slide * (tau - 0.5)
        view = View(
            self._surfaces,
            np.concatenate([planes, *(body.planes(tau) for body in self._bodies)]),
            self._camera_at(tau),
            _LIGHT,
        )
        rgb = _whole_planes(view, sum(surface.outline is None for surface in self._backdrop))
        for index in view.order:
            contour = self._contours[index]
            if contour is not None:
                _paint(view, index, contour, rgb)
        return self._developed(rgb, number, tau)

    def _camera_at(self, tau: float) -> Camera:
        height, width = self.size_hw
        focal = self._focal * math.exp(self._zoom * (tau - 0.5))
        to_world = np.eye(4)
        to_world[:3] = self._camera.pose(tau)
        intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        return Camera(intrinsics=intrinsics, to_world=to_world, height_px=height, width_px=width)

    def _developed(self, rgb: np.ndarray, number: int, tau: float) -> np.ndarray:
        """What a camera makes of it: focus, exposure that drifts, and noise of its own for each frame."""
        if self._blur_px:
            rgb = cv2.GaussianBlur(rgb, (0, 0), self._blur_px)
        mean, swing, cycles, phase = self._gain
        gain = mean * (1 + swing * math.sin(2 * math.pi * cycles * tau + phase))
        if not self._noise:
            levels = np.clip(gain * np.arange(256) + self._offset + 0.5, 0, 255).astype(np.uint8)
            return cv2.LUT(rgb, levels)
        table = self._noise * _QUANTILES
        draws = np.frombuffer(np.random.default_rng([_NOISE, self._seed, number]).bytes(rgb.size), np.uint8)
        noisy = np.float32(gain) * rgb + (table + np.float32(self._offset))[draws].reshape(rgb.shape)
        return np.clip(noisy + np.float32(0.5), 0, 255).astype(np.uint8)


def _backdrop(rng: np.random.Generator, ground_m: float) -> tuple[np.ndarray, tuple[Surface, ...]]:
    """Planes float64 [n, 3, 3] and surfaces: a wall, perhaps a ground, and posts that can hide bodies."""
    axes = rotation(rng.uniform(-0.1, 0.1), rng.uniform(-0.35, 0.35), rng.uniform(-0.2, 0.2))
    planes = [np.column_stack([axes[:, 0], axes[:, 1], (0.0, 0.0, rng.uniform(7, 13))])]
    surfaces = [_surface(rng, None, tile_m=float(rng.uniform(4, 14)))]
    if rng.random() < 0.5:
        turned = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ rotation(0, 0, rng.uniform(-0.6, 0.6))
        planes.append(np.column_stack([turned[:, 0], turned[:, 1], (0.0, ground_m, 0.0)]))
        surfaces.append(_surface(rng, None, tile_m=float(rng.uniform(2, 8))))
    for _ in range(int(rng.integers(3))):
        depth, half_width, half_height = rng.uniform(2.2, 7), rng.uniform(0.08, 0.4), rng.uniform(0.4, 1.5)
        turned = rotation(0.0, rng.uniform(-0.5, 0.5), rng.normal(0, 0.2))
        place = rng.uniform(-0.5, 0.5) * depth, ground_m - half_height, depth
        planes.append(np.column_stack([turned[:, 0], turned[:, 1], place]))
        shape = Box(a=half_width, b=half_height, radius=half_width * rng.uniform(0, 0.9))
        surfaces.append(_surface(rng, shape, tile_m=float(rng.uniform(0.5, 3))))
    return np.stack(planes), tuple(surfaces)


def _surface(rng: np.random.Generator, outline: Outline | None, tile_m: float) -> Surface:
    at = float(rng.uniform(0, tile_m)), float(rng.uniform(0, tile_m))
    return Surface(outline=outline, texture=_recoloured(rng, tile_m), texture_at=at, instance=0, part=0)


def _body(rng: np.random.Generator, half_view: np.ndarray) -> Body:
    """A trunk with up to three details that are fixed to it, swing or spin, on one of the demo's paths."""
    depth = float(rng.uniform(2.5, 6.5))
    radius = float(np.exp(rng.uniform(math.log(0.08), math.log(0.45)))) * 2 * float(half_view.min()) * depth
    start = np.array([*(rng.uniform(-0.9, 0.9, 2) * half_view * depth), depth])
    motion = str(rng.choice(MOTIONS))
    path = body_path(
        rng, motion, start=start, half_view=half_view * depth, travel=float(rng.uniform(0.2, 1.4)), standing=False
    )
    bones, parts = [Bone()], []

    def add(outline: Outline, bone: int, layer: float) -> None:
        surface = _surface(rng, outline, tile_m=float(rng.uniform(0.8, 5)) * radius)
        parts.append(
            Part(
                outline=outline,
                texture=surface.texture,
                texture_at=surface.texture_at,
                label=0,
                layer_m=layer * radius,
                bone=bone,
            )
        )

    add(_outline(rng, radius), 0, 0.0)
    for layer in range(int(rng.integers(4))):
        angle, away = rng.uniform(0, 2 * math.pi), radius * rng.uniform(0.1, 1.0)
        swing, cycles, phase = rng.choice([0.0, 0.5, 1.5]), rng.uniform(0.5, 2.5), rng.uniform(0, 2 * math.pi)
        pivot = away * math.cos(angle), away * math.sin(angle)
        bones.append(Bone(parent=0, pivot=pivot, rest=angle, swing=float(swing), cycles=cycles, phase=phase))
        add(_outline(rng, radius * rng.uniform(0.15, 0.5)), len(bones) - 1, 0.02 * (1 + layer) * rng.choice((-1, 1)))
    return Body(motion=motion, path=path, bones=tuple(bones), parts=tuple(parts))


def _outline(rng: np.random.Generator, radius: float) -> Outline:
    flat = rng.uniform(0.4, 1.0)
    match int(rng.integers(4)):
        case 0:
            return Superellipse(a=radius, b=radius * flat)
        case 1:
            return Superellipse(a=radius, b=radius * flat, power=4)
        case 2:
            return Box(a=radius, b=radius * flat, radius=radius * flat * rng.uniform(0.0, 0.4))
    waves = tuple(int(wave) for wave in rng.choice([2, 3, 4, 5, 6, 7], 3, replace=False))
    amounts = tuple(float(rng.uniform(0.04, 0.35) / math.sqrt(wave)) for wave in waves)
    phases = tuple(float(phase) for phase in rng.uniform(0, 2 * math.pi, 3))
    return Blob(radius=radius * 0.9, waves=waves, amounts=amounts, phases=phases)


def _contour(outline: Outline) -> np.ndarray:
    """float64 [3, n]: points on the outline, homogeneous."""
    points = outline.contour(_CONTOUR_POINTS)
    return np.vstack([points.T, np.ones(len(points))])


@functools.cache
def _bank(index: int) -> np.ndarray:
    """uint8 [n, n, 3]: the tile of texture `index`."""
    rng = np.random.default_rng([_TEXTURES, index])
    pattern = PATTERNS[index % len(PATTERNS)]
    return make_texture(
        rng, side=_TEXTURE_SIDE, tile_m=1.0, pattern=pattern, contrast=float(rng.uniform(0.1, 0.9))
    ).pixels


def _recoloured(rng: np.random.Generator, tile_m: float) -> Texture:
    """A texture of the bank with its colours mixed anew: some vivid, some gray, some nearly plain."""
    pixels = _bank(int(rng.integers(BANK)))
    mix = rng.dirichlet(np.full(3, 0.5), 3)
    gray = rng.uniform(0, 0.8) * (rng.random() < 0.5)
    mix = (1 - gray) * mix + gray / 3
    contrast, level = rng.uniform(0.15, 1.3), rng.uniform(40, 215)
    to_colour = np.hstack([contrast * mix, np.zeros((3, 1))])
    mean = cv2.mean(pixels)[:3]
    to_colour[:, 3] = level + rng.normal(0, 25, 3) - to_colour[:, :3] @ np.array(mean)
    return Texture(
        pixels=np.clip(cv2.transform(pixels.astype(np.float32), to_colour), 0, 255).astype(np.uint8), tile_m=tile_m
    )


def _whole_planes(view: View, count: int) -> np.ndarray:
    """uint8 [H, W, 3]: the wall, and the ground where it is nearer."""
    height, width = view.camera.height_px, view.camera.width_px
    x, y = np.arange(0.5, width, dtype=np.float32)[None], np.arange(0.5, height, dtype=np.float32)[:, None]
    rgb = np.zeros((height, width, 3), np.uint8)
    nearest = np.zeros((height, width), np.float32)
    for index in range(count):
        a, b, c = view.to_plane[index, 2].tolist()
        nearness = a * x + (b * y + c)
        nearer = nearness > nearest
        rows = np.flatnonzero(nearer.any(axis=1))
        if not len(rows):
            continue
        y0, y1 = int(rows[0]), int(rows[-1]) + 1
        row_nearness = np.maximum(nearness[y0:y1, width // 2].astype(np.float64), 1e-3)
        footprint: np.ndarray | float = 1 / np.sqrt(view.area_scale[index] * row_nearness**3)
        if index == 0:
            footprint = float(np.median(footprint))
        colour = view.surfaces[index].texture.paint(view.to_tile[index], (0, y0, width, y1), footprint)
        colour = cv2.convertScaleAbs(colour, alpha=float(view.shade[index]))
        cv2.copyTo(colour, nearer[y0:y1].view(np.uint8), rgb[y0:y1])
        nearest = np.maximum(nearest, nearness)
    return rgb


def _paint(view: View, index: int, contour: np.ndarray, rgb: np.ndarray) -> None:
    """Fills one outline over what is there; its edge is smooth."""
    window = view.window(index)
    if window is None:
        return
    x0, y0, x1, y1 = window
    points = view.to_image[index] @ contour
    # OpenCV puts the centres of pixels at integers.
    corners = np.rint(((points[:2] / points[2]).T - (x0 + 0.5, y0 + 0.5)) * 2**_SUBPIXEL_BITS).astype(np.int32)
    cover = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(cover, [corners], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    colour = view.surfaces[index].texture.paint(view.to_tile[index], window, 1 / float(view.px_per_m[index]))
    share = cover.astype(np.float32) * np.float32(1 / 255)
    area = np.s_[y0:y1, x0:x1]
    rgb[area] = cv2.blendLinear(colour, rgb[area], share * np.float32(view.shade[index]), 1 - share)
