"""DINO's DAVIS protocol in its own steps, written down in float64 without any of our code, for tests to compare with.

Source: facebookresearch/dino, `eval_video_segmentation.py`, described in own words.
"""

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F


def frames_as_dino(frames):
    """uint8 frames at the input size: short side 480, long side in proportion and floored to a multiple of 64."""
    height, width = frames[0].shape[:2]
    if height > width:
        size_wh = 480, int(480 * height / width // 64 * 64)
    else:
        size_wh = int(480 * width / height // 64 * 64), 480
    return np.stack([cv2.resize(frame, size_wh) for frame in frames])


def first_labels_as_dino(mask, grid_hw):
    """[h, w, n + 1]: the mask by Pillow's nearest neighbour straight to the grid, a channel per id up to the last."""
    cells = np.asarray(Image.fromarray(mask).resize(grid_hw[::-1], Image.Resampling.NEAREST))
    return np.eye(cells.max() + 1)[cells]


def propagate_as_dino(features, heat, *, topk=5, reach=12, n_last=7, temperature=0.1):
    """Soft labels [T, h, w, K]: exp first, a 0/1 box, a threshold at the k-th value, then division by the sum."""
    n_frames, h, w, width = features.shape
    y, x = np.divmod(np.arange(h * w), w)
    box = (np.abs(y[:, None] - y) <= reach) & (np.abs(x[:, None] - x) <= reach)
    rows = features.reshape(n_frames, h * w, width).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    last, result = [], [heat.reshape(h * w, -1).astype(np.float64)]
    for t in range(1, n_frames):
        sources, labels = zip((rows[0], result[0]), *last, strict=True)
        affinity = np.concatenate([np.exp(source @ rows[t].T / temperature) * box.T for source in sources])
        threshold = np.sort(affinity, axis=0)[-topk]
        affinity[affinity < threshold] = 0
        result.append((affinity / affinity.sum(0)).T @ np.concatenate(labels))
        last = [*last, (rows[t], result[t])][-n_last:]
    return np.stack(result).reshape(n_frames, h, w, -1)


def mask_as_dino(soft, patch, native_hw):
    """uint8 [H, W]: enlarged by the patch, each class stretched to 0..1, arg max, Pillow's nearest neighbour."""
    maps = F.interpolate(torch.from_numpy(soft).permute(2, 0, 1)[None], scale_factor=patch, mode="bilinear")[0].numpy()
    for k, one in enumerate(maps):
        if one.max() > 0:
            stretched = one - one.min()
            maps[k] = stretched / stretched.max()
    classes = Image.fromarray(maps.argmax(0).astype(np.uint8))
    return np.asarray(classes.resize(native_hw[::-1], Image.Resampling.NEAREST))
