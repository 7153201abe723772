"""Exponents of costs whose growth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvm_bench.profiling.growth import LEAST_MB, Curve, curves_of, growth, rows_of
from rvm_bench.profiling.points import STREAM, Point

FRAMES = (16, 32, 64, 128, 256)


def point(frames, **more):
    facts = dict.fromkeys(
        (
            "published",
            "family",
            "kind",
            "weights",
            "weights_sha256",
            "options",
            "device",
            "dtype",
            "processor",
            "torch",
        ),
        "",
    )
    return Point(
        **facts,
        **{"model": "m", "way": STREAM, **more},
        frames=frames,
        size_px=64,
        threads=1,
        repeats=1,
        pass_limit_s=60,
    )


@given(st.floats(0, 3), st.floats(1e-3, 1e3))
def test_a_power_law_has_its_exponent_whatever_its_scale(exponent, scale):
    found = growth([(n, scale * n**exponent) for n in FRAMES])
    assert found.exponent == pytest.approx(exponent, abs=1e-6)
    assert found.half_width == pytest.approx(0, abs=1e-5)


def test_the_interval_covers_the_exponent_of_noisy_costs():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(500):
        found = growth([(n, n * np.exp(rng.normal(0, 0.1))) for n in FRAMES])
        hits += abs(found.exponent - 1) <= found.half_width
    assert 460 <= hits <= 490


def test_what_starts_with_a_fixed_cost_is_not_called_linear():
    assert growth([(n, 100 + n) for n in FRAMES]).exponent < 0.6


def test_two_points_have_no_interval_and_one_no_exponent():
    assert growth([(8, 1.0), (16, 4.0)]).half_width is None
    assert str(growth([(8, 1.0), (16, 4.0)])) == "2.00"
    assert growth([(8, 1.0)]) is None


def test_flat_memory_is_flat_even_where_it_is_nearly_nothing():
    curve = Curve(
        points=tuple(point(n, peak_mb=mb) for n, mb in zip(FRAMES, (0.0, 0.2, 0.9, 0.1, 0.4), strict=True)),
        stopped=None,
    )
    assert LEAST_MB == 1
    assert curve.memory.exponent == 0
    assert curve.time is None


def test_points_fall_into_curves_with_the_reason_for_their_end():
    points = [
        point(16, wall_s=2.0, cpu_s=1.0),
        point(8, wall_s=1.0, cpu_s=0.5),
        point(32, stopped="too long"),
        point(8, model="n"),
    ]
    first, second = curves_of(points)
    assert [p.frames for p in first.points] == [8, 16]
    assert first.stopped.stopped == "too long"
    assert (second.first.model, second.stopped) == ("n", None)
    assert [(row["cost"], row["exponent"]) for row in rows_of([first, second])] == [
        ("time", pytest.approx(1)),
        ("CPU time", pytest.approx(1)),
    ]
