"""Predictions of fitted heads: saved by `run --save-predictions`, and drawn over the frames for visualisation.

FOLDER/<video>.npz    an array per clip of the video, named by the clip's first frame (and its content)
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rvm_bench.api.overlay import LONG_SIDE_PX, Overlay, ShownFrame
from rvm_bench.api.task import SavesPredictions
from rvm_bench.errors import UserError
from rvm_bench.formats.files import write_atomically
from rvm_bench.media.drawing import draw_boxes, draw_tracks
from rvm_bench.media.frame_sampling import spread

DRAWN_PX = 400
"""Long side to which smaller frames are enlarged before something is drawn over them."""


class SavesOutputs(SavesPredictions):
    """A task that saves the outputs of its head: FOLDER/<video>.npz, an array per clip."""

    def lacks_predictions(self, video: Any) -> bool:
        return self.predictions is not None and not outputs_file(self.predictions, video.name).exists()

    def save_outputs(self, video: str, outputs: Mapping[str, np.ndarray]) -> None:
        """Writes the outputs of a video, atomically, if predictions are to be saved."""
        if self.predictions is None:
            return
        content = io.BytesIO()
        arrays: Any = dict(outputs)
        np.savez_compressed(content, **arrays)
        write_atomically(outputs_file(self.predictions, video), content.getvalue())


def outputs_file(folder: Path, video: str) -> Path:
    return folder / f"{video}.npz"


def read_output(folder: Path, video: str, name: str) -> np.ndarray:
    """One array of a video.

    Raises:
        UserError: there is no file, or it has no such array.
    """
    file = outputs_file(folder, video)
    try:
        with np.load(file) as content:
            return content[name]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{file} does not hold {name} ({error}); delete it and `rvm-bench run --save-predictions DIR` again"
        ) from error


def still_overlay(clip: np.ndarray, frames: Sequence[int], text: str, most: int, length: int) -> Overlay:
    """The frames of a clip [T, H, W, 3] with the same text, the prediction for the video."""
    shown = [
        ShownFrame(number=int(frames[t]), picture=np.ascontiguousarray(clip[t]), text=text)
        for t in spread(len(clip), most)
    ]
    return Overlay(legend="the clip that the head sees", frames=tuple(shown), length=length)


def track_overlay(
    clip: np.ndarray,
    frames: Sequence[int],
    *,
    truth: tuple[np.ndarray, np.ndarray],
    predicted: tuple[np.ndarray, np.ndarray],
    score: str,
    most: int,
    length: int,
) -> Overlay:
    """Points over a clip [T, side, side, 3]: predicted ones as dots, true ones as crosses.

    Args:
        truth, predicted: positions [n, T, 2] as fractions of width and height, and visibility bool [n, T].
        score: of the clip, as text.
    """
    side = np.array(clip.shape[2:0:-1])
    drawn_side = np.array(_enlarged(clip[0]).shape[1::-1])
    shown = []
    for t in spread(len(clip), most):
        picture = draw_tracks(
            _enlarged(clip[t]),
            t,
            truth_xy=truth[0] * drawn_side,
            truth_visible=truth[1],
            predicted_xy=predicted[0] * drawn_side,
            predicted_visible=predicted[1],
            tail=2,
        )
        visible, error_px = truth[1][:, t], np.linalg.norm((truth[0][:, t] - predicted[0][:, t]) * side, axis=-1)
        text = f"{int(visible.sum())} of {len(visible)} points are visible"
        text += f", median error {np.median(error_px[visible]):.0f} px; {score}" if visible.any() else f"; {score}"
        shown.append(ShownFrame(number=int(frames[t]), picture=picture, text=text))
    legend = "dots: predicted points; crosses: the true ones; hollow: not visible"
    return Overlay(legend=legend, frames=tuple(shown), length=length)


def box_overlay(
    clip: np.ndarray,
    frames: Sequence[int],
    *,
    truth: np.ndarray,
    predicted: np.ndarray,
    score: str,
    most: int,
    length: int,
) -> Overlay:
    """Boxes over a clip [T, side, side, 3]: predicted ones thick, true ones dashed.

    Args:
        truth, predicted: [T, n, 4], (ymin, xmin, ymax, xmax) as fractions of height and width.
        score: of the clip, as text.
    """
    sides = np.array(_enlarged(clip[0]).shape[:2] * 2)
    shown = []
    for t in spread(len(clip), most):
        picture = draw_boxes(_enlarged(clip[t]), predicted[t] * sides)
        picture = draw_boxes(picture, truth[t] * sides, kind="truth")
        shown.append(ShownFrame(number=int(frames[t]), picture=picture, text=score))
    legend = "thick boxes: predicted; dashed boxes: the true ones"
    return Overlay(legend=legend, frames=tuple(shown), length=length)


def depth_overlay(
    clip: np.ndarray, frames: Sequence[int], truth_m: np.ndarray, predicted_m: np.ndarray, most: int, length: int
) -> Overlay:
    """A clip [T, side, side, 3] beside its true and predicted depth [T, side, side], on the same colour scale."""
    measured = truth_m[truth_m > 0]
    near, far = np.percentile(measured, (1, 99)).tolist() if measured.size else (0.0, 1.0)
    shown = []
    for t in spread(len(clip), most):
        row = [clip[t], _depth_colours(truth_m[t], near, far), _depth_colours(predicted_m[t], near, far)]
        valid = truth_m[t] > 0
        error = np.abs(predicted_m[t] - truth_m[t])[valid] / truth_m[t][valid]
        text = f"AbsRel x10 {10 * float(error.mean()):.2f}" if error.size else "no depth was measured"
        shown.append(ShownFrame(number=int(frames[t]), picture=_side_by_side(row), text=text))
    legend = f"video, true depth, predicted depth; dark is {near:.1f} m, bright {far:.1f} m, black was not measured"
    return Overlay(legend=legend, frames=tuple(shown), length=length)


def _enlarged(frame: np.ndarray) -> np.ndarray:
    """A frame that is large enough for marks to cover little of it."""
    import cv2

    share = DRAWN_PX / max(frame.shape[:2])
    return frame if share <= 1 else cv2.resize(frame, None, fx=share, fy=share, interpolation=cv2.INTER_LINEAR)


def _depth_colours(depth_m: np.ndarray, near: float, far: float) -> np.ndarray:
    import cv2

    level = np.clip((depth_m - near) / max(far - near, 1e-6), 0, 1)
    coloured = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    return np.where((depth_m > 0)[..., None], coloured, 0).astype(np.uint8)


def _side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Square pictures in a row, as wide as an overlay at most."""
    import cv2

    side = LONG_SIDE_PX // len(pictures)
    return np.hstack([cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) for picture in pictures])
