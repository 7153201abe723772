"""Cells and pixels agree on who covers what."""

import numpy as np
from seeing import Colour, Motion

from rvm_bench.viz.maps import LATTICE_PX, feature_maps, on_lattice, to_pixels


def test_every_pixel_has_its_cells_value_and_those_beyond_the_last_patch_the_last_ones():
    cells = np.arange(12).reshape(2, 2, 3)
    pixels = to_pixels(cells, 8, (21, 30))
    assert pixels.shape == (2, 21, 30)
    for y, x in ((0, 0), (7, 8), (8, 7), (15, 23), (20, 29)):
        np.testing.assert_array_equal(pixels[:, y, x], cells[:, min(y // 8, 1), min(x // 8, 2)])
    samples = on_lattice(cells, 8, (21, 30))
    np.testing.assert_array_equal(samples, pixels[:, ::LATTICE_PX, ::LATTICE_PX].ravel())
    assert to_pixels(np.zeros((2, 2, 3, 5)), 8, (21, 30)).shape == (2, 21, 30, 5)


def test_feature_maps_are_what_encode_gives():
    frames = np.random.default_rng(0).integers(0, 256, (9, 21, 30, 3), dtype=np.uint8)
    for encoder in (Colour(8), Motion()):
        np.testing.assert_array_equal(feature_maps(encoder, frames), encoder.encode(frames))
