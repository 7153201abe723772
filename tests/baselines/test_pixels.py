"""Pixels as features: exactly the pixels."""

import numpy as np

from rvm_bench.fetch.load import load_encoder


def test_a_feature_is_a_patch_row_by_row_with_channels_last():
    video = np.random.default_rng(0).integers(0, 256, (3, 33, 50, 3), dtype=np.uint8)
    features = load_encoder("pixels", device="cpu").encode(video)
    assert features.shape == (3, 2, 3, 768)
    patch = video[1, 16:32, 32:48].reshape(-1) / np.float32(255)
    np.testing.assert_allclose(features[1, 1, 2], patch, atol=1e-7)


def test_there_are_no_weights_to_hash():
    encoder = load_encoder("pixels", weights="random", device="cpu")
    assert encoder.describe()["weights"] == {"kind": "none", "sha256": None}
