"""DAVIS-2017 video object segmentation: protocol, reader, measure and score.

    <root>/ImageSets/2017/val.txt                  one sequence name per line
    <root>/JPEGImages/480p/<sequence>/00000.jpg    RGB
    <root>/Annotations/480p/<sequence>/00000.png   palette PNG: index = object id, 0 background, 255 void

The masks of frame 0 are propagated through the video; J&F is the mean over all objects of all videos.
"""

import csv
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from tqdm import tqdm

from propagation.labels import heat_to_mask, mask_to_heat
from propagation.metrics import boundary_f_measure, region_similarity
from propagation.sequences import VOID, MaskedVideo, read_split, refuse_or_list, verify_videos
from propagation.video import PropagationProtocol, seconds_per_frame, soft_labels
from rvm_bench.encoder import Encoder
from rvm_bench.fingerprint import manifest_sha256
from rvm_bench.images import read_labels
from rvm_bench.task import Coverage, Dataset, Metric, Record, Task, constant

SPLIT, FRAMES, MASKS = "ImageSets/2017/val.txt", "JPEGImages/480p", "Annotations/480p"
OFFICIAL_FRAMES = {
    row["sequence"]: int(row["frames"])
    for row in csv.DictReader(Path(__file__).with_name("davis_val.csv").read_text().splitlines())
}
"""Frames of each of the 30 sequences of the official validation split (1999 in all; db_info.yaml of davis-2017)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DavisProtocol(PropagationProtocol):
    """How the paper's DAVIS column is measured."""

    id: str = "davis-2017-val/1"
    input_height_px: int = constant(480, "paper Table 8")
    input_width_px: int = constant(880, "paper Table 8; the aspect ratio is not kept")
    frames_scored: str = constant("1..T-2", "davis2017-evaluation: the first and the last frame are left out")
    resolution: str = constant("native", "paper section 11.2; SiamMAE and CropMAE score at 480x880 instead")
    boundary_tolerance: float = constant(0.008, "davis2017-evaluation: share of the image diagonal, rounded up")
    average: str = constant("objects", "davis2017-evaluation: plain mean over all objects of all videos")


class DavisTask(Task[DavisProtocol]):
    """DAVIS-2017 validation, J&F in percent."""

    name: ClassVar[str] = "davis"
    title: ClassVar[str] = "video object segmentation, DAVIS-2017 val, J&F"
    folder: ClassVar[str] = "DAVIS"
    metric: ClassVar[Metric] = Metric(key="J&F", label="DAVIS J&F", floor="first_mask J&F")

    def __init__(self, protocol: DavisProtocol | None = None) -> None:
        self.protocol = protocol or DavisProtocol()

    def open(self, data: Path, *, allow_missing: bool = False) -> Dataset:
        names = read_split(data / SPLIT)
        videos, problems = _verify(data, names)
        missing = refuse_or_list(
            problems, len(videos), allow_missing=allow_missing, check=f"rvm-bench data check davis --data {data}"
        )
        files = [data / SPLIT, *(file for video in videos for file in (*video.frames, *video.masks))]
        return Dataset(
            root=data,
            videos=tuple(videos),
            manifest_sha256=manifest_sha256((file.relative_to(data).as_posix(), file) for file in files),
            coverage=Coverage(
                listed=len(names),
                usable=len(videos),
                official=len(OFFICIAL_FRAMES),
                in_official=sum(video.name in OFFICIAL_FRAMES for video in videos),
                missing=missing,
            ),
        )

    def check(self, data: Path) -> list[str]:
        names = read_split(data / SPLIT)
        _, problems = _verify(data, names)
        lines = [f"{name}: {problem}" for name, wrong in problems.items() for problem in wrong]
        lines += [f"{name}: not in {SPLIT}" for name in OFFICIAL_FRAMES if name not in names]
        return lines + [f"{name}: not in the official split" for name in names if name not in OFFICIAL_FRAMES]

    def measure(self, encoder: Encoder, video: MaskedVideo, tick: Callable[[], object] = lambda: None) -> Record:
        """J and F per object and frame, of the propagated masks and of the first mask held still.

        Frames are read, encoded, propagated and scored one after the other: memory does not grow with the video.
        """
        input_hw = self.protocol.input_hw
        first_mask = _read_mask(video.masks[0])
        heat, label_ids = mask_to_heat(first_mask, encoder.grid(*input_hw), input_hw)
        last = video.length - 1
        propagated, held = [], []
        for t, soft in enumerate(soft_labels(encoder, video.frames, heat, self.protocol)):
            if 0 < t < last:
                truth = _read_mask(video.masks[t])
                mask = heat_to_mask(soft.cpu().numpy(), label_ids, input_hw, video.native_hw)
                propagated.append(self._judge(truth, mask, video.largest_id))
                held.append(self._judge(truth, first_mask, video.largest_id))
            tick()
        scores_OMT = np.stack(propagated, axis=-1)
        return {
            "frames": video.length,
            "objects": [
                {"id": i, "J": float(j.mean()), "F": float(f.mean()), "J_frames": j.tolist(), "F_frames": f.tolist()}
                for i, (j, f) in enumerate(scores_OMT, 1)
            ],
            "first_mask": [{"id": i, "J": j, "F": f} for i, (j, f) in enumerate(np.mean(held, axis=0).tolist(), 1)],
        }

    def score(self, records: Sequence[Record]) -> dict[str, float]:
        """Percent, a plain mean over the objects of all videos; `first_mask` is what holding frame 0's mask scores."""
        j, f = (100 * np.mean([o[key] for r in records for o in r["objects"]]) for key in "JF")
        hold_j, hold_f = (100 * np.mean([o[key] for r in records for o in r["first_mask"]]) for key in "JF")
        return {
            "J&F": float((j + f) / 2),
            "J": float(j),
            "F": float(f),
            "first_mask J&F": float((hold_j + hold_f) / 2),
            "objects": sum(len(r["objects"]) for r in records),
        }

    def estimate_seconds(self, encoder: Encoder, dataset: Dataset) -> float:
        video = dataset.videos[0]
        assert isinstance(video, MaskedVideo)
        input_hw = self.protocol.input_hw
        heat, _ = mask_to_heat(_read_mask(video.masks[0]), encoder.grid(*input_hw), input_hw)
        return dataset.frames * seconds_per_frame(encoder, video.frames, heat, self.protocol)

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import davis

        with tqdm(desc="writing demo data", unit="frame", leave=False, disable=None) as bar:
            davis.write(folder, progress=lambda *_: bar.update())

    def _judge(self, truth: np.ndarray, mask: np.ndarray, objects: int) -> np.ndarray:
        """[n, 2]: J and F of one frame for objects 1..n. One that both lack counts as found, as in the evaluator."""
        ids = np.arange(1, objects + 1)[:, None, None]
        gt_OHW, pred_OHW = truth == ids, mask == ids
        f = boundary_f_measure(gt_OHW, pred_OHW, tolerance=self.protocol.boundary_tolerance)
        return np.stack([region_similarity(gt_OHW, pred_OHW), f], axis=1)


def _verify(data: Path, names: Sequence[str]) -> tuple[list[MaskedVideo], dict[str, list[str]]]:
    """Whole videos and problems; an official sequence must have its official length, and every video an object."""
    videos, problems = verify_videos(data, names, frames=FRAMES, masks=MASKS, least_frames=3)
    whole = []
    for video in videos:
        expected = OFFICIAL_FRAMES.get(video.name, len(video.frames))
        if len(video.frames) != expected:
            problems[video.name] = [f"{data / FRAMES / video.name} has {len(video.frames)} frames, expected {expected}"]
        elif video.largest_id == 0:
            problems[video.name] = [f"{data / MASKS / video.name} holds no object in any mask"]
        else:
            whole.append(video)
    return whole, problems


def _read_mask(file: Path) -> np.ndarray:
    """Object ids, with void counted as background as davis2017-evaluation does."""
    mask = read_labels(file)
    return np.where(mask == VOID, 0, mask).astype(np.uint8)
