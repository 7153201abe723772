"""Components are what the definition says, and mean the same in every model."""

import numpy as np
import pytest
from seeing import Colour

from rvm_bench.viz.compare import pca_panels
from rvm_bench.viz.pca import SPREAD, brightness_signs, matching, principal_scores, to_rgb


def planted(rng, shape=(3, 6, 7), deviations=(5.0, 2.0, 1.0), width=10):
    """Features with known components, far from the origin, and those components [T, h, w, 3]."""
    hidden = rng.standard_normal((*shape, 3))
    flat = hidden.reshape(-1, 3)
    flat -= flat.mean(0)
    hidden = np.linalg.qr(flat)[0].reshape(hidden.shape) * np.sqrt(flat.shape[0])
    directions = np.linalg.qr(rng.standard_normal((width, 3)))[0]
    return (hidden * deviations @ directions.T + 100).astype(np.float32), hidden


def test_scores_are_the_planted_components_in_order_with_mean_0_and_variance_1():
    features, hidden = planted(np.random.default_rng(0))
    scores = principal_scores(features)
    flat = scores.reshape(-1, 3)
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(flat.T @ flat / len(flat), np.eye(3), atol=1e-3)
    signs = np.sign((flat * hidden.reshape(-1, 3)).sum(0))
    np.testing.assert_allclose(scores * signs, hidden, atol=1e-3)


def test_scores_do_not_depend_on_the_scale_of_the_features():
    features, _ = planted(np.random.default_rng(1))
    np.testing.assert_allclose(np.abs(principal_scores(features * 7)), np.abs(principal_scores(features)), atol=1e-3)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_components_that_the_features_have_not_stay_grey(width):
    features = np.ones((2, 4, 4, width), np.float32)
    assert (principal_scores(features) == 0).all()
    features[..., 0] = np.random.default_rng(0).standard_normal((2, 4, 4))
    scores = principal_scores(features)
    assert abs(scores[..., 0].std() - 1) < 1e-4
    assert (scores[..., 1:] == 0).all()
    assert (to_rgb(scores)[..., 1:] == 128).all()


def test_colours_are_cut_at_the_spread():
    values = np.array([-9, -SPREAD, 0, SPREAD, 9])
    assert to_rgb(values).tolist() == [0, 0, 128, 255, 255]


def test_matching_undoes_another_order_and_other_signs():
    rng = np.random.default_rng(2)
    reference = rng.standard_normal((500, 3))
    shuffled = (reference * [1, -1, -1])[:, [2, 0, 1]] + 0.1 * rng.standard_normal((500, 3))
    order, signs = matching(shuffled, reference)
    assert order.tolist() == [1, 2, 0]
    assert signs.tolist() == [1, -1, -1]


def test_signs_follow_brightness():
    brightness = np.random.default_rng(3).uniform(size=200)
    scores = np.stack([-brightness, brightness, np.zeros(200)], 1)
    assert brightness_signs(scores, brightness).tolist() == [-1, 1, 1]


def test_models_of_other_patches_orders_and_signs_get_the_first_ones_colours():
    rows, columns = np.indices((112, 112)) / 112
    waves = np.stack([np.sin(5 * rows), np.cos(9 * columns), np.sin(4 * (rows + columns))], -1)
    frames = np.stack([127 + 120 * np.roll(waves, 4 * t, axis=1) * [1, 0.6, 0.3] for t in range(3)]).astype(np.uint8)
    other = Colour(patch=16, gains=(-1.0, 2.0, -1.5), order=(2, 0, 1))
    first, same, turned = pca_panels([Colour(patch=8), Colour(patch=8), other], frames)
    np.testing.assert_array_equal(first.frames, same.frames)
    unmatched = to_rgb(principal_scores(other.encode(frames))).repeat(16, 1).repeat(16, 2)
    error, before = (
        np.abs(np.asarray(colours).astype(int) - np.asarray(first.frames)).mean()
        for colours in (turned.frames, unmatched)
    )
    assert error < 0.6 * before
    correlation = np.corrcoef(np.reshape(turned.frames, -1), np.reshape(first.frames, -1))[0, 1]
    assert correlation > 0.7
