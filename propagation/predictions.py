"""Predicted masks and poses: saved by `run --save-predictions`, and drawn over their frames for visualisation.

FOLDER/<sequence>/<frame>.png     label PNG at native size, the layout that davis2017-evaluation reads
FOLDER/<clip>.json                joints `xy` in pixels [T, 15, 2] and `visible` [T, 15]
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from propagation.datasets.sequences import VOID, MaskedVideo
from rvm_bench.api.overlay import Overlay, ShownFrame, shown_size
from rvm_bench.errors import UserError
from rvm_bench.formats.files import read_json, write_json
from rvm_bench.media.drawing import draw_tracks, tinted
from rvm_bench.media.frame_sampling import spread
from rvm_bench.media.images import read_labels, read_rgb
from rvm_bench.runs.predictions import read_masks


def mask_overlay(
    folder: Path, video: MaskedVideo, most: int, *, task: str, text: Callable[[int], str] | None = None
) -> Overlay:
    """At most `most` frames, the predicted objects tinted and the true ones outlined.

    Args:
        task: that saved the predictions, for the error message.
        text: of frame t; None: the share of its pixels that are predicted correctly, void aside.

    Raises:
        UserError: a prediction is missing, damaged or of another size.
    """
    times = spread(video.length, most)
    size_hw = shown_size(video.native_hw)
    shown = []
    for t, predicted in zip(times, read_masks(folder, video, times, task=task), strict=True):
        truth = read_labels(video.masks[t])
        frame, small, true = (_shrunk(image, size_hw) for image in (read_rgb(video.frames[t]), predicted, truth))
        caption = text(t) if text is not None else _pixels_right(truth, predicted)
        shown.append(ShownFrame(number=t, picture=tinted(frame, small, outlines=true), text=caption))
    return Overlay(
        legend="colours: predicted objects; white lines: the true ones", frames=tuple(shown), length=video.length
    )


def pose_file(folder: Path, clip: str) -> Path:
    return folder / f"{clip}.json"


def save_pose(folder: Path, clip: str, xy: np.ndarray, visible: np.ndarray) -> None:
    """Writes joints [T, 15, 2] in pixels and whether each is visible [T, 15]; (-1, -1) where it is not."""
    # JSON has no NaN, which an invisible joint may have.
    finite_xy = np.where(visible[..., None], xy, -1.0)
    content = {"xy": np.round(finite_xy, 3).tolist(), "visible": visible.astype(bool).tolist()}
    write_json(pose_file(folder, clip), content)


def pose_overlay(folder: Path, clip: str, frames: Sequence[Path], truth_xy: np.ndarray, most: int) -> Overlay:
    """At most `most` frames with a dot for every predicted joint, a cross for every true one, a line between the two.

    Args:
        truth_xy: float32 [T, 15, 2], the centre of the top left pixel at (0, 0).

    Raises:
        UserError: the clip's predictions are missing, or fewer than its poses.
    """
    file = pose_file(folder, clip)
    if not file.is_file():
        raise UserError(f"{file} is missing; `rvm-bench run --task jhmdb --save-predictions DIR` writes it")
    saved = read_json(file)
    xy, visible = np.array(saved["xy"], np.float32), np.array(saved["visible"], bool)
    if len(xy) < len(truth_xy):
        raise UserError(f"{file} has {len(xy)} poses, the clip {len(truth_xy)}; is it of another copy of the data?")
    shown = []
    for t in spread(len(truth_xy), most):
        picture = _drawn_pose(read_rgb(frames[t]), truth_xy[t], xy[t], visible[t])
        error_px = np.linalg.norm(truth_xy[t] - xy[t], axis=-1)[visible[t]]
        text = f"joints off by {np.median(error_px):.0f} px in the median" if len(error_px) else "no joint found"
        shown.append(ShownFrame(number=t, picture=picture, text=text))
    return Overlay(legend="dots: predicted joints; crosses: the true ones", frames=tuple(shown), length=len(truth_xy))


def _pixels_right(truth: np.ndarray, predicted: np.ndarray) -> str:
    scored = truth != VOID
    if not scored.any():
        return "void"
    return f"{100 * float((predicted == truth)[scored].mean()):.1f} % of the pixels right"


def _drawn_pose(
    native: np.ndarray, truth_J2: np.ndarray, predicted_J2: np.ndarray, visible_J: np.ndarray
) -> np.ndarray:
    """A frame uint8 [H, W, 3] at its shown size, with the true joints and the visible predicted ones."""
    size_hw = shown_size(native.shape[:2])
    scale = size_hw[1] / native.shape[1]
    # Joints count from the centre of the top left pixel, drawing from its corner. [J, 1, 2]: tracks of one frame.
    true_J12, predicted_J12 = ((xy_J2[:, None] + 0.5) * scale for xy_J2 in (truth_J2, predicted_J2))
    visible_J1 = visible_J[:, None]
    return draw_tracks(
        _shrunk(native, size_hw),
        0,
        truth_xy=true_J12,
        truth_visible=np.ones_like(visible_J1),
        predicted_xy=np.where(visible_J1[..., None], predicted_J12, np.nan),
        predicted_visible=visible_J1,
    )


def _shrunk(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A copy at another size: a frame by averaging, a mask by nearest neighbour."""
    if image.shape[:2] == size_hw:
        return image.copy()
    return cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA if image.ndim == 3 else cv2.INTER_NEAREST)
