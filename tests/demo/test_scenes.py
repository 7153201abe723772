"""What a seed and a configuration promise."""

import cv2
import numpy as np
import pytest

from rvm_bench.errors import UserError
from rvm_bench.procedural.figures import make_figure
from rvm_bench.procedural.layout import SceneConfig, make_scene
from rvm_bench.procedural.motion import MOTIONS, body_path

SMALL = SceneConfig(height_px=48, width_px=64, frames=6)


def one_thing(motion: str, frames: int = 9, seed: int = 0):
    config = SceneConfig(
        height_px=96, width_px=96, frames=frames, things=1, figures=0, posts=0, motions=(motion,), camera_motion=0.0
    )
    return make_scene(seed, config)


def test_the_same_seed_gives_the_same_bytes():
    one, two = (make_scene(7, SMALL).render(3) for _ in range(2))
    for kind in ("rgb", "instances", "parts", "depth", "surfaces"):
        assert getattr(one, kind).tobytes() == getattr(two, kind).tobytes()


def test_frames_do_not_depend_on_the_order_they_are_asked_for():
    forth, back = make_scene(7, SMALL), make_scene(7, SMALL)
    forth_rgb = [forth.render(t).rgb for t in range(6)]
    back_rgb = [back.render(t).rgb for t in reversed(range(6))][::-1]
    np.testing.assert_array_equal(forth_rgb, back_rgb)


def test_another_seed_gives_another_scene():
    one, two = (make_scene(seed, SMALL).render(0) for seed in (7, 8))
    assert np.abs(one.rgb.astype(int) - two.rgb).mean() > 10
    assert (one.instances != two.instances).any()


def test_a_finer_scene_is_the_same_scene():
    fine = SceneConfig(height_px=192, width_px=256, frames=6)
    coarse_scene, fine_scene = make_scene(5, SMALL), make_scene(5, fine)
    np.testing.assert_allclose(fine_scene.joints(4)[0], 4 * coarse_scene.joints(4)[0], atol=1e-9)
    coarse_mask = coarse_scene.render(4).instances
    assert (fine_scene.render(4).instances[2::4, 2::4] == coarse_mask).mean() > 0.97


def test_a_longer_scene_is_the_same_scene():
    longer = SceneConfig(height_px=48, width_px=64, frames=11)
    np.testing.assert_array_equal(make_scene(5, SMALL).render(3).rgb, make_scene(5, longer).render(6).rgb)


@pytest.mark.parametrize(("motion", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)])
def test_a_direction_class_moves_that_way(motion, axis, sign):
    for seed in range(4):
        scene = one_thing(motion, seed=seed)
        assert scene.motions == (motion,)
        centres = [scene.boxes(t)[0][0].reshape(2, 2).mean(axis=0) for t in (0, 8)]
        moved = centres[1] - centres[0]
        assert sign * moved[axis] > 30
        assert abs(moved[1 - axis]) < 15


@pytest.mark.parametrize(("motion", "sign"), [("approach", 1), ("grow", 1), ("recede", -1), ("shrink", -1)])
def test_a_size_class_changes_size_that_way(motion, sign):
    for seed in range(4):
        scene = one_thing(motion, seed=seed)
        (first, _), (last, _) = scene.boxes(0), scene.boxes(8)
        ratio = np.log(np.ptp(last[0].reshape(2, 2), axis=0) / np.ptp(first[0].reshape(2, 2), axis=0))
        assert (sign * ratio > 0.2).all()


@pytest.mark.parametrize(("motion", "sign"), [("clockwise", 1), ("counterclockwise", -1)])
def test_a_turning_class_turns_that_way_on_the_screen(motion, sign):
    scene = one_thing(motion, frames=17)
    x0, y0, x1, y1 = scene.boxes(0)[0][0]
    tracks = scene.follow(0, np.array([[x0 + x1 - 12, y0 + y1], [x0 + x1 + 12, y0 + y1]]) / 2)
    assert (tracks.instance == 1).all()
    across = tracks.xy[1] - tracks.xy[0]
    turned = np.unwrap(np.arctan2(across[:, 1], across[:, 0]))
    assert sign * (turned[-1] - turned[0]) > 2


def test_a_still_body_before_a_still_camera_is_still():
    scene = one_thing("still")
    first, last = scene.render(0), scene.render(8)
    hinged = ((first.parts == 21) | (last.parts == 21)).astype(np.uint8)  # the details, which may swing
    unmoved = cv2.dilate(hinged, np.ones((5, 5))) == 0
    assert (unmoved & (first.instances == 1)).sum() > 100
    for kind in ("rgb", "instances", "depth"):
        np.testing.assert_array_equal(getattr(first, kind)[unmoved], getattr(last, kind)[unmoved])


def test_a_body_can_leave_the_view_and_return():
    scene = one_thing("leave-return")
    present = [bool(scene.boxes(t)[1][0]) for t in range(9)]
    assert present[0]
    assert present[8]
    assert not present[4]


def test_every_motion_class_can_be_drawn_and_painted():
    for motion in MOTIONS:
        assert one_thing(motion, frames=2).render(1).instances.shape == (96, 96)


def test_every_vip_class_is_worn_by_someone():
    labels = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        path = body_path(rng, "still", start=np.array([0, 0, 5.0]), half_view=np.ones(2), travel=0.5, standing=True)
        figure = make_figure(rng, motion="still", path=path, strides=2, texture_side=16)
        labels |= {part.label for part in figure.parts}
    assert labels == set(range(1, 20))


def test_bodies_hide_one_another():
    scene = make_scene(10, SceneConfig(frames=8))
    tracks = scene.tracks(200)
    in_image = ((tracks.xy >= 0) & (tracks.xy < 96)).all(axis=-1)
    assert (in_image & ~tracks.visible)[tracks.instance > 0].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"motions": ("leftt",)}, "did you mean left"),
        ({"motions": ()}, "at least one motion class"),
        ({"gaits": ("jack",)}, "did you mean jacks"),
        ({"gaits": ()}, "at least one gait"),
        ({"height_px": 8}, "at least 16 x 16"),
        ({"things": 256}, "0 to 255 bodies"),
    ],
)
def test_a_mistaken_configuration_is_told(settings, message):
    with pytest.raises(UserError, match=message):
        SceneConfig(**settings)


def test_a_frame_outside_the_clip_is_an_error():
    with pytest.raises(IndexError, match="frame 6 of a scene of 6 frames"):
        make_scene(0, SMALL).render(6)
