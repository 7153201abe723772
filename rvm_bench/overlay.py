"""What a task draws over the frames of a video, for eyes: truth and prediction, and in words what a frame scored."""

from dataclasses import dataclass

import numpy as np

LONG_SIDE_PX = 480
"""Pictures are at most this long, so that lines drawn into them are not lost when they are shown small."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownFrame:
    """One frame.

    Attributes:
        number: of the video's frames, from 0.
        picture: uint8 RGB [H, W, 3]; all of one overlay have one size.
        text: what is known of this frame: its score, or that it is not scored.
    """

    number: int
    picture: np.ndarray
    text: str


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """Frames of a video in time order.

    Attributes:
        legend: how truth and prediction look in them.
        frames: at least one.
        length: frames of the whole video.
    """

    legend: str
    frames: tuple[ShownFrame, ...]
    length: int


def shown_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture of a video of this size: as it is, or with its long side at `LONG_SIDE_PX`."""
    share = min(1.0, LONG_SIDE_PX / max(size_hw))
    return max(1, round(size_hw[0] * share)), max(1, round(size_hw[1] * share))
