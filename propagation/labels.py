"""Masks at native resolution to soft label maps on the feature grid and back, exactly as in the released evaluation.

Source: google-deepmind/representations4d, `colabs/rvm_evaluation_demo.ipynb`. Every interpolation flag below is the
protocol's: another one shifts the scores.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike

_BILINEAR = cv2.INTER_LINEAR
_MAX_CHANNELS = 128
"""The most channels of an image in OpenCV 5 (512 in OpenCV 4); more are resized in groups, each channel for itself."""


def mask_to_heat(
    mask: np.ndarray, grid_hw: tuple[int, int], input_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Soft labels of frame 0, float32 [h, w, K], each cell summing to 1; and the mask's sorted ids [K], background too.

    mask: object ids [H, W], integer, at native resolution. It is taken to the network's input size by nearest
    neighbour, split into one channel per id, and each channel to `grid_hw` by bilinear interpolation without
    antialiasing: for an even patch size a cell is the mean of the 2 x 2 pixels at its centre. At patch 14 the grid
    does not divide 480 x 880 and the maps are shifted by up to a cell at the far edge; the protocol does so too. An
    id that vanishes at the input size keeps its (zero) channel.
    """
    label_ids, channel = np.unique(mask, return_inverse=True)
    channel = channel.reshape(mask.shape).astype(np.int32)
    channel_HW = cv2.resize(channel, input_hw[::-1], interpolation=cv2.INTER_NEAREST)
    one_hot_HWK = (channel_HW[..., None] == np.arange(len(label_ids))).astype(np.float32)
    return _resize_channels(one_hot_HWK, grid_hw), label_ids


def heat_to_mask(
    soft: ArrayLike, label_ids: ArrayLike, input_hw: tuple[int, int], native_hw: tuple[int, int]
) -> np.ndarray:
    """Object ids [T, H, W] at native resolution from soft labels [T, h, w, K], or [H, W] from [h, w, K].

    Bilinear to the network's input size, arg max over the channels (among equals the first, so the lowest id), then
    to `native_hw` by OpenCV's INTER_NEAREST_EXACT. `soft` is a float array or a CPU tensor, `label_ids` [K] the ids
    of its channels, whose dtype the result has.
    """
    soft = np.asarray(soft, dtype=np.float32)
    label_ids = np.asarray(label_ids)
    if soft.ndim == 3:
        return _one_mask(soft, label_ids, input_hw, native_hw)
    masks = np.empty((len(soft), *native_hw), dtype=label_ids.dtype)
    for t, soft_hwK in enumerate(soft):
        masks[t] = _one_mask(soft_hwK, label_ids, input_hw, native_hw)
    return masks


def _one_mask(
    soft_hwK: np.ndarray, label_ids: np.ndarray, input_hw: tuple[int, int], native_hw: tuple[int, int]
) -> np.ndarray:
    channel_HW = _resize_channels(soft_hwK, input_hw).argmax(-1).astype(np.int32)
    return label_ids[cv2.resize(channel_HW, native_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)]


def _resize_channels(image_HWK: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Bilinear, half-pixel centres, edges clamped. OpenCV drops the axis of a single channel: it is put back."""
    groups = [
        cv2.resize(np.ascontiguousarray(image_HWK[..., k : k + _MAX_CHANNELS]), size_hw[::-1], interpolation=_BILINEAR)
        for k in range(0, image_HWK.shape[-1], _MAX_CHANNELS)
    ]
    return np.concatenate([group.reshape(*size_hw, -1) for group in groups], axis=-1)
