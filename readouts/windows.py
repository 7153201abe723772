"""Clips of a video with the points that are to be followed through them: those seen in a clip's first frame."""

import dataclasses

import numpy as np

from rvm_bench.clips import consecutive_clips


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrackWindow:
    """One clip of T frames and the n points that are followed through it, n >= 1.

    Attributes:
        frames: int64 [T], numbers of the video's frames.
        tracks: int64 [n], which of the video's tracks they are.
        tracks_xy: float32 [n, T, 2], in the units of the video's; of no meaning where `visible` is false.
        visible: bool [n, T]; true in the first frame.
    """

    frames: np.ndarray
    tracks: np.ndarray
    tracks_xy: np.ndarray
    visible: np.ndarray

    @property
    def queries_xy(self) -> np.ndarray:
        """float32 [n, 2]: where the points are in the first frame."""
        return self.tracks_xy[:, 0]


def track_windows(tracks_xy: np.ndarray, visible: np.ndarray, *, length: int, stride: int) -> list[TrackWindow]:
    """The clips of a video that follow one another without overlap, from its first frame on, each with its queries.

    A clip's queries are the points that are visible in its first frame; a clip without one is left out, and so are
    frames that do not fill another clip. Which clips the paper evaluates is not published; RVM and 4DS give 16 frames.

    Args:
        tracks_xy: [tracks, frames, 2].
        visible: bool [tracks, frames].
        length: frames of a clip.
        stride: native frames from one to the next.

    Raises:
        UserError: a stride below 1.
        ValueError: shapes that do not fit.
    """
    if tracks_xy.shape != (*visible.shape, 2) or visible.ndim != 2:
        raise ValueError(f"tracks_xy {tracks_xy.shape} and visible {visible.shape}; expected [n, T, 2] and [n, T]")
    windows = []
    for frames in consecutive_clips(visible.shape[1], length, stride):
        tracks = np.flatnonzero(visible[:, frames[0]])
        if len(tracks):
            of = np.ix_(tracks, frames)
            windows.append(TrackWindow(frames=frames, tracks=tracks, tracks_xy=tracks_xy[of], visible=visible[of]))
    return windows
