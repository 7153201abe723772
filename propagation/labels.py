"""Masks at native resolution to soft label maps on the feature grid and back, exactly as in the released evaluation.

Source: google-deepmind/representations4d, `colabs/rvm_evaluation_demo.ipynb`. Every interpolation flag below is the
protocol's: another one shifts the scores.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike

from propagation.pose import heat_to_pose as heat_to_pose
from propagation.pose import pose_to_heat as pose_to_heat

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
    one_hot_HWK, label_ids = _one_hot(mask, input_hw, cv2.INTER_NEAREST)
    return _resize_channels(one_hot_HWK, grid_hw), label_ids


def mask_to_hard_heat(mask: np.ndarray, grid_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """As `mask_to_heat`, but a cell has the one id of the pixel nearest to its centre: 1 there, 0 elsewhere.

    Source: facebookresearch/dino, `eval_video_segmentation.py`, `read_seg`: Pillow's nearest neighbour from the native
    size straight to the grid, with which OpenCV's INTER_NEAREST_EXACT agrees.
    """
    return _one_hot(mask, grid_hw, cv2.INTER_NEAREST_EXACT)


def heat_to_mask(
    soft: ArrayLike,
    label_ids: ArrayLike,
    input_hw: tuple[int, int],
    native_hw: tuple[int, int],
    *,
    norm_mask: bool = False,
) -> np.ndarray:
    """Object ids [T, H, W] at native resolution from soft labels [T, h, w, K], or [H, W] from [h, w, K].

    Bilinear to the network's input size, arg max over the channels (among equals the first, so the lowest id), then
    to `native_hw` by OpenCV's INTER_NEAREST_EXACT. `soft` is a float array or a CPU tensor, `label_ids` [K] the ids
    of its channels, whose dtype the result has.

    norm_mask: before the arg max, stretch every channel of the enlarged map to 0..1 by its own minimum and maximum, as
    facebookresearch/dino does (`eval_video_segmentation.py`, `norm_mask`). A small object that fades then wins where
    it is at its strongest. A channel without any contrast becomes 0.
    """
    soft = np.asarray(soft, dtype=np.float32)
    label_ids = np.asarray(label_ids)
    if soft.ndim == 3:
        return _one_mask(soft, label_ids, input_hw, native_hw, norm_mask)
    masks = np.empty((len(soft), *native_hw), dtype=label_ids.dtype)
    for t, soft_hwK in enumerate(soft):
        masks[t] = _one_mask(soft_hwK, label_ids, input_hw, native_hw, norm_mask)
    return masks


def resize_mask(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Object ids [H, W] at another size, by the nearest neighbour with which `mask_to_heat` goes to the input size."""
    return cv2.resize(mask, size_hw[::-1], interpolation=cv2.INTER_NEAREST)


def _one_mask(
    soft_hwK: np.ndarray,
    label_ids: np.ndarray,
    input_hw: tuple[int, int],
    native_hw: tuple[int, int],
    norm_mask: bool,
) -> np.ndarray:
    soft_HWK = _resize_channels(soft_hwK, input_hw)
    if norm_mask:
        soft_HWK -= soft_HWK.min((0, 1))
        soft_HWK /= np.maximum(soft_HWK.max((0, 1)), np.finfo(np.float32).tiny)
    channel_HW = soft_HWK.argmax(-1).astype(np.int32)
    return label_ids[cv2.resize(channel_HW, native_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)]


def _one_hot(mask: np.ndarray, size_hw: tuple[int, int], interpolation: int) -> tuple[np.ndarray, np.ndarray]:
    """The mask at a size, by a nearest neighbour: float32 [h, w, K], a channel for each of its sorted ids [K]."""
    label_ids, channel = np.unique(mask, return_inverse=True)
    channel = channel.reshape(mask.shape).astype(np.int32)
    channel_HW = cv2.resize(channel, size_hw[::-1], interpolation=interpolation)
    return (channel_HW[..., None] == np.arange(len(label_ids))).astype(np.float32), label_ids


def _resize_channels(image_HWK: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Bilinear, half-pixel centres, edges clamped. OpenCV drops the axis of a single channel: it is put back."""
    groups = [
        cv2.resize(np.ascontiguousarray(image_HWK[..., k : k + _MAX_CHANNELS]), size_hw[::-1], interpolation=_BILINEAR)
        for k in range(0, image_HWK.shape[-1], _MAX_CHANNELS)
    ]
    return np.concatenate([group.reshape(*size_hw, -1) for group in groups], axis=-1)
