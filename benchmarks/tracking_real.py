"""Scores and pictures of two trackers without learning on two real videos.

    python benchmarks/tracking_real.py --data FOLDER --out FOLDER

The folder holds `otb/Crossing/` (a sequence of the Object Tracking Benchmark: `img/*.jpg` and `groundtruth_rect.txt`,
one box per frame) and `scannet/` (`scans/scene7000_00/` extracted, and `derived_tracks_000_063.npz` with `points_xy`
[n, 64, 2] in pixels, `occluded` [n, 64] and `frames` [64]). Clips, queries and metrics are those of the readouts:
consecutive clips of 16 frames with stride 2, queries visible in the first frame, which is not scored.

    static    every point, and the box, keeps its position in the first frame; nothing is ever occluded
    flow      Lucas-Kanade optical flow from frame to frame; a point is occluded once the backward flow does not return
              to it within 1 px, and the box moves by the median flow of the corners in it

Where static is near 100, clips are too short or too still to measure anything. `points.png` and `boxes.png` show flow
and truth in the first clips. Cost: a few seconds on one core.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from readouts.datasets.scannet.scans import open_scan
from readouts.metrics import THRESHOLDS_PX, box_iou, tapvid
from readouts.tasks.perception_test import track_windows
from rvm_bench.errors import UserError
from rvm_bench.media.drawing import draw_boxes, draw_tracks, strip, write_png
from rvm_bench.media.frame_sampling import consecutive_clips
from rvm_bench.media.images import read_rgb

LENGTH, STRIDE = 16, 2
RASTER_PX = 256
SHOWN = (0, 5, 10, 15)
"""Frames of a clip that the pictures show."""
RETURN_PX = 1.0

PointTracker = Callable[[Sequence[np.ndarray], np.ndarray], tuple[np.ndarray, np.ndarray]]
BoxTracker = Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]


def static_points(frames: Sequence[np.ndarray], queries_xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions [n, T, 2] in pixels and visibility [n, T]."""
    return np.repeat(queries_xy[:, None], len(frames), 1), np.ones((len(queries_xy), len(frames)), bool)


def flow_points(frames: Sequence[np.ndarray], queries_xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by optical flow; a lost point keeps its last position."""
    positions, visible = static_points(frames, queries_xy)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    for t in range(1, len(frames)):
        moved, returns = flow(gray[t - 1], gray[t], positions[:, t - 1])
        height, width = gray[t].shape
        visible[:, t] = visible[:, t - 1] & returns & ((moved >= 0) & (moved < (width, height))).all(1)
        positions[:, t] = np.where(visible[:, t, None], moved, positions[:, t - 1])
    return positions, visible


def static_box(frames: Sequence[np.ndarray], query_yxyx: np.ndarray) -> np.ndarray:
    """Boxes [T, 4] in pixels."""
    return np.repeat(query_yxyx[None], len(frames), 0)


def flow_box(frames: Sequence[np.ndarray], query_yxyx: np.ndarray) -> np.ndarray:
    """The same, moved by the median flow of at most 50 corners in it; not moved where there is none."""
    boxes = static_box(frames, query_yxyx)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    for t in range(1, len(frames)):
        boxes[t] = boxes[t - 1]
        inside = np.zeros_like(gray[t])
        y0, x0, y1, x1 = np.rint(boxes[t].clip(0)).astype(int)
        inside[y0:y1, x0:x1] = 255
        corners: np.ndarray | None = cv2.goodFeaturesToTrack(gray[t - 1], 50, 0.01, 2, mask=inside)
        if corners is None:
            continue
        # OpenCV's origin is the centre of the first pixel, ours its corner.
        start = corners[:, 0] + 0.5
        moved, returns = flow(gray[t - 1], gray[t], start)
        if returns.any():
            x, y = np.median((moved - start)[returns], axis=0)
            boxes[t] += (y, x, y, x)
    return boxes


def flow(before: np.ndarray, after: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [n, 2] moved by the optical flow, and whether the backward flow returns to them, bool [n]."""
    start = (xy - 0.5).astype(np.float32)[:, None]
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, start, start.copy())
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(after, before, moved, start.copy())
    returns = np.linalg.norm(back - start, axis=2)[:, 0] < RETURN_PX
    return moved[:, 0] + 0.5, returns & (found[:, 0] > 0) & (found_back[:, 0] > 0)


def points(data: Path, out: Path) -> None:
    scan = open_scan(data / "scannet", "scene7000_00")
    with np.load(data / "scannet/derived_tracks_000_063.npz") as tracks:
        xy, visible, numbers = tracks["points_xy"], ~tracks["occluded"], tracks["frames"]
    windows = track_windows(xy, visible, length=LENGTH, stride=STRIDE)
    trackers: dict[str, PointTracker] = {"static": static_points, "flow": flow_points}
    scores: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in trackers}
    for number, window in enumerate(windows):
        frames = [scan.colour(int(numbers[i])) for i in window.frames]
        scale = RASTER_PX / np.array(frames[0].shape[1::-1])
        queries_tyx = np.pad(window.queries_xy[:, ::-1] * scale[::-1], ((0, 0), (1, 0)))
        for name, tracker in trackers.items():
            positions, seen = tracker(frames, window.queries_xy)
            truth = (window.tracks_xy * scale)[None]
            scores[name].append(
                tapvid(queries_tyx[None], ~window.visible[None], truth, ~seen[None], positions[None] * scale)
            )
        if number == 0:
            every = slice(None, None, 4)
            drawn = [
                draw_tracks(
                    frames[t],
                    t,
                    truth_xy=window.tracks_xy[every],
                    truth_visible=window.visible[every],
                    predicted_xy=positions[every],
                    predicted_visible=seen[every],
                    numbers=window.tracks[every].tolist(),
                )
                for t in SHOWN
            ]
            write_png(out / "points.png", strip(drawn, [f"frame {window.frames[t]}" for t in SHOWN], height_px=480))
    print(f"points: {len(windows)} clips, {sum(len(window.tracks) for window in windows)} queries")
    for name, clips in scores.items():
        mean = {key: 100 * np.mean([clip[key] for clip in clips]) for key in clips[0]}
        within = " ".join(f"{mean[f'pts_within_{px}']:.1f}" for px in THRESHOLDS_PX)
        print(
            f"  {name:7} AJ {mean['average_jaccard']:5.1f}   occlusion accuracy {mean['occlusion_accuracy']:5.1f}   "
            f"within {'/'.join(map(str, THRESHOLDS_PX))} px: {within}"
        )


def boxes(data: Path, out: Path) -> None:
    folder = data / "otb/Crossing"
    files = sorted((folder / "img").glob("*.jpg"))
    x, y, width, height = np.loadtxt((folder / "groundtruth_rect.txt").read_text().replace(",", " ").splitlines()).T
    if len(x) != len(files):
        raise UserError(f"{folder} has {len(files)} frames and {len(x)} boxes; expected one for each")
    # The benchmark is in MATLAB, which numbers pixels from 1.
    truth = np.stack([y - 1, x - 1, y - 1 + height, x - 1 + width], axis=1)
    windows = consecutive_clips(len(files), LENGTH, STRIDE)
    trackers: dict[str, BoxTracker] = {"static": static_box, "flow": flow_box}
    found: dict[str, list[np.ndarray]] = {name: [] for name in trackers}
    for number, window in enumerate(windows):
        frames = [read_rgb(files[i]) for i in window]
        for name, tracker in trackers.items():
            predicted = tracker(frames, truth[window[0]])
            found[name].append(box_iou(predicted, truth[window])[1:])
        if number == 0:
            # At twice the size: the person is 17 pixels wide.
            drawn = [
                draw_boxes(draw_boxes(enlarged, 2 * predicted[t, None]), 2 * truth[window[t], None], kind="truth")
                for t in SHOWN
                for enlarged in [cv2.resize(frames[t], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)]
            ]
            write_png(out / "boxes.png", strip(drawn, [f"frame {window[t]}" for t in SHOWN], height_px=480))
    print(f"boxes: {len(windows)} clips of one box")
    for name, clips in found.items():
        last = [ious[-1] for ious in clips]
        print(f"  {name:7} mIoU {100 * np.mean(clips):5.1f}   at the last frame {100 * np.mean(last):5.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        points(options.data, options.out)
        boxes(options.data, options.out)
    except (UserError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
