"""Painting a view: colours, instance and part masks, and depth."""

from dataclasses import dataclass

import cv2
import numpy as np

from rvm_bench.procedural.view import View

RIM = 0.35
"""How much darker than its middle a surface is at its outline; it makes flat surfaces look round."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One frame and its ground truth.

    `rgb` uint8 [H, W, 3]; `instances` uint8 [H, W], 0 background and 1..n the bodies; `parts` uint8 [H, W], ids of
    `PART_NAMES`; `depth` float32 [H, W] in metres; `surfaces` int16 [H, W], the index of the surface that each pixel
    shows. Masks and depth hold for pixel centres and have no mixed pixels; only the colours are smooth at outlines.
    """

    rgb: np.ndarray
    instances: np.ndarray
    parts: np.ndarray
    depth: np.ndarray
    surfaces: np.ndarray

    def boxes(self, instances: int) -> tuple[np.ndarray, np.ndarray]:
        """The boxes around what is visible: float64 [instances, 4] as (x0, y0, x1, y1), and bool [instances], whether
        any pixel is. An absent instance has a box of zeros."""
        boxes, present = np.zeros((instances, 4)), np.zeros(instances, bool)
        for index in range(instances):
            mask = self.instances == index + 1
            columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
            if len(rows):
                boxes[index] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
                present[index] = True
        return boxes, present


def render(view: View, shadows: np.ndarray) -> Frame:
    """Paint every surface from far to near, each pixel keeping the nearest.

    `shadows` float64 [n, 3, 3] are planes on the ground whose unit circles are darkened; they change colours only.
    """
    height, width = view.camera.height_px, view.camera.width_px
    rgb = np.zeros((height, width, 3), np.uint8)
    nearest = np.zeros((height, width), np.float32)
    owner = np.zeros((height, width), np.int16)
    order = list(view.order)
    while order and view.surfaces[order[0]].outline is None:
        _paint_backdrop(view, order.pop(0), rgb, nearest, owner)
    for plane in shadows:
        _darken(view, plane, rgb)
    for index in order:
        _paint(view, index, rgb, nearest, owner)
    instance_of = np.array([surface.instance for surface in view.surfaces], np.uint8)
    part_of = np.array([surface.part for surface in view.surfaces], np.uint8)
    return Frame(rgb=rgb, instances=instance_of[owner], parts=part_of[owner], depth=1 / nearest, surfaces=owner)


def silhouette(view: View, instance: int) -> np.ndarray:
    """What a body would cover in the image if nothing hid it, bool [H, W]."""
    mask = np.zeros((view.camera.height_px, view.camera.width_px), bool)
    for index in view.order:
        window, surface = view.window(index), view.surfaces[index]
        if surface.instance == instance and surface.outline is not None and window is not None:
            x0, y0, x1, y1 = window
            u, v, _ = view.on_plane(index, *_centres(window))
            mask[y0:y1, x0:x1] |= surface.outline.distance(u, v) <= 0
    return mask


def _paint_backdrop(view: View, index: int, rgb: np.ndarray, nearest: np.ndarray, owner: np.ndarray) -> None:
    height, width = nearest.shape
    nearness = _affine(view.to_plane[index], 2, (0, 0, width, height))
    mask = nearness > nearest
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    mask, nearness = mask[y0:y1], nearness[y0:y1]
    # Rows are near enough to level for one level of detail each; 1e-3 keeps out the far side of the horizon.
    row_nearness = np.maximum(nearness[:, width // 2].astype(np.float64), 1e-3)
    footprint = 1 / np.sqrt(view.area_scale[index] * row_nearness**3)
    colour = view.surfaces[index].texture.paint(view.to_tile[index], (0, y0, width, y1), footprint)
    colour = cv2.convertScaleAbs(colour, alpha=float(view.shade[index]))
    cv2.copyTo(colour, mask.view(np.uint8), rgb[y0:y1])
    np.copyto(nearest[y0:y1], nearness, where=mask)
    np.copyto(owner[y0:y1], index, where=mask)


def _paint(view: View, index: int, rgb: np.ndarray, nearest: np.ndarray, owner: np.ndarray) -> None:
    window, surface = view.window(index), view.surfaces[index]
    if window is None or surface.outline is None:
        return
    x0, y0, x1, y1 = window
    area = slice(y0, y1), slice(x0, x1)
    u, v, nearness = view.on_plane(index, *_centres(window))
    distance = surface.outline.distance(u, v)
    front = nearness > nearest[area]
    px_per_m, shade = float(view.px_per_m[index]), float(view.shade[index])
    cover = np.minimum(np.maximum(0.5 - distance * px_per_m, 0), front)
    if not cover.any():
        return
    inward = distance * (RIM * shade * -1.5 / min(surface.outline.reach)) + (1 - RIM) * shade
    light = np.minimum(np.maximum(inward, (1 - RIM) * shade), shade)
    colour = surface.texture.paint(view.to_tile[index], window, 1 / px_per_m)
    colour = cv2.blendLinear(colour, np.zeros_like(colour), light, 1 - light)
    rgb[area] = cv2.blendLinear(colour, rgb[area], cover, 1 - cover)
    mask = front & (distance <= 0)
    nearest[area][mask] = nearness[mask]
    owner[area][mask] = index


def _darken(view: View, plane: np.ndarray, rgb: np.ndarray) -> None:
    """A soft shadow: half the light gone in the middle of the plane's unit circle, none at its edge."""
    from_world = view.camera.from_world
    to_image = from_world[:, :3] @ plane
    to_image[:, 2] += from_world[:, 3]
    corners = to_image @ np.array([[-1, 1, 1, -1], [-1, -1, 1, 1], [1, 1, 1, 1]])
    if corners[2].min() < 0.1:
        return
    corners = corners[:2] / corners[2]
    (x0, y0), (x1, y1) = np.floor(corners.min(axis=1)), np.ceil(corners.max(axis=1))
    window = max(int(x0), 0), max(int(y0), 0), min(int(x1), rgb.shape[1]), min(int(y1), rgb.shape[0])
    if window[2] <= window[0] or window[3] <= window[1]:
        return
    to_plane = np.linalg.inv(to_image)
    u, v, w = (_affine(to_plane, row, window) for row in range(3))
    light = 1 - 0.55 * np.maximum(1 - (u * u + v * v) / (w * w), 0)
    area = np.s_[window[1] : window[3], window[0] : window[2]]
    rgb[area] = cv2.blendLinear(rgb[area], np.zeros_like(rgb[area]), light, 1 - light)


def _centres(window: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Image coordinates of the pixel centres of a window: x [1, width] and y [height, 1], float32."""
    x0, y0, x1, y1 = window
    return np.arange(x0 + 0.5, x1, dtype=np.float32)[None], np.arange(y0 + 0.5, y1, dtype=np.float32)[:, None]


def _affine(matrix: np.ndarray, row: int, window: tuple[int, int, int, int]) -> np.ndarray:
    """matrix[row] . (x, y, 1) at the pixel centres of a window, float32 [height, width]."""
    x, y = _centres(window)
    a, b, c = matrix[row].tolist()
    return a * x + (b * y + c)
