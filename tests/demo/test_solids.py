"""Rays meet cuboids and ellipsoids where they are, and a place on one stays there however it moves."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rvm_bench.procedural.solids import ACROSS, CORNERS, Block

ANGLE = st.floats(-3, 3)
TURNED = {"yaw": 0.4, "pitch": -0.7, "roll": 1.1}


def solid(round_, **turn):
    return Block(centre=np.array([0.3, -0.2, 4.0]), half=np.array([0.8, 0.5, 0.3]), texture=0, round=round_, **turn)


def meet(block, n=41):
    """What a fan of rays from the origin meets: lengths [P], the rays [P, 3], and the places of all that meet it."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, n), np.linspace(-0.5, 0.5, n))
    rays = np.stack([x, y, np.ones_like(x)])
    met = block.meet(np.zeros(3), rays.astype(np.float32), np.full((n, n), np.inf, np.float32))
    return met.along.astype(float), rays[:, met.rows, met.columns].T, (met.side, met.u, met.v)


def own(block, points):
    """World points in the block's axes, in units of half its sides."""
    return (points - block.centre) @ block.turn / block.half


@pytest.mark.parametrize("round_", [False, True])
def test_a_ray_through_the_middle_meets_the_near_side_in_its_middle(round_):
    block = replace(solid(round_, yaw=0.0), centre=np.array([0, 0, 4.0]))
    ray = np.array([1e-4, 2e-4, 1.0], np.float32)[:, None, None]
    met = block.meet(np.zeros(3), ray, np.full((1, 1), 9, np.float32))
    np.testing.assert_allclose([met.along[0], met.u[0], met.v[0]], [3.7, 3.7e-4, 7.4e-4], atol=1e-6)
    assert met.side == 4
    np.testing.assert_allclose(block.place(met.side, met.u, met.v), [[3.7e-4, 7.4e-4, -0.3]], atol=1e-6)
    np.testing.assert_allclose(block.normals(met.side, met.u, met.v), [[0, 0, -1]], atol=2e-3)


@settings(max_examples=25, deadline=None)
@given(round_=st.booleans(), yaw=ANGLE, pitch=ANGLE, roll=ANGLE)
@example(round_=False, yaw=0.0, pitch=0.0, roll=1.175494351e-38)  # its inverse overflows
def test_what_is_met_is_on_the_surface_in_front_and_where_its_place_says(round_, yaw, pitch, roll):
    block = solid(round_, yaw=yaw, pitch=pitch, roll=roll)
    along, rays, places = meet(block)
    assert len(along) > 20
    points = along[:, None] * rays
    inside = own(block, points)
    size = np.linalg.norm(inside, axis=1) if round_ else np.abs(inside).max(axis=1)
    np.testing.assert_allclose(size, 1, atol=1e-4)
    np.testing.assert_allclose(block.centre + block.place(*places) @ block.turn.T, points, atol=2e-4)
    normals = block.normals(*places)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert ((normals * rays).sum(axis=1) < 1e-3).all(), "the side that is met faces the camera"
    assert (((points - block.centre) * normals).sum(axis=1) > 0).all(), "normals point outwards"


@pytest.mark.parametrize("round_", [False, True])
def test_rays_that_pass_by_meet_nothing_and_those_that_do_not_all_do(round_):
    block = solid(round_, **TURNED)
    _, rays, _ = meet(block)
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 41), np.linspace(-0.5, 0.5, 41))
    fan = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    steps = own(block, np.linspace(2, 6, 2000)[:, None, None] * fan)
    size = np.linalg.norm(steps, axis=-1) if round_ else np.abs(steps).max(axis=-1)
    assert len(rays) == (size.min(axis=0) < 1).sum()


@pytest.mark.parametrize("round_", [False, True])
def test_what_is_nearer_hides_a_solid_and_what_is_behind_the_start_is_not_met(round_):
    block = solid(round_, **TURNED)
    ray = np.array([0.3, -0.2, 4.0], np.float32)[:, None, None]
    for towards, before, met in ((ray, 2.0, 1), (ray, 0.5, 0), (-ray, 2.0, 0)):
        assert len(block.meet(np.zeros(3), towards, np.full((1, 1), before, np.float32)).rows) == met


def test_corners_and_sides_have_the_order_that_is_said():
    block = solid(False, **TURNED)
    np.testing.assert_array_equal(CORNERS[:3], [(-1, -1, -1), (-1, -1, 1), (-1, 1, -1)])
    np.testing.assert_allclose(own(block, block.corners), CORNERS, atol=1e-12)
    for side in range(6):
        place = block.place(np.array([side]), np.array([0.1]), np.array([0.2]))[0]
        assert place[side // 2] == block.half[side // 2] * (1 if side % 2 else -1)
        assert tuple(place[list(ACROSS[side // 2])]) == (0.1, 0.2)


def test_an_ellipsoid_lies_within_the_window_of_its_box_and_touches_all_six_sides():
    box, ball = solid(False, **TURNED), solid(True, **TURNED)
    for axis in range(3):
        for sign in (0, 1):
            zero, side = np.zeros(1), np.array([2 * axis + sign])
            np.testing.assert_allclose(ball.place(side, zero, zero), box.place(side, zero, zero))
            np.testing.assert_allclose(ball.normals(side, zero, zero), box.normals(side, zero, zero), atol=1e-12)
    assert len(meet(ball)[0]) < len(meet(box)[0])
