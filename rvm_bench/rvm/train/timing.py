"""When each frame of a video is shown, and which frames make a clip at a given rate.

`rvm_bench.video` reads frames by number. A mixture states a frame rate for each of its sources, so here numbers are
found from timestamps, which holds for variable frame rates as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvm_bench.errors import DamagedFile
from rvm_bench.video import _from_start, _one_by_one, _one_to_one, _opened, _packets, _Unsure


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


def frame_times_s(path: Path) -> np.ndarray:
    """float64 [frames], never decreasing: the time in seconds at which each frame is shown, 0 for the first.

    Where each packet is one frame, nothing is decoded. Where timestamps are missing or out of order, as in AVI files of
    MPEG-4 part 2 with B frames, frames count as shown at equal steps, at the file's average rate.

    Raises:
        UserError: the file is missing; a `DamagedFile` where it is no video, is damaged, holds no frame or has neither
            timestamps in order nor a rate.
    """
    try:
        with _opened(path) as (container, stream):
            if not _one_to_one(stream):
                raise _Unsure
            shown = [float(p.pts * p.time_base) for p in _one_by_one(_packets(path, container, stream))]  # type: ignore[operator]
        times = np.sort(np.array(shown, np.float64))
    except _Unsure:
        with _opened(path) as (container, stream):
            rate = stream.average_rate
            times = np.array([frame.time for _, frame in _from_start(path, container, stream)], np.float64)
        if not (np.diff(times) >= 0).all():  # nor are they where one is missing, which is NaN here
            if not rate:
                raise DamagedFile(f"{path} has neither timestamps in order nor a frame rate; re-encode it") from None
            times = np.arange(len(times)) / float(rate)
    if not len(times):
        raise DamagedFile(f"{path} holds no video frame, expected at least one; get the file again")
    return times - times[0]


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
