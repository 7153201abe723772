"""Error bars and p-values that mean what they say."""

import numpy as np
import pytest
from scipy import stats

from rvm_bench.stats.bootstrap import (
    bootstrap_interval,
    bootstrap_p_value,
    jackknife_widening,
    paired_bootstrap,
    percentile_interval,
    resamples,
)

SIMULATIONS = 2000


def test_the_interval_of_a_mean_is_close_to_the_t_interval():
    values = np.random.default_rng(0).normal(50, 10, 30)
    low, high = bootstrap_interval(list(values), np.mean, draws=20000)
    expected = stats.t.interval(0.95, 29, values.mean(), values.std(ddof=1) / np.sqrt(30))
    np.testing.assert_allclose([low, high], expected, atol=0.25)


def test_constant_records_have_an_interval_of_no_width():
    assert bootstrap_interval([3.0] * 5, np.mean) == (3.0, 3.0)


def test_one_video_has_no_interval():
    assert bootstrap_interval([1.0], np.mean) is None
    assert bootstrap_interval([1.0, 2.0], np.mean, groups=["a", "a"]) is None


def test_the_same_records_give_the_same_interval():
    values = [1.0, 5.0, 2.0, 8.0]
    assert bootstrap_interval(values, np.mean) == bootstrap_interval(values, np.mean)


def test_groups_of_one_change_nothing():
    values = [1.0, 5.0, 2.0, 8.0]
    assert bootstrap_interval(values, np.mean, groups="abcd") == bootstrap_interval(values, np.mean)


def test_copies_of_a_video_in_one_group_do_not_narrow_the_interval():
    values = list(np.random.default_rng(0).normal(0, 1, 20))
    copied = [value for value in values for _ in range(4)]
    groups = [number for number in range(20) for _ in range(4)]
    assert bootstrap_interval(copied, np.mean, groups=groups) == pytest.approx(bootstrap_interval(values, np.mean))
    low, high = bootstrap_interval(copied, np.mean)
    assert high - low < 0.6 * np.subtract(*bootstrap_interval(values, np.mean)[::-1])


def test_the_p_value_of_a_mean_is_close_to_that_of_the_paired_t_test():
    rng = np.random.default_rng(3)
    for shift in (0.1, 0.3, 0.5):
        a, b = rng.normal(shift, 1, 25), rng.normal(0, 0.5, 25)
        found = paired_bootstrap(list(a), list(b), np.mean, draws=8000)
        assert found.difference == pytest.approx(a.mean() - b.mean())
        assert found.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.04)


def test_equal_records_do_not_differ():
    found = paired_bootstrap([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], np.mean)
    assert (found.difference, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_what_makes_a_video_hard_for_both_drops_out():
    hardness = np.random.default_rng(0).normal(0, 100, 20)
    better = hardness + 1 + 0.01 * np.arange(20)
    found = paired_bootstrap(list(better), list(hardness), np.mean)
    assert 1 < found.interval[0] < found.interval[1] < 1.2
    assert found.p_value < 0.01


def test_swapping_the_models_turns_the_sign_and_keeps_the_p_value():
    a, b = np.random.default_rng(5).random((2, 12))
    one, other = paired_bootstrap(list(a), list(b), np.mean), paired_bootstrap(list(b), list(a), np.mean)
    assert one.difference == -other.difference
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert one.p_value == pytest.approx(other.p_value)


def test_one_video_has_no_test_and_unlike_numbers_of_records_are_an_error():
    found = paired_bootstrap([2.0], [1.0], np.mean)
    assert (found.difference, found.interval, found.p_value) == (1.0, None, None)
    with pytest.raises(ValueError, match="2 and 1 records"):
        paired_bootstrap([1.0, 2.0], [1.0], np.mean)


def test_few_videos_never_give_a_p_value_of_zero():
    for count, least in ((2, 0.2), (4, 0.05), (5, 0.03)):
        found = paired_bootstrap([1.0] * count, list(np.arange(count) / 100), np.mean)
        assert found.p_value > least
    assert found.p_value < 0.05


def test_the_widening_of_a_mean_is_hesterbergs_factor():
    values = np.random.default_rng(0).normal(0, 1, 30)
    draws = np.array([values[pick].mean() for pick in resamples(30, 20000)])
    without = (values.sum() - values) / 29
    assert jackknife_widening(draws, without) == pytest.approx(np.sqrt(30 / 29), abs=0.01)


def simulated(kind, count, rng):
    """Sums and weights [simulations, videos] of two equally good models, and their true score.

    A score is sum / weight over all videos, as J&F is a mean over the objects of all videos.
    """
    shape = (SIMULATIONS, count)
    if kind == "normal":
        return rng.normal(60, 10, shape), rng.normal(60, 10, shape), np.ones(shape), 60.0
    objects = rng.integers(1, 6, shape)
    hardness = rng.beta(4, 1.5, shape)
    # What is easy for one model is easy for the other; scores pile up below 1, and one model is the more erratic.
    even = (8, 8) if kind == "skewed" else (4, 30)
    a, b = (objects * rng.beta(k * hardness, k * (1 - hardness)) for k in even)
    return a, b, objects, 4 / 5.5


def statistic(records):
    """Sum over weight of records (sum, weight)."""
    total, weight = np.sum(records, axis=0)
    return total / weight


@pytest.mark.parametrize(("kind", "count"), [("normal", 20), ("erratic", 25), ("skewed", 30)])
def test_intervals_cover_and_tests_reject_as_often_as_they_say(kind, count):
    """2,000 simulated data sets of two equally good models: the 95 % interval of each covers the truth in 93 to 97 %,
    the paired test rejects in 4 to 6 % at the 5 % level, and it does so where its interval leaves 0 out.

    Over 2,000 a share of 5 % has a standard error of 0.5 %, so that the bounds would be two of them; four times as many
    are drawn to make it four.
    """
    rng = np.random.default_rng(2026)
    resampled = np.array([np.bincount(pick, minlength=count) for pick in resamples(count)], dtype=float).T
    found = [study(*simulated(kind, count, rng), resampled) for _ in range(4)]
    covered, rejected, agreed = np.mean(found, axis=0)
    print(f"{kind}, {count} videos: covers {100 * covered:.1f} %, rejects {100 * rejected:.1f} %")
    assert 0.93 <= covered <= 0.97
    assert 0.04 <= rejected <= 0.06
    assert agreed > 0.99


def study(a, b, weight, truth, resampled):
    """Shares of the simulated data sets whose interval covers the truth, whose test rejects, and where both agree."""
    count = weight.shape[1]
    of_a, of_b = ((sums @ resampled) / (weight @ resampled) for sums in (a, b))
    low, high = percentile_interval(of_a, count)
    covered = (low <= truth) & (truth <= high)

    difference = of_a - of_b
    rest = weight.sum(axis=1, keepdims=True) - weight
    without = (a.sum(axis=1, keepdims=True) - a) / rest - (b.sum(axis=1, keepdims=True) - b) / rest
    widening = jackknife_widening(difference, without)
    p_value = bootstrap_p_value(difference, count, widening=widening)
    low_d, high_d = percentile_interval(difference, count, widening=widening)
    agreed = (p_value < 0.05) == ((low_d > 0) | (high_d < 0))

    # The functions that a run and `compare` call give what is simulated here.
    records = [list(zip(sums[0], weight[0], strict=True)) for sums in (a, b)]
    found = paired_bootstrap(*records, statistic)
    assert (found.p_value, *found.interval) == pytest.approx((p_value[0], low_d[0], high_d[0]))
    assert bootstrap_interval(records[0], statistic) == pytest.approx((low[0], high[0]))
    return covered.mean(), (p_value < 0.05).mean(), agreed.mean()
