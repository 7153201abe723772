"""Error bars that mean what they say."""

import numpy as np
from scipy import stats

from rvm_bench.statistics import bootstrap_interval


def test_the_interval_of_a_mean_is_close_to_the_t_interval():
    values = np.random.default_rng(0).normal(50, 10, 30)
    low, high = bootstrap_interval(list(values), np.mean, draws=20000)
    expected = stats.t.interval(0.95, 29, values.mean(), values.std(ddof=1) / np.sqrt(30))
    np.testing.assert_allclose([low, high], expected, atol=0.25)


def test_constant_records_have_an_interval_of_no_width():
    assert bootstrap_interval([3.0] * 5, np.mean) == (3.0, 3.0)


def test_one_video_has_no_interval():
    assert bootstrap_interval([1.0], np.mean) is None


def test_the_same_records_give_the_same_interval():
    values = [1.0, 5.0, 2.0, 8.0]
    assert bootstrap_interval(values, np.mean) == bootstrap_interval(values, np.mean)


def test_ninety_five_percent_intervals_cover_the_truth_about_that_often():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        low, high = bootstrap_interval(rng.normal(0, 1, 20), np.mean, draws=400, seed=int(rng.integers(1 << 30)))
        hits += low <= 0 <= high
    # Four standard errors of a proportion over 400 draws are 4.4 %.
    assert abs(hits / 400 - 0.95) < 0.044
