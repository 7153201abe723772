"""Clusters are found, repeatable, and numbered alike in all models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.vq import kmeans2
from seeing import Colour

from rvm_bench.errors import UserError
from rvm_bench.viz.clusters import kmeans, normalized, relabelling
from rvm_bench.viz.compare import clusterings


def blobs(rng, sizes=(50, 30, 20, 10, 5), width=6, offset=1000.0):
    """Groups that lie far apart, far from the origin; and which point is whose."""
    centres = np.eye(len(sizes), width) * 40 + offset
    truth = np.repeat(np.arange(len(sizes)), sizes)
    return (centres[truth] + rng.standard_normal((len(truth), width))).astype(np.float32), truth


@pytest.mark.parametrize("seed", range(5))
def test_groups_far_apart_are_found_and_numbered_by_their_size(seed):
    points, truth = blobs(np.random.default_rng(seed))
    labels, inertia = kmeans(points, 5, seed=seed)
    np.testing.assert_array_equal(labels, truth)
    spread = sum(((points[truth == c] - points[truth == c].mean(0)) ** 2).sum() for c in range(5))
    assert inertia == pytest.approx(spread, rel=1e-3)


def test_the_same_seed_gives_the_same_clusters_and_more_restarts_are_no_worse():
    points = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    one, inertia = kmeans(points, 5, seed=3)
    two, again = kmeans(points, 5, seed=3)
    np.testing.assert_array_equal(one, two)
    assert inertia == again
    assert kmeans(points, 5, seed=3, restarts=12)[1] <= inertia


def test_the_sum_of_squares_is_as_small_as_scipys():
    points = np.random.default_rng(1).standard_normal((600, 4))
    ours = kmeans(points.astype(np.float32), 5)[1]
    theirs = []
    for seed in range(8):
        start = points[np.random.default_rng(seed).choice(len(points), 5, replace=False)]
        centres, labels = kmeans2(points, start, iter=100, minit="matrix")
        theirs.append(((points - centres[labels]) ** 2).sum())
    assert ours <= 1.01 * min(theirs)


def test_too_few_different_features_are_refused():
    flat = np.repeat(np.random.default_rng(0).standard_normal((3, 4)), 20, axis=0).astype(np.float32)
    assert len(np.unique(kmeans(flat, 3)[0])) == 3
    with pytest.raises(UserError, match="only 3 different values"):
        kmeans(flat, 4)
    with pytest.raises(UserError, match="not finite"):
        kmeans(np.full((9, 2), np.nan, np.float32), 2)
    with pytest.raises(UserError, match="at least 1"):
        kmeans(flat, 0)


@given(st.permutations(range(5)), st.integers(0, 2**32 - 1))
def test_relabelling_undoes_any_renumbering(permutation, seed):
    reference = np.random.default_rng(seed).permutation(np.repeat(np.arange(5), 20))
    labels = np.array(permutation)[reference]
    noisy = labels.copy()
    noisy[:8] = 0
    np.testing.assert_array_equal(relabelling(noisy, reference, 5)[labels], reference)


def test_normalising_says_what_it_does():
    maps = np.random.default_rng(0).uniform(1, 2, (2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(normalized(maps, "token"), axis=-1), 1, rtol=1e-6)
    channel = normalized(maps, "channel")
    np.testing.assert_allclose(channel.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(channel.std((0, 1, 2)), 1, rtol=1e-5)
    assert (normalized(np.ones((1, 2, 2, 3), np.float32), "channel") == 0).all()
    assert (normalized(np.zeros((1, 2, 2, 3), np.float32), "token") == 0).all()
    assert normalized(maps, "none") is maps
    with pytest.raises(UserError, match="did you mean token"):
        normalized(maps, "tokens")


def test_a_moving_thing_keeps_its_colour_in_time_and_across_patches():
    frames = np.zeros((4, 64, 96, 3), np.uint8)
    frames[:, :32, :, 2], frames[:, 32:, :, 1] = 200, 200
    for t in range(4):
        frames[t, 16:48, 16 * t : 16 * t + 32] = (250, 10, 10)
    one, two = clusterings([Colour(8), Colour(16, order=(2, 1, 0))], frames, 3)
    for t in range(4):
        things = one.labels[t, 2:6, 2 * t : 2 * t + 4]
        assert (things == one.labels[0, 3, 1]).all()
        assert (two.labels[t, 1:3, t : t + 2] == one.labels[0, 3, 1]).all()
    np.testing.assert_array_equal(one.panel((64, 96)).frames, two.panel((64, 96)).frames)


@pytest.mark.parametrize("k", [1, 8])
def test_k_is_as_many_as_there_are_colours_at_most(k):
    with pytest.raises(UserError, match="expected 2 to 7"):
        clusterings([Colour()], np.zeros((1, 16, 16, 3), np.uint8), k)
