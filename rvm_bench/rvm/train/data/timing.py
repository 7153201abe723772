"""Which frames make a clip at a given rate.

`rvm_bench.media.video.reader` reads frames by number. A mixture states a frame rate for each of its sources, so here
numbers are found from timestamps, which holds for variable frame rates as well.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video, or a clip cut before, as its source opens it.

    Attributes:
        name: in messages.
        times_s: float64 [N], when each frame is shown, never decreasing.
        read: takes frame numbers that increase and gives these frames, uint8 [K, H, W, 3] RGB. A `DamagedFile` where
            they cannot be read.
    """

    name: str
    times_s: np.ndarray
    read: Callable[[np.ndarray], np.ndarray]


def clip_at_rate(times_s: np.ndarray, fps: float | None, frames: int, share: float) -> np.ndarray:
    """int64 [n], n <= `frames`: the numbers of a clip's frames, those that are shown nearest to `fps` equal steps a
    second.

    The clip starts at a frame of the video, each of those after which the clip still fits being as likely. A video that
    is shorter than the clip gives one that starts with it and is as much shorter: nothing is repeated at the end. Where
    `fps` is above the video's own rate, frames repeat within the clip.

    Args:
        times_s: float64 [N], when each frame is shown, never decreasing.
        fps: steps a second; None takes the frames one after the other, whatever their times.
        frames: of a whole clip.
        share: in [0, 1), which of the possible starts.
    """
    if fps is None:
        starts = max(1, len(times_s) - frames + 1)
        start = int(share * starts)
        return np.arange(start, min(start + frames, len(times_s)))
    room = steps_between(times_s, times_s[-1], fps)
    starts = max(1, int(np.count_nonzero(room >= frames)))
    start = int(share * starts)
    steps_s = times_s[start] + np.arange(min(frames, room[start])) / fps
    # Of two frames as near, the earlier, whatever the rounding of the times.
    return np.searchsorted((times_s[1:] + times_s[:-1]) / 2, steps_s - 1e-6)


def steps_between(first_s: np.ndarray | float, last_s: float, fps: float) -> np.ndarray:
    """int64, of the shape of `first_s`: how many steps there are from one time to another, both ends included.

    A quarter of a step of tolerance lets the last one be shown by a frame that comes a little early.
    """
    return np.floor((last_s - np.asarray(first_s)) * fps + 0.25).astype(np.int64) + 1
