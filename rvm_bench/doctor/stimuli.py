"""Procedural clips: seeded, textured at several scales, and small. All are uint8 RGB."""

import numpy as np

FLAT = {"black": (0, 0, 0), "white": (255, 255, 255), "red": (255, 0, 0), "grey": (128, 128, 128)}
"""Colours of the flat frames: both ends of the range, one saturated channel, and next to no contrast at all."""

DRIFT_PX = (2, 3)
"""Rows and columns by which `drifting` pans from frame to frame."""


def scene(height_px: int, width_px: int, seed: int) -> np.ndarray:
    """A still image [H, W, 3] with detail of 1, 4 and 16 px, over most of the range."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height_px, width_px, 3))
    for scale_px in (1, 4, 16):
        coarse = rng.random((height_px // scale_px + 1, width_px // scale_px + 1, 3))
        image += np.kron(coarse, np.ones((scale_px, scale_px, 1)))[:height_px, :width_px]
    return (image * (255 / 3)).astype(np.uint8)


def drifting(frames: int, height_px: int, width_px: int, seed: int) -> np.ndarray:
    """A video [T, H, W, 3] that pans over one scene by `DRIFT_PX` a frame; no two frames are alike."""
    down, right = DRIFT_PX
    wide = scene(height_px + down * frames, width_px + right * frames, seed)
    return np.stack([wide[down * t :, right * t :][:height_px, :width_px] for t in range(frames)])


def flat(colour: str, frames: int, height_px: int, width_px: int) -> np.ndarray:
    """A video [T, H, W, 3] of one colour of `FLAT`."""
    return np.full((frames, height_px, width_px, 3), FLAT[colour], np.uint8)


def extremes(frames: int, height_px: int, width_px: int, seed: int) -> np.ndarray:
    """A video [T, H, W, 3] of noise whose channels are 0 or 255."""
    return np.random.default_rng(seed).integers(0, 2, (frames, height_px, width_px, 3), np.uint8) * np.uint8(255)


def with_patch(image: np.ndarray, cell: tuple[int, int], patch: int, seed: int) -> np.ndarray:
    """A copy of the image [H, W, 3] whose patch at (row, column) of the grid is noise."""
    changed = image.copy()
    rows, columns = (slice(i * patch, (i + 1) * patch) for i in cell)
    changed[rows, columns] = np.random.default_rng(seed).integers(0, 256, (patch, patch, 3), np.uint8)
    return changed


def with_frame(video: np.ndarray, frame: int, seed: int) -> np.ndarray:
    """A copy of the video [T, H, W, 3] whose frame is another scene."""
    changed = video.copy()
    changed[frame] = scene(video.shape[1], video.shape[2], seed)
    return changed
