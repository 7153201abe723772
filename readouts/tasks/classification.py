"""Action recognition on labelled clips: the base of SSv2 and Kinetics-700.

A training clip is 16 frames from a random start, short side 224, a random crop, with colour augmentation; a scored one
is a centre crop. Source: paper section 11.1; what it leaves open is a constant with its source.
"""

import abc
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from readouts.datasets.video_lists import ClipCopy, ClipExample
from readouts.fitting.sampling import Item, Source
from readouts.heads.attention import ReadoutConfig, average_clips
from readouts.losses import Selection, cross_entropy, top1
from readouts.tasks.base import OURS, ReadoutProtocol, ReadoutTask
from readouts.tasks.color_augmentation import colour
from readouts.tasks.predictions import still_overlay
from readouts.tasks.sources import TaskSource
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overlay import Overlay
from rvm_bench.api.task import Dataset, Metric, Record, constant
from rvm_bench.media.frame_sampling import linspaced_clips, middle_clip, random_clip
from rvm_bench.media.resize import center_crop, crop, random_crop, short_side
from rvm_bench.media.video.reader import count_frames, read_frames


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationProtocol(ReadoutProtocol):
    """Constants of an action recognition task."""

    stride: int = constant(2, "paper section 11.1 and Table 7; in native frames")
    test_clips: int = constant(1, "the paper states no number for SSv2; one, from the middle")
    colour_augmentation: bool = constant(True, "paper section 11.1; sizes as in tapnet default_color_augmentation_fn")
    flip: bool = constant(False, f"horizontal flips; never where classes have a direction; {OURS}")


DEMO_CONSTANTS: Mapping[str, Any] = {
    "side_px": 96,
    "params": 192,
    "heads": 6,
    "learning_rates": (3e-3, 1e-2),
    "seeds": (0, 1),
    "warmup_steps": 60,
    "steps": 1200,
    "held_out": 0.15,
    "fixed_clips": True,
    "colour_augmentation": False,
}
"""For demo copies: small frames, a small head, fixed clips whose features are cached. Minutes on two cores."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ClipSource(TaskSource[ClassificationProtocol]):
    """The training videos."""

    resizing: ClassVar[str] = "short side, then middle crop"
    examples: Sequence[ClipExample] = dataclasses.field(repr=False)

    @functools.cached_property
    def names(self) -> list[str]:
        return [example.name for example in self.examples]

    def random_item(self, index: int, rng: np.random.Generator) -> Item:
        example = self.examples[index]
        # A generator of the clip's own: the state of `rng` must not depend on whether the clip is decoded.
        seed = int(rng.integers(2**63))
        return Item(clip=lambda: self._augmented(example, np.random.default_rng(seed)), target=_target(example))

    def held_out_item(self, index: int) -> Item:
        example = self.examples[index]
        p = self.protocol
        # Name and size of the file, and its frames; their processing is part of `preprocessing`.
        key = f"{example.name} {example.file.stat().st_size} middle {p.frames}x{p.stride}"
        return Item(clip=lambda: evaluation_clips(example, self.protocol, 1)[0], target=_target(example), key=key)

    def _augmented(self, example: ClipExample, rng: np.random.Generator) -> np.ndarray:
        p = self.protocol
        indices = random_clip(frame_count(example.file), p.frames, p.stride, rng)
        frames = read_frames(example.file, indices, resize=short_side(p.side_px))
        size_hw = p.side_px, p.side_px
        clip = crop(frames, random_crop(frames.shape[1:3], size_hw, rng), size_hw)
        if p.colour_augmentation:
            clip = colour(np.ascontiguousarray(clip), rng)
        if p.flip and rng.random() < 0.5:
            clip = clip[:, :, ::-1]
        return np.ascontiguousarray(clip)


def _target(example: ClipExample) -> dict[str, np.ndarray]:
    return {"label": np.int64(example.label)}  # type: ignore[dict-item]


@functools.lru_cache(maxsize=1 << 20)
def frame_count(file: Path) -> int:
    """Number of frames of a video, counted once per process."""
    return count_frames(file)


def evaluation_clips(example: ClipExample, p: ClassificationProtocol, clips: int) -> np.ndarray:
    """uint8 [clips, T, side, side, 3]: one clip from the middle of the video, or several linearly spaced ones."""
    length = frame_count(example.file)
    if clips == 1:
        indices = middle_clip(length, p.frames, p.stride)[None]
    else:
        indices = linspaced_clips(length, p.frames, p.stride, clips)
    frames = read_frames(example.file, indices, resize=short_side(p.side_px))
    return np.ascontiguousarray(center_crop(frames, (p.side_px, p.side_px)))


class ClassificationTask(ReadoutTask[ClassificationProtocol]):
    """Top-1 accuracy. A subclass provides the data and the constants."""

    metric: ClassVar[Metric] = Metric(key="top1", label="top-1", floor="majority top1")
    loss: Any = staticmethod(cross_entropy)
    selection: Any = Selection(name="top-1", measure=top1)
    _copy: ClipCopy
    _majority: int

    @abc.abstractmethod
    def open_copy(self, data: Path) -> ClipCopy:
        """The copy of the data under a folder."""

    def open(self, data: Path, *, allow_missing: bool = False) -> Dataset:
        self._copy, self.allow_missing = self.open_copy(data), allow_missing
        counts = Counter(example.label for example in self._copy.training.examples)
        self._majority = max(sorted(counts), key=counts.__getitem__, default=0)
        length = self.protocol.frames * self.protocol.test_clips
        return self._copy.dataset(self, length=length, allow_missing=allow_missing)

    def check(self, data: Path) -> list[str]:
        return self.open_copy(data).problems()

    def training(self) -> Source:
        return ClipSource(
            examples=self._copy.training.examples,
            protocol=self.protocol,
            manifest_sha256=self._copy.manifest_sha256(),
        )

    def readout(self, channels: int) -> ReadoutConfig:
        p = self.protocol
        return ReadoutConfig(
            frames=p.frames,
            channels=channels,
            params=p.params,
            heads=p.heads,
            outputs=len(self._copy.classes),
            queries=1,
        )

    def measure(self, encoder: Encoder, video: ClipExample, tick: Callable[[], object] = lambda: None) -> Record:
        """The label, the top five classes with their probabilities, and the most frequent class of the training videos,
        the prediction of the trivial baseline."""
        p = self.protocol
        clips = evaluation_clips(video, p, p.test_clips)
        probabilities = average_clips(self.outputs(encoder, clips), len(clips))[0].cpu().numpy()
        top5 = np.argsort(-probabilities, kind="stable")[:5]
        for _ in range(video.length):
            tick()
        return {
            "label": video.label,
            "predicted": [int(i) for i in top5],
            "probabilities": [float(probabilities[i]) for i in top5],
            "majority": self._majority,
        }

    def overlay(self, folder: Path, video: ClipExample, record: Record, most: int) -> Overlay:
        """The middle clip, with the prediction in the record."""
        p = self.protocol
        names = self._copy.classes
        predicted, probability = names[record["predicted"][0]], record["probabilities"][0]
        text = f"predicted {predicted} ({probability:.0%}); it is {names[record['label']]}"
        length = frame_count(video.file)
        clip = evaluation_clips(video, p, 1)[0]
        return still_overlay(clip, middle_clip(length, p.frames, p.stride).tolist(), text, most, length)

    def score(self, records: list[Record]) -> dict[str, float]:  # type: ignore[override]
        """Top-1 and top-5 accuracy over the videos, in percent, and the top-1 accuracy of the most frequent class."""
        count = len(records)
        return {
            "top1": 100 * sum(r["predicted"][0] == r["label"] for r in records) / count,
            "top5": 100 * sum(r["label"] in r["predicted"] for r in records) / count,
            "majority top1": 100 * sum(r["majority"] == r["label"] for r in records) / count,
            "videos": count,
        }
