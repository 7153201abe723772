"""Clips of a driving video as the box readout sees them: which frames, how they are cut, and which boxes are asked for.

A clip is 16 frames at 5 per second (paper, supplement: 16 frames at 256 px; the rate as re-implementers read the 4DS
appendix, InternVideo-Next and tue-mps), every second frame of the camera's. Frames are resized to a short side of 256,
1280 x 1920 to 256 x 384, and the middle square of them is kept. Boxes are remapped to that square as fractions of it,
(y0, x0, y1, x1) in [0, 1], and clipped to it.

The queries of a clip are the boxes of its first frame that cover at least 0.5 % of the square, at most 25.
"""

import dataclasses

import numpy as np

from readouts.datasets.waymo.box_video import FRAMES, STRIDE, BoxVideo, window_starts
from rvm_bench.errors import UserError
from rvm_bench.media.frame_sampling import consecutive_clips
from rvm_bench.media.resize import center_crop, short_side

SIDE_PX = 256
LEAST_AREA = 0.005
"""Of the square (4DS as InternVideo-Next reads it, arXiv:2512.01342). It decides in the first frame only: a box may
shrink, or leave the square, later in the clip."""
MOST_BOXES = 25
"""`num_box_tracks` of representations4d, moog/configs/movi.py. The largest at the first frame are taken; of equal ones,
those whose track comes first in the video."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BoxClip:
    """A clip and the tracks of its Q queries.

    Attributes:
        frames: uint8 [T, side, side, 3] RGB.
        boxes: float32 [T, Q, 4] as y0, x0, y1, x1 in fractions of the square, zeros where a track has no box; the
            queries are those of frame 0, by falling area.
        present: whether a track has a box in the square, bool [T, Q].
        tracks: int64 [Q], which tracks of the video they are.
    """

    frames: np.ndarray
    boxes: np.ndarray
    present: np.ndarray
    tracks: np.ndarray


def load_clip(video: BoxVideo, indices: np.ndarray, side: int = SIDE_PX) -> BoxClip:
    """The clip of these frames, int [T], and its queries; Q may be 0."""
    boxes, present, tracks = clip_boxes(video, indices, side)
    return BoxClip(frames=clip_frames(video, indices, side), boxes=boxes, present=present, tracks=tracks)


def clip_frames(video: BoxVideo, indices: np.ndarray, side: int = SIDE_PX) -> np.ndarray:
    """uint8 [T, side, side, 3]: the middle square of the frames, after an antialiased bilinear resize."""
    return np.ascontiguousarray(center_crop(video.frames(indices, resize=short_side(side)), (side, side)))


def clip_boxes(
    video: BoxVideo,
    indices: np.ndarray,
    side: int = SIDE_PX,
    *,
    least_area: float = LEAST_AREA,
    most: int = MOST_BOXES,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`boxes`, `present` and `tracks` of `BoxClip`, without a picture being decoded."""
    yxyx_px, there = video.tracks(indices)
    boxes, present = crop_boxes(yxyx_px, there, video.size_hw, side)
    tracks = choose_queries(boxes[0], present[0], least_area=least_area, most=most)
    return boxes[:, tracks], present[:, tracks], tracks


def crop_boxes(
    yxyx_px: np.ndarray, present: np.ndarray, size_hw: tuple[int, int], side: int = SIDE_PX
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of the square that `clip_frames` cuts: float32 [..., 4] in [0, 1] and bool [...].

    Boxes are clipped to the square; one that is then without height or width is absent, with zeros, as it is in the
    group's own preprocessing (slot-attention-video, savi/lib/preprocessing.py, `crop_or_pad_boxes`).

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
    """int64 [Q]: which of the boxes [n, 4], bool [n], of a clip's first frame are its queries, the largest first."""
    area = np.where(present, (boxes[:, 2:] - boxes[:, :2]).prod(axis=1), -1.0)
    order = np.argsort(-area, kind="stable")
    return order[area[order] >= least_area][:most]


def pad(boxes: np.ndarray, present: np.ndarray, count: int = MOST_BOXES) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [T, Q, 4] and presence [T, Q] with absent tracks of zeros up to `count`, as a batch needs them.

    Raises:
        UserError: there are more than `count`.
    """
    room = count - boxes.shape[1]
    if room < 0:
        raise UserError(f"{boxes.shape[1]} boxes do not fit in {count} places; raise their number")
    return np.pad(boxes, ((0, 0), (0, room), (0, 0))), np.pad(present, ((0, 0), (0, room)))


def box_windows(video: BoxVideo, *, frames: int = FRAMES, stride: int = STRIDE) -> list[np.ndarray]:
    """Frame numbers int64 [frames] of clips that follow one another without overlap, for evaluation.

    They begin with the video, and anew after each break in time: none runs across one. What does not fill another clip
    is left out.
    """
    return [first + window for first, count in video.runs for window in consecutive_clips(count, frames, stride)]


def random_window(
    video: BoxVideo, rng: np.random.Generator, *, frames: int = FRAMES, stride: int = STRIDE
) -> np.ndarray:
    """Frame numbers int64 [frames] of a clip for training, each possible start being equally likely.

    Raises:
        UserError: the video has no stretch that is long enough.
    """
    starts = window_starts(video, frames=frames, stride=stride)
    if not len(starts):
        raise UserError(f"{video.name} has no {frames} frames with stride {stride} without a break; leave it out")
    return starts[rng.integers(len(starts))] + stride * np.arange(frames)
