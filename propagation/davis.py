"""DAVIS-2017 video object segmentation: protocol, reader, measure and score.

    <root>/ImageSets/2017/val.txt                  one sequence name per line
    <root>/JPEGImages/480p/<sequence>/00000.jpg    RGB
    <root>/Annotations/480p/<sequence>/00000.png   palette PNG: index = object id, 0 background, 255 void

The masks of frame 0 are propagated through the video; J&F is the mean over all objects of all videos.
"""

import csv
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from tqdm import tqdm

from propagation.knn import Propagator, normalize
from propagation.labels import heat_to_mask, mask_to_heat
from propagation.metrics import boundary_f_measure, region_similarity
from propagation.sequences import VOID, MaskedVideo, read_split, refuse_or_list, verify_videos
from rvm_bench.encoder import Encoder
from rvm_bench.fingerprint import manifest_sha256
from rvm_bench.images import FrameFiles, read_labels
from rvm_bench.task import Coverage, Dataset, Metric, Protocol, Record, Task, constant

SPLIT, FRAMES, MASKS = "ImageSets/2017/val.txt", "JPEGImages/480p", "Annotations/480p"
OFFICIAL_FRAMES = {
    row["sequence"]: int(row["frames"])
    for row in csv.DictReader(Path(__file__).with_name("davis_val.csv").read_text().splitlines())
}
"""Frames of each of the 30 sequences of the official validation split (1999 in all; db_info.yaml of davis-2017)."""

_NOTEBOOK = "official evaluation notebook (representations4d, rvm_evaluation_demo)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DavisProtocol(Protocol):
    """How the paper's DAVIS column is measured.

    Where the paper and the released notebook differ, the notebook is followed, since it made the numbers.
    """

    id: str = "davis-2017-val/1"
    input_height_px: int = constant(480, "paper Table 8")
    input_width_px: int = constant(880, "paper Table 8; the aspect ratio is not kept")
    resize: str = constant("lanczos-uint8", f"{_NOTEBOOK}: mediapy.resize_video on uint8 frames")
    topk: int = constant(7, "paper Table 8")
    temperature: float = constant(0.7, "paper Table 8; softmax after the top-k, as in the notebook")
    n_context: int = constant(20, "paper Table 8; beside frame 0, and the queue starts as 20 copies of it (notebook)")
    radius: float = constant(
        20, "paper Table 8; Euclidean distance in cells, strictly less, not for frame 0 (notebook)"
    )
    normalize: bool = constant(True, f"{_NOTEBOOK}: L2 per token, float32, before propagation")
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
        protocol = self.protocol
        input_hw = (protocol.input_height_px, protocol.input_width_px)
        first_mask = _read_mask(video.masks[0])
        heat, label_ids = mask_to_heat(first_mask, encoder.grid(*input_hw), input_hw)
        propagator = self._propagator(heat, encoder.device)
        last = len(video.frames) - 1
        propagated, held = [], []
        for t, features in enumerate(_feature_maps(encoder, FrameFiles(video.frames, input_hw))):
            soft = propagator.step(normalize(features) if protocol.normalize else features)
            if 0 < t < last:
                truth = _read_mask(video.masks[t])
                mask = heat_to_mask(soft.cpu().numpy(), label_ids, input_hw, video.native_hw)
                propagated.append(self._judge(truth, mask, video.largest_id))
                held.append(self._judge(truth, first_mask, video.largest_id))
            tick()
        scores_OMT = np.stack(propagated, axis=-1)
        return {
            "frames": len(video.frames),
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
        """Times one chunk of frames and one propagation step with a full context of random features."""
        video = dataset.videos[0]
        assert isinstance(video, MaskedVideo)
        input_hw = (self.protocol.input_height_px, self.protocol.input_width_px)
        probe = FrameFiles(video.frames[: max(encoder.chunk, encoder.card.frames)], input_hw)
        list(encoder.stream(probe))
        start = time.perf_counter()
        shape = [features.shape for features in encoder.stream(probe)]
        per_frame_s = (time.perf_counter() - start) / sum(s[0] for s in shape)
        heat, _ = mask_to_heat(_read_mask(video.masks[0]), encoder.grid(*input_hw), input_hw)
        propagator = self._propagator(heat, encoder.device)
        random = torch.randn(2, *shape[0][1:], device=encoder.device)
        for _ in range(self.protocol.n_context + 1):
            propagator.append(normalize(random[0]))
        start = time.perf_counter()
        propagator.step(normalize(random[1])).cpu()
        return dataset.frames * (per_frame_s + time.perf_counter() - start)

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import davis

        with tqdm(desc="writing demo data", unit="frame", leave=False, disable=None) as bar:
            davis.write(folder, progress=lambda *_: bar.update())

    def _propagator(self, heat: np.ndarray, device: torch.device) -> Propagator:
        protocol = self.protocol
        return Propagator(
            torch.from_numpy(heat).to(device),
            topk=protocol.topk,
            radius=protocol.radius,
            n_context=protocol.n_context,
            temperature=protocol.temperature,
        )

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


def _feature_maps(encoder: Encoder, video: FrameFiles) -> Iterator[torch.Tensor]:
    for chunk in encoder.stream(video):
        yield from chunk


def _read_mask(file: Path) -> np.ndarray:
    """Object ids, with void counted as background as davis2017-evaluation does."""
    mask = read_labels(file)
    return np.where(mask == VOID, 0, mask).astype(np.uint8)
