"""Predicted masks and poses: written by `run --save-predictions`, and drawn over their frames for eyes.

FOLDER/<sequence>/<frame>.png     label PNG at native size, the layout that davis2017-evaluation reads
FOLDER/<clip>.json                joints `xy` in pixels [T, 15, 2] and `visible` [T, 15]
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from propagation.datasets.sequences import VOID, MaskedVideo
from rvm_bench.api.task import Overlay, SavesPredictions, ShownFrame, shown_size
from rvm_bench.errors import UserError
from rvm_bench.formats.files import read_json, write_json
from rvm_bench.media.drawing import draw_tracks, tinted
from rvm_bench.media.frame_sampling import spread
from rvm_bench.media.images import read_labels, read_rgb
from rvm_bench.runs.predictions import read_masks


class SavesMasks(SavesPredictions):
    """A task that saves a mask per frame."""

    def lacks_predictions(self, video: MaskedVideo) -> bool:
        if self.predictions is None:
            return False
        return not all(mask_file(self.predictions, video, t).exists() for t in range(video.length))


def mask_file(folder: Path, video: MaskedVideo, t: int) -> Path:
    return folder / video.name / f"{video.frames[t].stem}.png"


def mask_overlay(folder: Path, video: MaskedVideo, most: int, score: Callable[[int], str] | None = None) -> Overlay:
    """At most `most` frames, their predicted objects tinted and the true ones outlined.

    Args:
        score: what is said of frame t; None: the share of the pixels that are not void whose label is right.
    """
    times = spread(video.length, most)
    size_hw = shown_size(video.native_hw)
    shown = []
    for t, mask in zip(times, read_masks(folder, video, times), strict=True):
        truth = read_labels(video.masks[t])
        if score is None:
            judged = truth != VOID
            text = (
                f"{100 * float((mask == truth)[judged].mean()):.1f} % of the pixels right" if judged.any() else "void"
            )
        else:
            text = score(t)
        frame, small, true = (_resized(image, size_hw) for image in (read_rgb(video.frames[t]), mask, truth))
        shown.append(ShownFrame(number=t, picture=tinted(frame, small, outlines=true), text=text))
    return Overlay(
        legend="colours: predicted objects; white lines: the true ones", frames=tuple(shown), length=video.length
    )


def pose_file(folder: Path, clip: str) -> Path:
    return folder / f"{clip}.json"


def save_pose(folder: Path, clip: str, xy: np.ndarray, visible: np.ndarray) -> None:
    """Writes joints [T, 15, 2] in pixels and whether each is visible [T, 15]."""
    # A joint that is not visible has no place: JSON has no word for what is not a number.
    placed_xy = np.where(visible[..., None], xy, -1.0)
    write_json(
        pose_file(folder, clip), {"xy": np.round(placed_xy, 3).tolist(), "visible": visible.astype(bool).tolist()}
    )


def pose_overlay(folder: Path, clip: str, frames: Sequence[Path], truth_xy: np.ndarray, most: int) -> Overlay:
    """At most `most` frames with a dot for every predicted joint, a cross for every true one, a line between the two.

    Args:
        truth_xy: float32 [T, 15, 2], the centre of the top left pixel at (0, 0).

    Raises:
        UserError: the clip's predictions are missing, or not of its length.
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
        native = read_rgb(frames[t])
        size_hw = shown_size(native.shape[:2])
        scale = size_hw[1] / native.shape[1]
        # Drawing counts from the corner of the first pixel, not from its centre.
        true, found = ((places[t : t + 1] + 0.5).transpose(1, 0, 2) * scale for places in (truth_xy, xy))
        seen = visible[t, :, None]
        picture = draw_tracks(
            _resized(native, size_hw),
            0,
            truth_xy=true,
            truth_visible=np.ones_like(seen),
            predicted_xy=np.where(seen[..., None], found, np.nan),
            predicted_visible=seen,
        )
        off_px = np.linalg.norm(truth_xy[t] - xy[t], axis=-1)[visible[t]]
        text = f"joints off by {np.median(off_px):.0f} px in the median" if len(off_px) else "no joint found"
        shown.append(ShownFrame(number=t, picture=picture, text=text))
    return Overlay(legend="dots: predicted joints; crosses: the true ones", frames=tuple(shown), length=len(truth_xy))


def _resized(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A frame by averaging, a mask by nearest neighbour."""
    if image.shape[:2] == size_hw:
        return image.copy()
    return cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA if image.ndim == 3 else cv2.INTER_NEAREST)
