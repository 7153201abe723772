"""JHMDB human pose propagation: the joints of frame 0 are propagated through the clip, scored by PCK.

PCK is the share of joints near the truth over all frames of all clips, averaged over the 15 joints.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from propagation.datasets.jhmdb import PoseClip, read_jhmdb
from propagation.datasets.split import VerifiedSplit
from propagation.labels import heat_to_pose, pose_to_heat
from propagation.metrics import mean_pck, pose_hits
from propagation.predictions import pose_file, pose_overlay, save_pose
from propagation.tasks.base import PropagationTask, soft_labels
from propagation.tasks.protocol import NOTEBOOK, PropagationProtocol
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overlay import Overlay
from rvm_bench.api.task import DataSource, Metric, Record, constant
from rvm_bench.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class JhmdbProtocol(PropagationProtocol):
    """The protocol of the paper's JHMDB column."""

    id: str = "jhmdb-split1/1"
    input_height_px: int = constant(320, "paper Table 8", low=1)
    input_width_px: int = constant(320, "paper Table 8; the aspect ratio is not kept", low=1)
    label_map: Literal["gaussian-sigma-0.5"] = constant(
        "gaussian-sigma-0.5", f"{NOTEBOOK}: stamps of 4x4 cells, and a background channel"
    )
    readout_cells: int = constant(5, f"{NOTEBOOK}: weighted mean of the 5 best cells (3 in videowalk)", low=1)
    thresholds: tuple[float, ...] = constant((0.1, 0.2, 0.3, 0.4, 0.5), f"{NOTEBOOK}; the paper prints 0.1", low=0)
    box_share: float = constant(0.6, "UVC eval_pck.py: of the diagonal of the box around the true joints")
    frames_scored: Literal["1..T-1"] = constant("1..T-1", "UVC eval_pck.py: all but the frame whose joints are given")
    joints_scored: Literal["predicted"] = constant("predicted", "UVC eval_pck.py: a joint that was lost is no miss")
    average: Literal["joints"] = constant(
        "joints", "UVC eval_pck.py: share over all frames of all clips, then plain mean over joints"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0.1 not in self.thresholds:
            raise UserError(f"thresholds={self.thresholds}: expected 0.1, the threshold of the score, among them")
        if not self.box_share > 0:
            raise UserError(f"box_share={self.box_share}: expected above 0")


class JhmdbTask(PropagationTask[JhmdbProtocol]):
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

    def read(self, data: Path) -> VerifiedSplit:
        return read_jhmdb(data)

    def measure(self, encoder: Encoder, video: PoseClip, tick: Callable[[], object] = lambda: None) -> Record:
        """How often each joint was right and counted, of the propagated joints and of the first pose held still.

        In the held pose every joint is visible.
        """
        keypoints, visible = [], []
        for soft in soft_labels(encoder, video.frames, self.first_heat(encoder, video), self.protocol):
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
        """In percent; `first_pose` scores the pose of frame 0 held still, with all its joints counted.

        The mean is over the joints that are visible in any prediction ("joints"): 15 on the whole split, but possibly
        fewer in a few clips, where the official code divides 0 by 0.
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
        """A clip's name without its last number, which numbers the clips cut from one film."""
        film, _, number = video.rpartition("_")
        return film if number.isdecimal() else video

    def first_heat(self, encoder: Encoder, video: PoseClip) -> np.ndarray:
        return pose_to_heat(video.poses[0], encoder.grid(*self.protocol.input_hw), video.native_hw)

    def prediction_files(self, folder: Path, video: PoseClip) -> list[Path]:
        return [pose_file(folder, video.name)]

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import jhmdb
        from rvm_bench.demo.progress import write_with_progress

        write_with_progress(jhmdb.write, folder)

    def overlay(self, folder: Path, video: PoseClip, record: Record, most: int) -> Overlay:
        return pose_overlay(folder, video.name, video.frames[: len(video.poses)], video.poses, most)

    def _count(self, truth: np.ndarray, prediction: np.ndarray, visible: np.ndarray) -> dict[str, list]:
        hits, counted = pose_hits(
            truth, prediction, visible, self.protocol.thresholds, box_share=self.protocol.box_share
        )
        return {"hits": hits.tolist(), "counted": counted.tolist()}


def _total(counts: Sequence[list]) -> np.ndarray:
    return np.array(counts).sum(axis=0)
