"""JHMDB human pose propagation: protocol, measure and score.

The joints of frame 0 are propagated through the clip; PCK is the mean over the 15 joints of all clips.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from propagation.datasets.jhmdb import OFFICIAL_CLIPS, PoseClip, official_clips, read_jhmdb, unofficial
from propagation.labels import heat_to_pose, pose_to_heat
from propagation.metrics import mean_pck, pose_hits
from propagation.predictions import pose_file, pose_overlay, save_pose
from propagation.tasks.protocol import NOTEBOOK, PropagationProtocol, seconds_per_frame, soft_labels
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.task import Dataset, DataSource, Metric, Overlay, Record, SavesPredictions, Task, constant
from rvm_bench.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class JhmdbProtocol(PropagationProtocol):
    """How the paper's JHMDB column is measured."""

    id: str = "jhmdb-split1/1"
    input_height_px: int = constant(320, "paper Table 8")
    input_width_px: int = constant(320, "paper Table 8; the aspect ratio is not kept")
    label_map: Literal["gaussian-sigma-0.5"] = constant(
        "gaussian-sigma-0.5", f"{NOTEBOOK}: stamps of 4x4 cells, and a background channel"
    )
    readout_cells: int = constant(5, f"{NOTEBOOK}: weighted mean of the 5 best cells (3 in videowalk)")
    thresholds: tuple[float, ...] = constant((0.1, 0.2, 0.3, 0.4, 0.5), f"{NOTEBOOK}; the paper prints 0.1")
    box_share: float = constant(0.6, "UVC eval_pck.py: of the diagonal of the box around the true joints")
    frames_scored: Literal["1..T-1"] = constant("1..T-1", "UVC eval_pck.py: all but the frame whose joints are given")
    joints_scored: Literal["predicted"] = constant("predicted", "UVC eval_pck.py: a joint that was lost is no miss")
    average: Literal["joints"] = constant(
        "joints", "UVC eval_pck.py: share over all frames of all clips, then plain mean over joints"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0.1 not in self.thresholds or min(self.thresholds) < 0:
            raise UserError(f"thresholds={self.thresholds}: expected shares of 0 or more, 0.1 (the score) among them")
        if self.readout_cells < 1 or not self.box_share > 0:
            raise UserError(
                f"readout_cells={self.readout_cells}, box_share={self.box_share}: expected at least 1, and above 0"
            )


class JhmdbTask(SavesPredictions, Task[JhmdbProtocol]):
    """JHMDB test split 1, percentage of correct keypoints."""

    name: ClassVar[str] = "jhmdb"
    title: ClassVar[str] = "human pose propagation, JHMDB split 1, PCK@0.1"
    folder: ClassVar[str] = "jhmdb"
    metric: ClassVar[Metric] = Metric(key="PCK@0.1", label="JHMDB PCK@0.1", floor="first_pose PCK@0.1")
    source: ClassVar[DataSource | None] = DataSource(
        url="https://storage.googleapis.com/representations4d/datasets/jhmdb.zip",
        archive="jhmdb.zip",
        homepage="http://jhmdb.is.tue.mpg.de",
        licence="JHMDB (Jhuang et al., ICCV 2013) annotates clips of HMDB51 and is given for research; its page states "
        "the terms. This archive is the copy that the authors of RVM publish for their evaluation.",
        inside="jhmdb",
    )

    def __init__(self, protocol: JhmdbProtocol | None = None) -> None:
        self.protocol = protocol or JhmdbProtocol()

    def open(self, data: Path, *, allow_missing: bool = False) -> Dataset:
        copy = read_jhmdb(data)
        return copy.dataset(
            self, official=OFFICIAL_CLIPS, in_official=official_clips(copy.videos), allow_missing=allow_missing
        )

    def check(self, data: Path) -> list[str]:
        copy = read_jhmdb(data)
        return [*copy.lines(), *unofficial(copy)]

    def measure(self, encoder: Encoder, video: PoseClip, tick: Callable[[], object] = lambda: None) -> Record:
        """How often each joint was right and counted, of the propagated joints and of the first pose held still.

        Frames are read, encoded, propagated and read out one after the other: memory does not grow with the clip. In
        the held pose every joint is visible.
        """
        heat = pose_to_heat(video.poses[0], encoder.grid(*self.protocol.input_hw), video.native_hw)
        keypoints, visible = [], []
        for soft in soft_labels(encoder, video.frames, heat, self.protocol):
            xy, seen = heat_to_pose(soft[None].cpu(), video.native_hw, cells=self.protocol.readout_cells)
            keypoints.append(xy[0])
            visible.append(seen[0])
            tick()
        if self.predictions is not None:
            save_pose(self.predictions, video.name, np.stack(keypoints), np.stack(visible))
        scored = len(video.poses)
        held = np.broadcast_to(video.poses[0], video.poses.shape)
        return {
            "frames": video.length,
            "poses": scored,
            **self._count(video.poses, np.stack(keypoints[:scored]), np.stack(visible[:scored])),
            "first_pose": self._count(video.poses, held, np.ones(held.shape[:2], dtype=bool)),
        }

    def score(self, records: Sequence[Record]) -> dict[str, float]:
        """Percent; `first_pose` is what holding the pose of frame 0 scores, with all its joints counted.

        The mean is over the joints that are visible in any prediction ("joints"): 15, but in a handful of clips it may
        be fewer, where the official code fails with 0/0.
        """
        counted = _total([record["counted"] for record in records])
        values = mean_pck(_total([record["hits"] for record in records]), counted)
        first = self.protocol.thresholds.index(0.1)
        held = mean_pck(
            _total([record["first_pose"]["hits"][first : first + 1] for record in records]),
            _total([record["first_pose"]["counted"] for record in records]),
        )
        by_threshold = zip(self.protocol.thresholds, values.tolist(), strict=True)
        return {
            **{f"PCK@{threshold:g}": value for threshold, value in by_threshold},
            "first_pose PCK@0.1": float(held[0]),
            "joints": int(np.count_nonzero(counted)),
            "clips": len(records),
        }

    def scene(self, video: str) -> str:
        """A clip's name without the number at its end, which counts the clips cut from one film."""
        film, _, number = video.rpartition("_")
        return film if number.isdecimal() else video

    def estimate_seconds(self, encoder: Encoder, dataset: Dataset) -> float:
        clip = dataset.videos[0]
        assert isinstance(clip, PoseClip)
        heat = pose_to_heat(clip.poses[0], encoder.grid(*self.protocol.input_hw), clip.native_hw)
        return dataset.frames * seconds_per_frame(encoder, clip.frames, heat, self.protocol)

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import jhmdb
        from rvm_bench.demo.progress import write_with_progress

        write_with_progress(jhmdb.write, folder)

    def lacks_predictions(self, video: PoseClip) -> bool:
        return self.predictions is not None and not pose_file(self.predictions, video.name).exists()

    def overlay(self, folder: Path, video: PoseClip, record: Record, most: int) -> Overlay:
        return pose_overlay(folder, video.name, video.frames[: len(video.poses)], video.poses, most)

    def _count(self, truth: np.ndarray, prediction: np.ndarray, visible: np.ndarray) -> dict[str, list]:
        hits, counted = pose_hits(
            truth, prediction, visible, self.protocol.thresholds, box_share=self.protocol.box_share
        )
        return {"hits": hits.tolist(), "counted": counted.tolist()}


def _total(counts: Sequence[list]) -> np.ndarray:
    return np.array(counts).sum(axis=0)
