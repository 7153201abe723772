"""Perception Test: point tracking over 16 frames, average Jaccard; the head is fitted on MOVi-E.

The points that are visible in the first frame of a clip are queries. The head predicts their positions in all 16 frames
and whether they are visible. Source: paper, supplement and Table 7; losses and training data are those of SciVid.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from readouts.datasets.movi.copy import has_movi, open_movi
from readouts.datasets.perception_test import TrackVideo, open_perception
from readouts.fitting.sampling import Source
from readouts.heads.replicated import Sizes
from readouts.losses import BatchPointsLoss, Measure, Selection, average_jaccard
from readouts.metrics import THRESHOLDS_PX, tapvid
from readouts.tasks.base import ReadoutTask
from readouts.tasks.movi_source import MoviSource
from readouts.tasks.predictions import SavesOutputs, read_output, track_overlay
from readouts.tasks.sources import with_training_split
from readouts.tasks.tracking_protocols import PerceptionProtocol
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overlay import Overlay
from rvm_bench.api.task import Dataset, Metric, Record
from rvm_bench.errors import UserError
from rvm_bench.formats.hashes import text_sha256
from rvm_bench.media.frame_sampling import consecutive_clips
from rvm_bench.media.resize import square
from rvm_bench.media.video.reader import read_frames

RASTER_PX = 256
"""Side of the frame in whose pixels TAP-Vid measures, regardless of the video's resolution."""


def demo_protocol() -> PerceptionProtocol:
    """For the demo copy: small frames, a small head, fixed clips whose features are cached. Minutes on two cores.

    Three octaves of Fourier features, as sixteen learn slowly from a hundred clips.
    """
    return PerceptionProtocol(
        side_px=96,
        params=96,
        heads=4,
        width=64,
        bases=3,
        tracks=32,
        learning_rates=(5e-3, 1e-2),
        warmup_steps=50,
        steps=1600,
        batch=8,
        held_out=0.1,
        held_out_least=8,
        fixed_clips=True,
    )


class PerceptionTask(SavesOutputs, ReadoutTask[PerceptionProtocol]):
    name: ClassVar[str] = "perception_test"
    title: ClassVar[str] = "point tracking, Perception Test valid split, average Jaccard"
    folder: ClassVar[str] = "perception_test"
    metric: ClassVar[Metric] = Metric(key="AJ", label="average Jaccard", floor="first point held AJ")
    presets: ClassVar[Mapping[str, Callable[[], Any]]] = {"demo": demo_protocol}
    selection: Any = Selection(name="average Jaccard", measure=average_jaccard)

    _source: MoviSource

    @property
    def loss(self) -> Measure:
        return BatchPointsLoss(resolution=self.protocol.side_px)

    @classmethod
    def default_protocol(cls) -> PerceptionProtocol:
        return PerceptionProtocol()

    def open(self, data: Path, *, allow_missing: bool = False) -> Dataset:
        """The valid split under `data`, and MOVi-E under it or beside it."""
        scored = open_perception(data).dataset(self, allow_missing=allow_missing)
        self.allow_missing = allow_missing
        copy = open_movi(_movi_root(data), allow_missing=allow_missing)
        self._source = MoviSource(copy=copy, protocol=self.protocol, manifest_sha256=copy.manifest_sha256())
        return dataclasses.replace(
            scored,
            manifest_sha256=text_sha256(f"{scored.manifest_sha256} {copy.manifest_sha256()}"),
            coverage=with_training_split(scored.coverage, [f"train: {line}" for line in copy.missing()]),
        )

    def check(self, data: Path) -> list[str]:
        return [*open_perception(data).problems(), *open_movi(_movi_root(data), allow_missing=True).problems()]

    def training(self) -> Source:
        return self._source

    def readout(self, channels: int) -> Sizes:
        return self.protocol.head(channels)

    def measure(self, encoder: Encoder, video: TrackVideo, tick: Callable[[], object] = lambda: None) -> Record:
        """For each window: its number of points, and TAP-Vid's metrics of the head and of the first point held.

        Raises:
            UserError: the file is damaged, or has another number of frames than its annotation.
        """
        p = self.protocol
        video.check_length()
        windows: list[dict[str, Any]] = []
        outputs: dict[str, np.ndarray] = {}
        for window in track_windows(video.tracks_xy, video.visible, length=p.frames, stride=p.stride):
            clip = read_frames(video.file, window.frames, resize=square(p.side_px))
            queries = torch.from_numpy(window.queries_xy[None]).to(encoder.device)
            tracks = self.outputs(encoder, clip[None], queries)
            predicted_xy = tracks.points[0].transpose(0, 1).cpu().numpy()
            occluded = ~tracks.visible[0, ..., 0].T.cpu().numpy()
            outputs |= {f"{window.frames[0]}_xy": predicted_xy, f"{window.frames[0]}_visible": ~occluded}
            held = np.repeat(window.queries_xy[:, None], p.frames, axis=1), np.zeros_like(window.visible)
            windows.append(
                {
                    "first_frame": int(window.frames[0]),
                    "points": len(window.tracks),
                    "head": _scores(window.tracks_xy, window.visible, predicted_xy, occluded),
                    "held": _scores(window.tracks_xy, window.visible, *held),
                }
            )
            for _ in window.frames:
                tick()
        self.save_outputs(video.name, outputs)
        return {"windows": windows}

    def overlay(self, folder: Path, video: TrackVideo, record: Record, most: int) -> Overlay:
        """The window with the lowest score."""
        p = self.protocol
        scored = [w for w in record["windows"] if w["head"]["AJ"] is not None]
        if not scored:
            raise UserError(f"{video.name} has no window in which a point is visible after the first frame")
        worst = min(scored, key=lambda w: w["head"]["AJ"])
        windows = track_windows(video.tracks_xy, video.visible, length=p.frames, stride=p.stride)
        window = next(w for w in windows if w.frames[0] == worst["first_frame"])
        return track_overlay(
            read_frames(video.file, window.frames, resize=square(p.side_px)),
            window.frames.tolist(),
            truth=(window.tracks_xy, window.visible),
            predicted=(
                read_output(folder, video.name, f"{window.frames[0]}_xy"),
                read_output(folder, video.name, f"{window.frames[0]}_visible"),
            ),
            score=f"AJ of this window {100 * worst['head']['AJ']:.1f} %",
            most=most,
            length=video.length,
        )

    def score(self, records: Sequence[Record]) -> dict[str, float]:
        """In percent: means over all windows in which a point is visible after the first frame, and `AJ per video`, the
        mean over videos of the mean over their windows."""
        by_video = [[w for w in r["windows"] if w["head"]["AJ"] is not None] for r in records]
        windows = [window for video in by_video for window in video]
        if not windows:
            return {"AJ": 0.0, "first point held AJ": 0.0, "windows": 0, "videos": len(records)}

        def mean(kind: str, key: str) -> float:
            return 100 * float(np.mean([window[kind][key] for window in windows]))

        per_video = [np.mean([window["head"]["AJ"] for window in video]) for video in by_video if video]
        return {
            "AJ": mean("head", "AJ"),
            "AJ per video": 100 * float(np.mean(per_video)),
            "points within": mean("head", "within"),
            "occlusion accuracy": mean("head", "occlusion"),
            "first point held AJ": mean("held", "AJ"),
            "first point held within": mean("held", "within"),
            "windows": len(windows),
            "videos": len(records),
        }

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import movi, perception
        from rvm_bench.demo.progress import write_with_progress

        write_with_progress(perception.write, folder, counted=True)
        write_with_progress(movi.write, folder, counted=True)


def _movi_root(data: Path) -> Path:
    """The folder that holds MOVi-E: that of Perception Test, or its parent. UserError where neither does."""
    for root in (data, data.parent):
        if has_movi(root):
            return root
    raise UserError(
        f"no MOVi-E below {data} or beside it, on which the head is fitted; expected movi_e/256x256/1.0.0 or full/movi"
    )


def _scores(
    tracks_xy: np.ndarray, visible: np.ndarray, predicted_xy: np.ndarray, occluded: np.ndarray
) -> dict[str, float | None]:
    """TAP-Vid's metrics of one window, in 0..1; None where no point is visible after its first frame.

    Args:
        tracks_xy, predicted_xy: [n, T, 2], fractions of width and height.
        visible: bool [n, T], the truth.
        occluded: bool [n, T], predicted.
    """
    if not visible[:, 1:].any():
        return dict.fromkeys(("AJ", "within", "occlusion", *(f"jaccard_{k}" for k in THRESHOLDS_PX)))
    queries = np.zeros((1, len(visible), 3))
    truth = np.where(visible[..., None], tracks_xy, 0.0) * RASTER_PX
    scores = tapvid(queries, ~visible[None], truth[None], occluded[None], predicted_xy[None] * RASTER_PX)
    return {
        "AJ": float(scores["average_jaccard"][0]),
        "within": float(scores["average_pts_within_thresh"][0]),
        "occlusion": float(scores["occlusion_accuracy"][0]),
        **{f"jaccard_{k}": float(scores[f"jaccard_{k}"][0]) for k in THRESHOLDS_PX},
    }


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrackWindow:
    """A clip of T frames and its n query points, n >= 1.

    Attributes:
        frames: int64 [T], frame numbers in the video.
        tracks: int64 [n], track numbers in the video.
        tracks_xy: float32 [n, T, 2], in the unit of the video's tracks; undefined where `visible` is false.
        visible: bool [n, T]; true in the first frame.
    """

    frames: np.ndarray
    tracks: np.ndarray
    tracks_xy: np.ndarray
    visible: np.ndarray

    @property
    def queries_xy(self) -> np.ndarray:
        """float32 [n, 2]: the points in the first frame."""
        return self.tracks_xy[:, 0]


def track_windows(tracks_xy: np.ndarray, visible: np.ndarray, *, length: int, stride: int) -> list[TrackWindow]:
    """Consecutive clips of a video without overlap, from its first frame on, with their queries.

    The queries of a clip are the points that are visible in its first frame; a clip without any is not used, nor are
    frames that do not fill a clip. Which clips the paper evaluates is not published; RVM and 4DS say 16 frames.

    Args:
        tracks_xy: [tracks, frames, 2].
        visible: bool [tracks, frames].
        length: frames of a clip.
        stride: native frames between frames of a clip.

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
