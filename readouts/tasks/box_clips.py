"""Clips of a driving video for the box readout: which frames, how they are cropped, and which boxes are queries.

A clip is 16 frames at 5 Hz (paper, supplement: 16 frames at 256 px; the rate as InternVideo-Next and tue-mps read the
4DS appendix), every second frame of the camera. Frames are resized to a short side of 256, 1280 x 1920 to 256 x 384,
and their central square is cropped. Boxes are transformed to fractions of that square, (y0, x0, y1, x1) in [0, 1], and
clipped to it.

The queries of a clip are the boxes of its first frame that cover at least 0.5 % of the square, at most 25. The sources
of the constants are in `WaymoProtocol`.
"""

import numpy as np

from readouts.datasets.waymo.box_video import FRAMES, STRIDE, BoxVideo, window_starts
from rvm_bench.errors import UserError
from rvm_bench.media.frame_sampling import consecutive_clips
from rvm_bench.media.resize import center_crop, short_side

SIDE_PX = 256
LEAST_AREA = 0.005
"""Fraction of the square, in the first frame only: a box may shrink, or leave the square, later in the clip."""
MOST_BOXES = 25
"""The largest in the first frame are queries; of equal ones, those whose track comes first in the video."""


def clip_frames(video: BoxVideo, indices: np.ndarray, side: int = SIDE_PX) -> np.ndarray:
    """uint8 [T, side, side, 3] RGB: the central square of the frames, after an antialiased bilinear resize."""
    return np.ascontiguousarray(center_crop(video.frames(indices, resize=short_side(side)), (side, side)))


def clip_boxes(
    video: BoxVideo,
    indices: np.ndarray,
    side: int = SIDE_PX,
    *,
    least_area: float = LEAST_AREA,
    most: int = MOST_BOXES,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tracks of a clip's Q queries, Q >= 0; no picture is decoded.

    Args:
        indices: int [T], frame numbers of the clip.

    Returns:
        boxes float32 [T, Q, 4] as y0, x0, y1, x1 in fractions of the square, zeros where a track has no box, the
        queries being those of frame 0 by decreasing area; whether a track has a box in the square, bool [T, Q]; and the
        number of each track in the video, int64 [Q].
    """
    yxyx_px, labelled = video.tracks(indices)
    boxes, present = crop_boxes(yxyx_px, labelled, video.size_hw, side)
    tracks = choose_queries(boxes[0], present[0], least_area=least_area, most=most)
    return boxes[:, tracks], present[:, tracks], tracks


def crop_boxes(
    yxyx_px: np.ndarray, present: np.ndarray, size_hw: tuple[int, int], side: int = SIDE_PX
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in the square that `clip_frames` crops, float32 [..., 4] in [0, 1], and whether they are in it, bool [...].

    Boxes are clipped to the square; one without height or width after that is absent, with zeros, as in the authors'
    own preprocessing (slot-attention-video, savi/lib/preprocessing.py, `crop_or_pad_boxes`).

    Args:
        yxyx_px: float [..., 4] in pixels of the whole frame.
        present: bool [...].
        size_hw: of the whole frame.
    """
    resized_hw = np.array(short_side(side)(size_hw))
    corner = (resized_hw - side) // 2
    scale = resized_hw / np.array(size_hw)
    boxes = (yxyx_px.astype(np.float64) * np.tile(scale, 2) - np.tile(corner, 2)) / side
    boxes = boxes.clip(0, 1).astype(np.float32)
    present = present & (boxes[..., 2:] > boxes[..., :2]).all(axis=-1)
    return boxes * present[..., None], present


def choose_queries(
    boxes: np.ndarray, present: np.ndarray, *, least_area: float = LEAST_AREA, most: int = MOST_BOXES
) -> np.ndarray:
    """int64 [Q]: which of the boxes [n, 4] of a first frame, present bool [n], are queries, largest first."""
    area = np.where(present, (boxes[:, 2:] - boxes[:, :2]).prod(axis=1), -1.0)
    order = np.argsort(-area, kind="stable")
    return order[area[order] >= least_area][:most]


def pad(boxes: np.ndarray, present: np.ndarray, count: int = MOST_BOXES) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [T, Q, 4] and presence [T, Q], padded with absent tracks to `count` tracks, so that clips can be stacked.

    Raises:
        UserError: there are more than `count`.
    """
    padding = count - boxes.shape[1]
    if padding < 0:
        raise UserError(f"{boxes.shape[1]} boxes cannot be padded to {count}; raise that number")
    return np.pad(boxes, ((0, 0), (0, padding), (0, 0))), np.pad(present, ((0, 0), (0, padding)))


def box_windows(video: BoxVideo, *, frames: int = FRAMES, stride: int = STRIDE) -> list[np.ndarray]:
    """Frame numbers int64 [frames] of consecutive clips without overlap, for evaluation.

    The first starts with the video, and another one after each gap in time, which no clip crosses. Frames that do not
    fill a clip are not used.
    """
    return [first + window for first, count in video.runs for window in consecutive_clips(count, frames, stride)]


def random_window(
    video: BoxVideo, rng: np.random.Generator, *, frames: int = FRAMES, stride: int = STRIDE
) -> np.ndarray:
    """Frame numbers int64 [frames] of a training clip; every possible start is equally likely.

    Raises:
        UserError: the video has no stretch without a gap that is long enough.
    """
    starts = window_starts(video, frames=frames, stride=stride)
    if not len(starts):
        raise UserError(f"{video.name} has no {frames} frames with stride {stride} without a gap; leave it out")
    return starts[rng.integers(len(starts))] + stride * np.arange(frames)
