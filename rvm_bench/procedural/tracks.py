"""Surface points through time: which surface a pixel shows, and where its points go."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rvm_bench.procedural.view import View


@dataclass(frozen=True, kw_only=True, eq=False)
class Tracks:
    """P points through T frames.

    `xy` float64 [P, T, 2] in pixels, given even where the point is hidden or outside the image (NaN where it is behind
    the camera); `visible` bool [P, T], whether the pixel that holds the point shows the surface it lies on; `depth`
    float64 [P, T] in metres; `instance` and `part` int [P]; `frame` int [P], the frame each point was chosen in.
    """

    xy: np.ndarray
    visible: np.ndarray
    depth: np.ndarray
    instance: np.ndarray
    part: np.ndarray
    frame: np.ndarray


def draw_evenly(rng: np.random.Generator, instances: np.ndarray, points: int, *, anywhere: float = 0.0) -> np.ndarray:
    """Which `points` of the candidates to follow, sorted: each of the `instances` int [candidates], the background
    counting as one, is as likely as the others. The share `anywhere` of them is drawn regardless of the instance."""
    share = 1 / np.bincount(instances)[instances]
    share = (1 - anywhere) * share / share.sum() + anywhere / len(instances)
    return np.sort(rng.choice(len(instances), points, replace=False, p=share))


def first_surface(view: View, xy: np.ndarray) -> np.ndarray:
    """The surface that each pixel shows, without painting: int [P], -1 for a pixel outside the image.

    `xy` [P, 2] are image coordinates; as in the masks, the answer is that of the centre of the pixel that holds them.
    """
    hit, nearest = np.full(len(xy), -1), np.zeros(len(xy), np.float32)
    inside = np.flatnonzero(view.camera.holds(xy))
    x, y = (np.floor(xy[inside]) + 0.5).T
    for index in view.order:
        x0, y0, x1, y1 = view.bounds[index]
        near = np.flatnonzero((x >= x0 - 1) & (x <= x1 + 1) & (y >= y0 - 1) & (y <= y1 + 1))
        if not len(near):
            continue
        u, v, nearness = view.on_plane(index, x[near], y[near])
        outline = view.surfaces[index].outline
        rows = inside[near]
        front = nearness > nearest[rows]
        if outline is not None:
            front &= outline.distance(u, v) <= 0
        hit[rows[front]], nearest[rows[front]] = index, nearness[front]
    return hit


def follow(views: Sequence[View], frames: np.ndarray, xy: np.ndarray) -> Tracks:
    """The tracks of the surface points seen at `xy` [P, 2], in pixels, in `frames` int [P], through all `views`."""
    owner, local = np.empty(len(xy), int), np.ones((len(xy), 3))
    for frame in np.unique(frames):
        of_frame, view = np.flatnonzero(frames == frame), views[frame]
        owner[of_frame] = first_surface(view, xy[of_frame])
        if (owner[of_frame] < 0).any():
            raise ValueError(f"every point to follow must lie in the image; frame {frame} has some that do not")
        image = np.hstack([xy[of_frame], np.ones((len(of_frame), 1))])
        plane = np.einsum("pab,pb->pa", view.to_plane[owner[of_frame]], image)
        local[of_frame] = plane / plane[:, 2:]
    tracks = np.full((len(xy), len(views), 2), np.nan)
    depth, visible = np.zeros(tracks.shape[:2]), np.zeros(tracks.shape[:2], bool)
    for t, view in enumerate(views):
        image = np.einsum("pab,pb->pa", view.to_image[owner], local)
        depth[:, t] = image[:, 2]
        front = image[:, 2] > 0
        tracks[front, t] = image[front, :2] / image[front, 2:]
        visible[front, t] = first_surface(view, tracks[front, t]) == owner[front]
    surfaces = views[0].surfaces
    return Tracks(
        xy=tracks,
        visible=visible,
        depth=depth,
        instance=np.array([surfaces[k].instance for k in owner], int),
        part=np.array([surfaces[k].part for k in owner], int),
        frame=np.asarray(frames, int),
    )
