"""Masks at native resolution to soft label maps on the feature grid and back, exactly as in the released evaluation.

Source: google-deepmind/representations4d, `colabs/rvm_evaluation_demo.ipynb`. The interpolation flags are part of the
protocol: others change the scores.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike

from propagation.pose import heat_to_pose as heat_to_pose
from propagation.pose import pose_to_heat as pose_to_heat

_BILINEAR = cv2.INTER_LINEAR
_MAX_CHANNELS = 128
"""Largest number of channels in OpenCV 5 (512 in OpenCV 4); more are resized in groups, which gives the same result."""


def mask_to_heat(
    mask: np.ndarray, grid_hw: tuple[int, int], input_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Soft labels of frame 0, float32 [h, w, K], each cell summing to 1; and the mask's sorted ids [K], background too.

    The mask is resized to the encoder's input size by nearest neighbour, one-hot encoded with one channel per id, and
    each channel is resized to `grid_hw` by bilinear interpolation without antialiasing: for an even patch size a cell
    is the mean of the 2 x 2 pixels at its centre. At patch 14 the grid does not divide 480 x 880, and the maps are
    shifted by up to a cell at the far edge, as in the released code. An id that vanishes at the input size keeps its
    channel, all zero.

    mask: object ids [H, W], integer, at native resolution.
    """
    one_hot_HWK, label_ids = _one_hot(mask, input_hw, cv2.INTER_NEAREST)
    return _resize_channels(one_hot_HWK, grid_hw), label_ids


def mask_to_hard_heat(mask: np.ndarray, grid_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """As `mask_to_heat`, but one-hot: a cell has the id of the pixel nearest to its centre.

    Source: facebookresearch/dino, `eval_video_segmentation.py`, `read_seg`: Pillow's nearest neighbour from the native
    size directly to the grid, which equals OpenCV's INTER_NEAREST_EXACT.
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

    Bilinear to `input_hw`, the encoder's input size; arg max over the channels (the lowest id among equals); then to
    `native_hw` by OpenCV's INTER_NEAREST_EXACT.

    soft: float array or CPU tensor.
    label_ids: ids of its channels [K]; the result has their dtype.
    norm_mask: before the arg max, stretch every channel of the enlarged map to 0..1 by its own minimum and maximum, as
        in facebookresearch/dino (`eval_video_segmentation.py`, `norm_mask`). A small object whose values fade then
        still wins where they are largest. A constant channel becomes 0.
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
    """Object ids [H, W] at another size, by the nearest-neighbour rule that `mask_to_heat` uses for the input size."""
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
    """The mask at another size, one-hot: float32 [h, w, K], with a channel for each of its sorted ids [K]."""
    label_ids, channel = np.unique(mask, return_inverse=True)
    channel = channel.reshape(mask.shape).astype(np.int32)
    channel_HW = cv2.resize(channel, size_hw[::-1], interpolation=interpolation)
    return (channel_HW[..., None] == np.arange(len(label_ids))).astype(np.float32), label_ids


def _resize_channels(image_HWK: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Bilinear, half-pixel centres, edges clamped. OpenCV drops the axis of a single channel; `reshape` restores it."""
    groups = [
        cv2.resize(np.ascontiguousarray(image_HWK[..., k : k + _MAX_CHANNELS]), size_hw[::-1], interpolation=_BILINEAR)
        for k in range(0, image_HWK.shape[-1], _MAX_CHANNELS)
    ]
    return np.concatenate([group.reshape(*size_hw, -1) for group in groups], axis=-1)
