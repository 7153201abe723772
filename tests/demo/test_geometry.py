"""Analytic cases, and agreement between the two ways the engine knows a thing: painted, and in closed form."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from rvm_bench.procedural.backdrop import make_backdrop
from rvm_bench.procedural.body import Body, Bone, Part
from rvm_bench.procedural.layout import SceneConfig, make_scene
from rvm_bench.procedural.motion import Path
from rvm_bench.procedural.render import silhouette
from rvm_bench.procedural.scene import FOCAL, Scene
from rvm_bench.procedural.shapes import Blob, Box, Limb, Superellipse
from rvm_bench.procedural.textures import make_texture
from rvm_bench.procedural.tracks import first_surface

CONFIG = SceneConfig(height_px=120, width_px=160, frames=12, things=2, figures=2, travel=0.5)
SEEDS = (0, 1, 2)

still = Path(middle=np.zeros(7), drift=np.zeros(7), sway=np.zeros(7), cycles=np.ones(7), phase=np.zeros(7))


@cache
def scene_of(seed: int) -> Scene:
    return make_scene(seed, CONFIG)


@cache
def rendered(seed: int):
    return [scene_of(seed).render(t) for t in range(CONFIG.frames)]


def part_of(outline, label: int = 20, layer_m: float = 0.0) -> Part:
    texture = make_texture(np.random.default_rng(0), side=32, tile_m=1.0)
    return Part(outline=outline, texture=texture, label=label, layer_m=layer_m)


def plain_scene(*parts: Part, depth_m: float = FOCAL * 100 / 20, yaw: float = 0.0) -> Scene:
    """One still body in the middle of the view of a still camera, 100 x 100, at 20 pixels a metre."""
    path = replace(still, middle=np.array([0, 0, depth_m, 0, yaw, 0, 0]))
    backdrop = make_backdrop(
        np.random.default_rng(0),
        ground_m=5.0,
        wall_m=20.0,
        posts=0,
        post_depths_m=(3, 4),
        drift_m=0.0,
        texture_side=128,
    )
    body = Body(motion="still", path=path, bones=(Bone(),), parts=parts)
    return Scene(height_px=100, width_px=100, frames=2, bodies=(body,), backdrop=backdrop, camera=still, ground_m=5.0)


def test_a_fronto_parallel_box_covers_exactly_its_pixels():
    scene = plain_scene(part_of(Box(a=0.5, b=0.25)))
    frame = scene.render(1)
    expected = np.zeros((100, 100), np.uint8)
    expected[45:55, 40:60] = 1
    np.testing.assert_array_equal(frame.instances, expected)
    np.testing.assert_allclose(frame.depth[expected == 1], FOCAL * 100 / 20, rtol=1e-6)
    for boxes, present in (scene.boxes(1), frame.boxes(1)):
        np.testing.assert_allclose(boxes, [[40, 45, 60, 55]], atol=1e-9)
        assert present.all()


def test_a_disc_has_the_area_of_a_disc():
    scene = plain_scene(part_of(Superellipse(a=1.5, b=1.5)))
    assert np.count_nonzero(scene.render(0).instances) == pytest.approx(np.pi * 30**2, rel=0.005)


def test_a_body_that_turns_covers_less_and_its_sides_differ_in_depth():
    scene = plain_scene(part_of(Box(a=0.5, b=0.5)), yaw=np.pi / 3)
    frame = scene.render(0)
    x0, _, x1, _ = frame.boxes(1)[0][0]
    assert x1 - x0 == pytest.approx(20 * np.cos(np.pi / 3), abs=1.5)
    depth = frame.depth[50, frame.instances[50] == 1]
    assert np.ptp(depth) == pytest.approx(np.sin(np.pi / 3), rel=0.15)


@pytest.mark.parametrize("yaw", [0.0, 0.5])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_part_on_the_higher_layer_is_in_front_until_the_body_turns_its_back(yaw, backwards):
    below, above = part_of(Box(a=0.5, b=0.5), 20, -0.02), part_of(Box(a=0.4, b=0.4), 21, 0.02)
    parts = (above, below) if backwards else (below, above)
    assert plain_scene(*parts, yaw=yaw).render(0).parts[50, 50] == 21
    assert plain_scene(*parts, yaw=yaw + np.pi).render(0).parts[50, 50] == 20


def test_a_texture_seen_at_its_own_size_is_itself():
    texture = make_texture(np.random.default_rng(0), side=32, tile_m=32.0)
    from_middle = np.array([[1, 0, -16], [0, 1, -16], [0, 0, 1.0]])
    np.testing.assert_array_equal(texture.paint(from_middle, (0, 0, 32, 32), 1.0), texture.pixels)
    np.testing.assert_array_equal(texture.paint(from_middle, (0, 0, 32, 32), np.ones(32)), texture.pixels)
    half = np.diag([2.0, 2.0, 1.0]) @ np.array([[1, 0, -8], [0, 1, -8], [0, 0, 1.0]])
    np.testing.assert_array_equal(texture.paint(half, (0, 0, 16, 16), 2.0), texture.levels[1])


@pytest.mark.parametrize(
    "outline",
    [
        Superellipse(a=0.4, b=0.7),
        Superellipse(a=0.4, b=0.7, power=4),
        Box(a=0.4, b=0.7, radius=0.1),
        Limb(length=0.8, top=0.3, bottom=0.1),
        Limb(length=0.8, top=0.1, bottom=0.3),
        Blob(radius=0.5, waves=(2, 5), amounts=(0.2, 0.1), phases=(0.3, 2.0)),
    ],
)
def test_the_contour_of_an_outline_is_where_its_distance_is_zero(outline):
    contour = outline.contour(200)
    u, v = contour.T
    np.testing.assert_allclose(outline.distance(u, v), 0, atol=1e-9)
    assert (outline.distance(0.9 * u, 0.9 * v) < 0).all()
    assert (outline.distance(1.1 * u, 1.1 * v) > 0).all()
    assert (np.abs(contour) <= np.add(outline.reach, 1e-9)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_pixel_shows_the_surface_that_the_closed_form_says(seed):
    scene = scene_of(seed)
    x, y = np.meshgrid(np.arange(CONFIG.width_px) + 0.5, np.arange(CONFIG.height_px) + 0.5)
    for t in (0, 5, 11):
        hit = first_surface(scene.view(t), np.stack([x.ravel(), y.ravel()], axis=1))
        np.testing.assert_array_equal(hit.reshape(x.shape), rendered(seed)[t].surfaces)


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_cover_one_another_and_only_figures_wear_clothes(seed):
    for frame in rendered(seed):
        np.testing.assert_array_equal(frame.instances == 0, frame.parts == 0)
        figure = np.isin(frame.instances, scene_of(seed).figures)
        np.testing.assert_array_equal(figure, (frame.parts >= 1) & (frame.parts <= 19))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_behind_a_body_is_nearer_than_it(seed):
    scene = scene_of(seed)
    for t, frame in enumerate(rendered(seed)):
        view = scene.view(t)
        for body in range(1, len(scene.bodies) + 1):
            hidden = silhouette(view, body) & (frame.instances != body)
            seen = frame.instances == body
            assert not (seen & ~silhouette(view, body)).any()
            if hidden.any():
                far = max(view.to_image[k][2] @ (u, v, 1) for k, s in enumerate(scene.surfaces) if s.instance == body
                          for u, v in s.outline.contour(32))  # fmt: skip
                assert frame.depth[hidden].max() < far


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_bound_what_is_visible_and_fit_what_is_whole(seed):
    scene = scene_of(seed)
    fitted = 0
    for t, frame in enumerate(rendered(seed)):
        whole, _ = scene.boxes(t)
        visible, present = frame.boxes(len(scene.bodies))
        assert (visible[present, :2] >= whole[present, :2] - 0.6).all()
        assert (visible[present, 2:] <= whole[present, 2:] + 0.6).all()
        for body in np.flatnonzero(present):
            mask = silhouette(scene.view(t), body + 1)
            inside = (whole[body] > 1).all() and (whole[body, 2:] < (159, 119)).all()
            if inside and (mask == (frame.instances == body + 1)).all():
                np.testing.assert_allclose(visible[body], whole[body], atol=1.6)
                fitted += 1
    assert fitted


@pytest.mark.parametrize("seed", SEEDS)
def test_joints_lie_on_their_figure(seed):
    scene = scene_of(seed)
    shown = 0
    for t, frame in enumerate(rendered(seed)):
        xy, visible = scene.joints(t)
        assert xy.shape == (2, 15, 2)
        for row, figure in enumerate(scene.figures):
            column, line = np.floor(xy[row]).astype(int).T
            inside = (column >= 0) & (line >= 0) & (column < CONFIG.width_px) & (line < CONFIG.height_px)
            near = cv2.dilate(silhouette(scene.view(t), figure).astype(np.uint8), np.ones((3, 3)))
            assert near[line[inside], column[inside]].all()
            of_pixel = frame.instances[line[inside], column[inside]] == figure
            np.testing.assert_array_equal(visible[row, inside], of_pixel)
            assert not visible[row, ~inside].any()
            shown += visible[row].sum()
    assert shown > 100
