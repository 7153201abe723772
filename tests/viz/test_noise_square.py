"""The stimulus hides its square in every single frame; the measure knows what motion shows and what chance gives."""

import numpy as np
import pytest
from seeing import Colour, Motion

from rvm_bench.cli import viz_options
from rvm_bench.errors import UserError
from rvm_bench.fetch.load import load_encoder
from rvm_bench.viz.compare import clusterings
from rvm_bench.viz.maps import cell_sums
from rvm_bench.viz.noise_square import PATHS, NoiseSquare
from rvm_bench.viz.separation import separation

SMALL = NoiseSquare(frames=24, side_px=96, square_px=40, speed_px=5)


@pytest.mark.parametrize("path", PATHS)
def test_the_square_is_carried_over_a_ground_that_stands_still(path):
    frames, truth = NoiseSquare(frames=30, side_px=64, square_px=20, speed_px=3, path=path).make()
    assert (frames.shape, frames.dtype, truth.dtype) == ((30, 64, 64, 3), np.uint8, bool)
    assert (truth.sum(axis=(1, 2)) == 400).all()
    texture = frames[0][truth[0]]
    ground = np.zeros((64, 64, 3), np.uint8)
    for t in range(30):
        ground[~truth[t]] = frames[t][~truth[t]]
    for frame, mask in zip(frames, truth, strict=True):
        np.testing.assert_array_equal(frame[mask], texture)
        np.testing.assert_array_equal(frame[~mask], ground[~mask])


@pytest.mark.parametrize("path", PATHS)
def test_it_moves_as_fast_as_asked_and_never_leaves_the_frame(path):
    stimulus = NoiseSquare(frames=400, side_px=128, square_px=48, speed_px=4, path=path)
    corners = stimulus.corners()
    assert corners.min() >= 0
    assert corners.max() <= 80
    steps = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    assert np.median(steps) == pytest.approx(4, abs=0.5)
    assert corners[:, 1].min() <= 2
    assert corners[:, 1].max() >= 78


def test_a_single_frame_is_white_noise_inside_across_and_outside_the_border():
    samples = {"inside": [], "outside": [], "across": [], "level": []}
    for seed in range(60):
        frames, truth = NoiseSquare(frames=1, side_px=64, square_px=32, seed=seed).make()
        grey, mask = frames[0, ..., 0] / 255 - 0.5, truth[0]
        products, both = grey[:, 1:] * grey[:, :-1], mask[:, 1:].astype(int) + mask[:, :-1]
        samples["inside"].append(products[both == 2].mean())
        samples["outside"].append(products[both == 0].mean())
        samples["across"].append(products[both == 1].mean())
        samples["level"].append((grey[mask] ** 2).mean() - (grey[~mask] ** 2).mean())
    for name, values in samples.items():
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values)) < 4 * error, name


def test_a_seed_is_a_film_of_its_own():
    one, two = SMALL.make(), SMALL.make()
    np.testing.assert_array_equal(one[0], two[0])
    other, mask = NoiseSquare(frames=24, side_px=96, square_px=40, speed_px=5, seed=1).make()
    assert (other != one[0]).mean() > 0.9
    assert (mask != one[1]).any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": "bounec"}, "did you mean bounce"),
        ({"frames": 0}, "at least 1"),
        ({"square_px": 250}, "cannot move in frames of 256"),
        ({"speed_px": 0.5}, "expected 1 to 256"),
        ({"speed_px": float("nan")}, "expected 1 to 256"),
    ],
)
def test_a_stimulus_that_cannot_be_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        NoiseSquare(**values)


def test_the_commands_defaults_are_those_of_the_stimulus():
    default = NoiseSquare()
    assert (
        default.square_px,
        default.speed_px,
        default.path,
    ) == (viz_options.SQUARE_PX, viz_options.SPEED_PX, viz_options.PATH)


def test_cells_count_their_pixels_and_the_last_ones_those_beyond():
    pixels = np.random.default_rng(0).uniform(size=(2, 23, 30)) < 0.5
    sums = cell_sums(pixels, 8, (2, 3))
    assert sums.sum() == pixels.sum()
    assert sums[1, 1, 2] == pixels[1, 8:, 16:].sum()
    assert sums[0, 0, 0] == pixels[0, :8, :8].sum()


def squares(frames=6, side=64, square=16, patch=8):
    """A square of whole cells that moves by a cell a frame: pixels and cells."""
    truth = np.zeros((frames, side, side), bool)
    for t in range(frames):
        truth[t, 16 : 16 + square, patch * t : patch * t + square] = True
    return truth, truth[:, ::patch, ::patch].astype(int)


def test_the_truth_as_clusters_has_iou_1_whatever_its_number():
    truth, cells = squares()
    for labels, cluster in ((cells, 1), (1 - cells, 0)):
        found = separation(labels, truth, 8)
        assert found.cluster == cluster
        np.testing.assert_array_equal(found.iou, 1)
        assert (found.mean, found.constant) == (1, 256 / 4096)
        np.testing.assert_array_equal(found.ceiling, 1)


def test_a_cluster_that_is_reassigned_on_the_way_counts_where_it_is_right():
    truth, cells = squares()
    labels = np.where(np.arange(6)[:, None, None] < 5, cells, 1 - cells)
    found = separation(labels, truth, 8)
    assert found.cluster == 1
    np.testing.assert_allclose(found.iou, [1, 1, 1, 1, 1, 0])
    assert found.mean == pytest.approx(2 / 3)


def test_the_ceiling_is_the_best_of_all_choices_of_cells():
    rng = np.random.default_rng(0)
    for _ in range(10):
        truth = np.zeros((1, 12, 12), bool)
        top, left = rng.integers(0, 6, 2)
        truth[0, top : top + 5, left : left + 6] = True
        best = max(
            separation(np.array(list(np.binary_repr(n, 9)), int).reshape(1, 3, 3), truth, 4).iou[0]
            for n in range(1, 512)
        )
        labels = np.zeros((1, 3, 3), int)
        assert separation(labels, truth, 4).ceiling[0] == pytest.approx(best)


def test_floors_are_what_chance_and_standing_still_give():
    truth, _ = squares(frames=20, side=192, square=48)
    found = separation(np.random.default_rng(0).integers(0, 2, (20, 24, 24)), truth, 8)
    assert found.mean == pytest.approx(found.coin, abs=0.02)
    constant = separation(np.zeros((20, 24, 24), int), truth, 8)
    assert constant.mean == pytest.approx(constant.constant)
    still_labels = np.zeros((20, 24, 24), int)
    still_labels[:, 2:8, 4:22] = 1
    assert found.constant < separation(still_labels, truth, 8).mean <= found.still + 1e-12


def test_motion_shows_the_square_and_single_frames_do_not():
    frames, truth = SMALL.make()
    sees, colour = clusterings([Motion(), Colour(8)], frames, 2)
    blind = clusterings([load_encoder("pixels")], frames, 2)
    found = separation(sees.labels, truth, 8)
    assert found.mean > 0.8 * found.ceiling[3:].mean()
    assert found.mean > found.still + 0.2
    assert found.iou[0] < 0.3
    for one in (colour, *blind):
        result = separation(one.labels, truth, one.patch)
        assert result.mean < result.constant + 0.05
