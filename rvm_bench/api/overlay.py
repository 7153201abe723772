"""Frames of a video with ground truth and prediction drawn over them, as a task gives them for visualisation."""

from dataclasses import dataclass

import numpy as np

LONG_SIDE_PX = 480
"""Longest side of an overlay picture, so that thin lines survive when it is shown small."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownFrame:
    """One frame of an overlay.

    Attributes:
        number: index of the frame in its video, from 0.
        picture: uint8 RGB [H, W, 3]; all pictures of an overlay have the same size.
        text: caption: the frame's score, or that it is not scored.
    """

    number: int
    picture: np.ndarray
    text: str


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """Frames of a video, in time order, with ground truth and prediction drawn over them.

    Attributes:
        legend: how ground truth and prediction are drawn.
        frames: at least one.
        length: number of frames of the whole video.
    """

    legend: str
    frames: tuple[ShownFrame, ...]
    length: int


def shown_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in px of the overlays of a video: its size, scaled down to a long side of `LONG_SIDE_PX`."""
    share = min(1.0, LONG_SIDE_PX / max(size_hw))
    return max(1, round(size_hw[0] * share)), max(1, round(size_hw[1] * share))
