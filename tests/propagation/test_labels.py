"""Masks become label maps and label maps masks exactly as in the released evaluation."""

import numpy as np
import pytest
import torch

from propagation.labels import heat_to_mask, mask_to_heat


def test_a_cell_is_the_mean_of_the_four_pixels_at_its_centre():
    mask = np.zeros((32, 48), np.uint8)
    mask[7, 7] = mask[8, 23] = mask[7:9, 39:41] = 3
    mask[0, 0] = mask[20, 20] = 3  # away from any centre
    heat, ids = mask_to_heat(mask, (2, 3), (32, 48))
    assert ids.tolist() == [0, 3]
    assert heat.dtype == np.float32
    np.testing.assert_array_equal(heat[..., 1], [[0.25, 0.25, 1.0], [0, 0, 0]])
    np.testing.assert_array_equal(heat.sum(-1), 1)


def test_a_mask_is_resized_to_the_input_size_by_flooring_coordinates():
    mask = np.arange(35, dtype=np.uint8).reshape(5, 7)
    rows, columns = np.arange(16) * 5 // 16, np.arange(32) * 7 // 32
    resized = mask[rows][:, columns]
    heat, ids = mask_to_heat(mask, (8, 16), (16, 32))
    pixels = (resized[..., None] == ids).reshape(8, 2, 16, 2, -1)
    np.testing.assert_array_equal(heat, pixels.mean((1, 3)))


def test_channels_follow_the_sorted_ids_of_the_mask():
    mask = np.repeat(np.array([[9, 2], [0, 200]], np.int64), 32, 0).repeat(32, 1)
    heat, ids = mask_to_heat(mask, (2, 2), (64, 64))
    assert ids.tolist() == [0, 2, 9, 200]
    np.testing.assert_array_equal(heat.argmax(-1), [[2, 1], [0, 3]])


def test_a_band_of_whole_cells_comes_back_as_the_mask_it_was():
    mask = np.zeros((64, 96), np.uint8)
    mask[16:48] = 5
    heat, ids = mask_to_heat(mask, (4, 6), (64, 96))
    np.testing.assert_array_equal(heat_to_mask(heat, ids, (64, 96), (64, 96)), mask)


def test_a_tie_between_labels_goes_to_the_lower_id():
    soft = np.full((2, 3, 2), 0.5, np.float32)
    assert (heat_to_mask(soft, np.array([4, 7]), (32, 48), (20, 20)) == 4).all()


def test_a_video_without_objects_keeps_its_one_label():
    heat, ids = mask_to_heat(np.zeros((30, 50), np.uint8), (4, 5), (64, 80))
    assert heat.shape == (4, 5, 1)
    masks = heat_to_mask(np.stack([heat, heat]), ids, (64, 80), (30, 50))
    assert masks.shape == (2, 30, 50)
    assert not masks.any()


def test_more_labels_than_opencv_has_channels():
    cells = np.arange(600, dtype=np.int32).reshape(20, 30)
    mask = cells.repeat(4, 0).repeat(4, 1)
    heat, ids = mask_to_heat(mask, (20, 30), (80, 120))
    np.testing.assert_array_equal(heat, np.eye(600)[cells])
    masks = heat_to_mask(heat, ids, (80, 120), (80, 120))
    assert masks.dtype == np.int32
    np.testing.assert_array_equal(masks, mask)


def test_one_map_a_stack_and_a_tensor_give_the_same_masks():
    soft = np.random.default_rng(0).random((3, 4, 5, 3)).astype(np.float32)
    ids = np.array([0, 1, 2], np.uint8)
    masks = heat_to_mask(soft, ids, (64, 80), (33, 47))
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(heat_to_mask(torch.from_numpy(soft), ids, (64, 80), (33, 47)), masks)
    np.testing.assert_array_equal(heat_to_mask(soft[1], ids, (64, 80), (33, 47)), masks[1])


@pytest.mark.parametrize("name", ["a", "b"])
def test_label_maps_and_masks_equal_those_of_the_released_code(golden, name):
    arrays = golden(f"propagation_seg_{name}.npz")
    input_hw, native_hw = tuple(arrays["input_hw"].tolist()), tuple(arrays["native_hw"].tolist())
    heat, ids = mask_to_heat(arrays["frame0_mask"], arrays["heat"].shape[:2], input_hw)
    np.testing.assert_array_equal(ids, arrays["label_ids"])
    np.testing.assert_allclose(heat, arrays["heat"], atol=1e-6)
    masks = heat_to_mask(arrays["soft_labels"], ids, input_hw, native_hw)
    np.testing.assert_array_equal(masks, arrays["masks"])
