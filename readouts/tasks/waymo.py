"""Waymo Open: box tracking over 16 frames of the front camera, mean intersection over union.

The boxes of a clip's first frame are queries, and the head predicts each of them in all 16 frames. Source: paper,
supplement and Table 7. The official loss and averaging are not published; our choices are constants with their reasons.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from readouts.datasets.waymo.box_video import STRIDE, BoxVideo, window_starts
from readouts.datasets.waymo.split import check_waymo, open_waymo
from readouts.fitting.sampling import Item, Source
from readouts.heads.replicated import Sizes
from readouts.heads.tracking import BoxHeadConfig
from readouts.losses import Measure, Selection, box_l2, box_smooth_l1_giou, mean_box_iou
from readouts.metrics import box_iou_sums
from readouts.tasks.base import OURS, ReadoutTask
from readouts.tasks.box_clips import (
    LEAST_AREA,
    MOST_BOXES,
    SIDE_PX,
    box_windows,
    clip_boxes,
    clip_frames,
    pad,
    random_window,
)
from readouts.tasks.predictions import SavesOutputs, box_overlay, read_output
from readouts.tasks.sources import TaskSource, with_training_split
from readouts.tasks.tracking_protocols import TrackProtocol
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overlay import Overlay
from rvm_bench.api.task import Dataset, Metric, Record, constant
from rvm_bench.errors import UserError
from rvm_bench.formats.hashes import text_sha256

SPLITS = "training", "validation"
LOSSES: dict[str, Measure] = {"l2": box_l2, "smooth_l1_giou": box_smooth_l1_giou}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WaymoProtocol(TrackProtocol):
    """Cost: 1.28 M clips through the encoder. Expected: mIoU 73.2 for RVM-L, 51.7 for DINOv2-L (Table 1)."""

    sizes: ClassVar[Any] = BoxHeadConfig
    id: str = "waymo-boxes/1"
    side_px: int = constant(SIDE_PX, "paper Table 7")
    heads: int = constant(4, "paper Table 7; moog_inference_demo")
    temporal_tile_size: int = constant(1, "one query for a box and all its frames: moog_inference_demo; paper Table 7")
    stride: int = constant(STRIDE, "camera frames: 10 Hz become 5 Hz, as InternVideo-Next and tue-mps read 4DS")
    most_boxes: int = constant(MOST_BOXES, "representations4d moog/configs/movi.py, num_box_tracks")
    least_area: float = constant(
        LEAST_AREA, "of the square, in the first frame: 4DS as InternVideo-Next reads it, arXiv:2512.01342"
    )
    first_frame: int = constant(1, f"the first frame that is fitted and scored; frame 0 is the query; {OURS}")
    box_loss: Literal["l2", "smooth_l1_giou"] = constant(
        "l2", "ours, as for depth; smooth_l1_giou is InternVideo-Next's; the official one is unknown"
    )


def demo_protocol() -> WaymoProtocol:
    """For the demo copy: small frames, a small head, fixed clips whose features are cached. Minutes on two cores.

    Three octaves of Fourier features, as sixteen learn slowly from a hundred segments, and the loss with GIoU: small
    boxes contribute little to the squared error of the sides.
    """
    return WaymoProtocol(
        side_px=96,
        params=96,
        heads=4,
        width=64,
        bases=3,
        box_loss="smooth_l1_giou",
        learning_rates=(5e-3, 1e-2),
        warmup_steps=50,
        steps=2000,
        batch=8,
        held_out=0.1,
        held_out_least=6,
        fixed_clips=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BoxSource(TaskSource[WaymoProtocol]):
    """Clips of the training segments: random ones, or fixed ones a quarter of a clip apart."""

    resizing: ClassVar[str] = "short side, then middle crop"
    videos: Sequence[BoxVideo] = dataclasses.field(repr=False)

    @functools.cached_property
    def windows(self) -> list[tuple[BoxVideo, int]]:
        """The examples, as (segment, first frame): one per segment, or all fixed clips."""
        p = self.protocol
        if not p.fixed_clips:
            return [(video, 0) for video in self.videos]
        step = max(1, p.frames * p.stride // 4)
        starts = {video.name: window_starts(video, frames=p.frames, stride=p.stride)[::step] for video in self.videos}
        return [(video, int(start)) for video in self.videos for start in starts[video.name]]

    @functools.cached_property
    def names(self) -> list[str]:
        return [video.name for video, _ in self.windows]

    def random_item(self, index: int, rng: np.random.Generator) -> Item:
        video, _ = self.windows[index]
        return self._item(video, random_window(video, rng, frames=self.protocol.frames, stride=self.protocol.stride))

    def held_out_item(self, index: int) -> Item:
        p = self.protocol
        video, start = self.windows[index]
        if not p.fixed_clips:
            starts = window_starts(video, frames=p.frames, stride=p.stride)
            start = int(starts[len(starts) // 2])
        return self._item(video, start + p.stride * np.arange(p.frames), keyed=True)

    def _item(self, video: BoxVideo, frames: np.ndarray, *, keyed: bool = False) -> Item:
        p = self.protocol
        boxes, present, _ = clip_boxes(video, frames, p.side_px, least_area=p.least_area, most=p.most_boxes)
        boxes, present = pad(boxes, present, p.most_boxes)
        return Item(
            clip=lambda: clip_frames(video, frames, p.side_px),
            target={"boxes": boxes, "present": present},
            queries=boxes[0],
            key=f"{video.name} {video.identity()} {frames.tolist()}" if keyed else None,
        )


class WaymoTask(SavesOutputs, ReadoutTask[WaymoProtocol]):
    name: ClassVar[str] = "waymo"
    title: ClassVar[str] = "box tracking, Waymo Open validation, front camera, mIoU"
    folder: ClassVar[str] = "waymo"
    metric: ClassVar[Metric] = Metric(key="mIoU", label="mIoU", floor="first box held mIoU")
    presets: ClassVar[Mapping[str, Callable[[], Any]]] = {"demo": demo_protocol}

    _training: Sequence[BoxVideo]
    _manifest: str

    @property
    def loss(self) -> Measure:
        loss: Any = LOSSES[self.protocol.box_loss]
        return functools.partial(loss, first_frame=self.protocol.first_frame)

    @property
    def selection(self) -> Selection:
        measure = functools.partial(mean_box_iou, first_frame=self.protocol.first_frame)
        return Selection(name="mIoU", measure=measure)

    @classmethod
    def default_protocol(cls) -> WaymoProtocol:
        return WaymoProtocol()

    def open(self, data: Path, *, allow_missing: bool = False) -> Dataset:
        training, scored = (open_waymo(data, split, allow_missing=allow_missing) for split in SPLITS)
        self._training, self.allow_missing = training.videos, allow_missing
        self._manifest = text_sha256(f"{training.manifest_sha256} {scored.manifest_sha256}")
        return Dataset(
            root=data,
            videos=scored.videos,
            manifest_sha256=self._manifest,
            coverage=with_training_split(scored.coverage, training.coverage.missing),
        )

    def check(self, data: Path) -> list[str]:
        return [line for split in SPLITS for line in check_waymo(data, split)]

    def training(self) -> Source:
        return BoxSource(videos=self._training, protocol=self.protocol, manifest_sha256=self._manifest)

    def readout(self, channels: int) -> Sizes:
        return self.protocol.head(channels)

    def measure(self, encoder: Encoder, video: BoxVideo, tick: Callable[[], object] = lambda: None) -> Record:
        """For each clip: its number of present boxes, and the sums over them of the IoU of the head and of the first
        box held. A clip without a query is not encoded."""
        p = self.protocol
        clips, outputs = [], {}
        for frames in box_windows(video, frames=p.frames, stride=p.stride):
            boxes, present, _ = clip_boxes(video, frames, p.side_px, least_area=p.least_area, most=p.most_boxes)
            if boxes.shape[1]:
                queries = torch.from_numpy(boxes[:1]).to(encoder.device)
                clip = clip_frames(video, frames, p.side_px)[None]
                predicted = self.outputs(encoder, clip, queries)[0].cpu().numpy()
                outputs[f"{frames[0]}"] = predicted
                total, count = box_iou_sums(predicted, boxes, present, first_frame=p.first_frame)
                held, _ = box_iou_sums(np.repeat(boxes[:1], p.frames, 0), boxes, present, first_frame=p.first_frame)
                clips.append({"first_frame": int(frames[0]), "boxes": count, "iou": total, "held": held})
            for _ in frames:
                tick()
        self.save_outputs(video.name, outputs)
        return {"clips": clips}

    def overlay(self, folder: Path, video: BoxVideo, record: Record, most: int) -> Overlay:
        """The clip with the lowest score."""
        p = self.protocol
        scored = [clip for clip in record["clips"] if clip["boxes"]]
        if not scored:
            raise UserError(f"{video.name} has no clip with a tracked box")
        worst = min(scored, key=lambda clip: clip["iou"] / clip["boxes"])
        windows = box_windows(video, frames=p.frames, stride=p.stride)
        frames = next(window for window in windows if window[0] == worst["first_frame"])
        truth, _, _ = clip_boxes(video, frames, p.side_px, least_area=p.least_area, most=p.most_boxes)
        return box_overlay(
            clip_frames(video, frames, p.side_px),
            frames.tolist(),
            truth=truth,
            predicted=read_output(folder, video.name, f"{frames[0]}"),
            score=f"mIoU of this clip {100 * worst['iou'] / worst['boxes']:.1f} %",
            most=most,
            length=video.length,
        )

    def score(self, records: Sequence[Record]) -> dict[str, float]:
        """In percent: the mean over all present boxes of all clips, and `mIoU per clip`, the mean of the clips' own."""
        clips = [clip for record in records for clip in record["clips"] if clip["boxes"]]
        boxes = max(1, sum(clip["boxes"] for clip in clips))
        return {
            "mIoU": 100 * sum(clip["iou"] for clip in clips) / boxes,
            "mIoU per clip": 100 * sum(clip["iou"] / clip["boxes"] for clip in clips) / max(1, len(clips)),
            "first box held mIoU": 100 * sum(clip["held"] for clip in clips) / boxes,
            "clips": len(clips),
            "boxes": boxes,
            "segments": len(records),
        }

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import waymo
        from rvm_bench.demo.progress import write_with_progress

        write_with_progress(waymo.write, folder, counted=True)
