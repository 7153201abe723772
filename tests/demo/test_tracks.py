"""Tracks agree with the masks, the depth, the colours and the camera."""

from functools import cache

import cv2
import numpy as np
import pytest

from rvm_bench.procedural.layout import SceneConfig, make_scene

CONFIG = SceneConfig(height_px=144, width_px=192, frames=10, things=2, figures=1, travel=0.4)
SEEDS = (3, 4)


@cache
def played(seed: int):
    scene = make_scene(seed, CONFIG)
    return scene, [scene.render(t) for t in range(CONFIG.frames)], scene.tracks(300, seed=seed)


def pixels(xy):
    column, row = np.floor(xy).astype(int).T
    return row, column


def inside(xy):
    return ((xy >= 0) & (xy < (CONFIG.width_px, CONFIG.height_px))).all(axis=-1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_visible_point_lies_on_its_instance_and_part(seed):
    _, frames, tracks = played(seed)
    assert tracks.visible[np.arange(300), tracks.frame].all()
    assert set(tracks.instance) == {0, 1, 2, 3}
    for t, frame in enumerate(frames):
        seen = tracks.visible[:, t]
        where = pixels(tracks.xy[seen, t])
        np.testing.assert_array_equal(frame.instances[where], tracks.instance[seen])
        np.testing.assert_array_equal(frame.parts[where], tracks.part[seen])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hidden_point_lies_behind_something_nearer(seed):
    _, frames, tracks = played(seed)
    hidden_points = 0
    for t, frame in enumerate(frames):
        hidden = ~tracks.visible[:, t] & inside(tracks.xy[:, t])
        where = pixels(tracks.xy[hidden, t])
        # A point within a pixel of its own outline may share its pixel with what is behind: allow for that alone.
        own = np.stack([cv2.dilate((frame.instances == k).astype(np.uint8), np.ones((3, 3))) for k in range(4)])
        at_edge = own[tracks.instance[hidden], *where] > 0
        behind = frame.depth[where] < tracks.depth[hidden, t] + 1e-3
        assert (behind | at_edge).all()
        hidden_points += (behind & ~at_edge).sum()
    assert hidden_points > 50


@pytest.mark.parametrize("seed", SEEDS)
def test_depth_of_a_track_is_the_depth_of_its_pixel(seed):
    scene, frames, _ = played(seed)
    rng = np.random.default_rng(seed)
    centres = rng.integers((0, 0), (CONFIG.width_px, CONFIG.height_px), (200, 2)) + 0.5
    for t in (0, 9):
        tracks = scene.follow(t, centres)
        np.testing.assert_allclose(tracks.xy[:, t], centres, atol=1e-6)
        np.testing.assert_allclose(tracks.depth[:, t], frames[t].depth[pixels(centres)], rtol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_background_points_stay_where_they_are_in_the_world(seed):
    scene, _, tracks = played(seed)
    background = tracks.instance == 0
    world = []
    for t in range(CONFIG.frames):
        camera, depth = scene.camera_at(t), tracks.depth[background, t, None]
        image = np.hstack([tracks.xy[background, t], np.ones((len(depth), 1))])
        points = (image @ np.linalg.inv(camera.intrinsics).T) * depth
        world.append(points @ camera.to_world[:3, :3].T + camera.to_world[:3, 3])
    assert np.ptp(tracks.xy[background], axis=1).max() > 2, "the camera moves"
    np.testing.assert_allclose(world, np.broadcast_to(world[0], np.shape(world)), atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_colours_follow_the_tracks(seed):
    _, frames, tracks = played(seed)
    rng = np.random.default_rng(0)

    def colours(t, points):
        x, y = (tracks.xy[points, t] - 0.5).astype(np.float32).T
        return cv2.remap(frames[t].rgb, x[None], y[None], cv2.INTER_LINEAR)[0].astype(float)

    for bodies in (tracks.instance == 0, tracks.instance > 0):
        both = tracks.visible[:, 0] & tracks.visible[:, 5] & bodies
        first, later = colours(0, both), colours(5, both)
        followed = np.abs(first - later).mean()
        stayed = np.abs(first - rng.permutation(later)).mean()
        assert followed < 0.5 * stayed


def test_following_a_place_outside_the_image_is_an_error():
    scene, _, _ = played(SEEDS[0])
    with pytest.raises(ValueError, match="must lie in the image"):
        scene.follow(0, np.array([[-1.0, 5.0]]))
