"""ScanNet: depth of every pixel of 16 frames, AbsRel over all valid pixels of the validation scans.

The head predicts log metres for patches of 2 x 8 x 8 (frames, pixels, pixels), one learned query each, and is fitted by
the L2 loss of log depth (paper, supplement). AbsRel is stored as it is and printed times ten, as in the paper.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from readouts.datasets.scannet.scans import Scan, load_clip
from readouts.datasets.scannet.splits import check_split, open_split
from readouts.fitting.sampling import Item, Source
from readouts.heads.attention import ReadoutConfig
from readouts.losses import Selection, abs_rel, log_depth
from readouts.metrics import abs_rel_sums, delta1_count
from readouts.tasks.base import OURS, ReadoutProtocol, ReadoutTask
from readouts.tasks.predictions import SavesOutputs, depth_overlay, read_output
from readouts.tasks.sources import TaskSource, quarter_starts, with_training_split
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overlay import Overlay
from rvm_bench.api.task import Dataset, Metric, Record, constant
from rvm_bench.errors import UserError
from rvm_bench.formats.hashes import text_sha256
from rvm_bench.media.frame_sampling import consecutive_clips, random_clip


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScanNetProtocol(ReadoutProtocol):
    """Cost: 1.28 M clips through the encoder. Expected: AbsRel x10 of 0.91 for RVM-L, 1.10 for VideoMAE-L (Table 1)."""

    id: str = "scannet-depth/1"
    patch: tuple[int, int, int] = constant((2, 8, 8), "scaling4d_depth_demo; paper Table 7: 6272 queries")
    stride: int = constant(1, f"native frames between frames of a clip; {OURS}")
    nearest_m: float = constant(1e-3, "IVN and Marigold-style loaders; the paper gives no range")
    farthest_m: float = constant(10.0, "IVN and Marigold-style loaders; the paper gives no range")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, step in zip(("frames", "side_px", "side_px"), self.patch, strict=True):
            if getattr(self, name) % step:
                raise UserError(
                    f"{name} is {getattr(self, name)}; a query covers {step}, of which it must be a multiple"
                )

    @property
    def span(self) -> int:
        """Native frames from the first to the last of a clip."""
        return (self.frames - 1) * self.stride + 1


def demo_protocol() -> ScanNetProtocol:
    """For the demo copy: small frames, a small head, fixed clips whose features are cached. Minutes on two cores."""
    return ScanNetProtocol(
        side_px=64,
        params=192,
        heads=6,
        learning_rates=(1e-3, 3e-3),
        warmup_steps=30,
        steps=300,
        batch=8,
        held_out=0.1,
        held_out_least=2,
        fixed_clips=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ScanSource(TaskSource[ScanNetProtocol]):
    """Clips of the training scans: random ones, or fixed ones a quarter of a clip apart."""

    resizing: ClassVar[str] = "square"
    scans: Sequence[Scan] = dataclasses.field(repr=False)

    @functools.cached_property
    def windows(self) -> list[tuple[Scan, int]]:
        """The examples, as (scan, first frame): one per scan, or all fixed clips."""
        if not self.protocol.fixed_clips:
            return [(scan, 0) for scan in self.scans]
        p = self.protocol
        return [(scan, start) for scan in self.scans for start in quarter_starts(scan.frames, p.frames, p.stride)]

    @functools.cached_property
    def names(self) -> list[str]:
        return [scan.name for scan, _ in self.windows]

    def random_item(self, index: int, rng: np.random.Generator) -> Item:
        scan, _ = self.windows[index]
        return self._item(scan, random_clip(scan.frames, self.protocol.frames, self.protocol.stride, rng), keyed=False)

    def held_out_item(self, index: int) -> Item:
        scan, start = self.windows[index]
        if not self.protocol.fixed_clips:
            start = max(0, (scan.frames - self.protocol.frames * self.protocol.stride) // 2)
        frames = np.minimum(start + self.protocol.stride * np.arange(self.protocol.frames), scan.frames - 1)
        return self._item(scan, frames, keyed=True)

    def _item(self, scan: Scan, frames: np.ndarray, *, keyed: bool) -> Item:
        colour, depth_m = load_clip(scan, frames, self.protocol.side_px)
        key = f"{scan.name} {scan.identity()} {frames.tolist()}" if keyed else None
        return Item(clip=lambda: colour, target={"depth": depth_m, "valid": valid(depth_m, self.protocol)}, key=key)


def valid(depth_m: np.ndarray, p: ScanNetProtocol) -> np.ndarray:
    """Where depth was measured and is within the range, bool of the shape of `depth_m`."""
    return (depth_m >= p.nearest_m) & (depth_m <= p.farthest_m)


class ScanNetTask(SavesOutputs, ReadoutTask[ScanNetProtocol]):
    name: ClassVar[str] = "scannet"
    title: ClassVar[str] = "monocular depth, ScanNet v2 validation, AbsRel x10"
    folder: ClassVar[str] = "scannet"
    metric: ClassVar[Metric] = Metric(
        key="AbsRel",
        label="AbsRel x10",
        unit="x10",
        scale=10,
        digits=2,
        higher_is_better=False,
        floor="constant AbsRel",
    )
    presets: ClassVar[Mapping[str, Callable[[], Any]]] = {"demo": demo_protocol}
    loss: Any = staticmethod(log_depth)
    selection: Any = Selection(name="AbsRel", measure=abs_rel, higher_is_better=False)

    _training: Sequence[Scan]
    _manifest: str
    _median_m: float | None = None

    @classmethod
    def default_protocol(cls) -> ScanNetProtocol:
        return ScanNetProtocol()

    def open(self, data: Path, *, allow_missing: bool = False) -> Dataset:
        training, scored = (open_split(data, split, allow_missing=allow_missing) for split in ("train", "val"))
        span = self.protocol.span
        if short := [scan for scan in scored.scans if scan.frames < span]:
            raise UserError(
                f"{data / 'scans' / short[0].name} has {short[0].frames} frames; a clip of {self.protocol.frames} "
                f"with stride {self.protocol.stride} takes {span}: set another stride"
            )
        self._training, self._median_m, self.allow_missing = training.scans, None, allow_missing
        self._manifest = text_sha256(f"{training.manifest_sha256} {scored.manifest_sha256}")
        return Dataset(
            root=data,
            videos=scored.scans,
            manifest_sha256=self._manifest,
            coverage=with_training_split(scored.coverage, [f"train: {line}" for line in training.coverage.missing]),
        )

    def check(self, data: Path) -> list[str]:
        return [line for split in ("train", "val") for line in check_split(data, split)]

    def training(self) -> Source:
        return ScanSource(scans=self._training, protocol=self.protocol, manifest_sha256=self._manifest)

    def readout(self, channels: int) -> ReadoutConfig:
        p = self.protocol
        queries = (p.frames // p.patch[0]) * (p.side_px // p.patch[1]) * (p.side_px // p.patch[2])
        return ReadoutConfig(
            frames=p.frames,
            channels=channels,
            params=p.params,
            heads=p.heads,
            outputs=int(np.prod(p.patch)),
            queries=queries,
            output_shape=(p.frames, p.side_px, p.side_px, 1),
            patch=p.patch,
        )

    def measure(self, encoder: Encoder, video: Scan, tick: Callable[[], object] = lambda: None) -> Record:
        """Sums over the valid pixels of a scan's clips, for the head and for a constant depth, the median of the
        training scans."""
        p = self.protocol
        outputs = {}
        record: dict[str, Any] = {"frames": 0, "pixels": 0, "abs_rel": 0.0, "delta1": 0, "constant": 0.0}
        for frames in consecutive_clips(video.frames, p.frames, p.stride):
            colour, depth_m = load_clip(video, frames, p.side_px)
            logs = self.outputs(encoder, colour[None])[0, ..., 0]
            predicted_m, mask = np.exp(logs.cpu().numpy()), valid(depth_m, p)
            if self.predictions is not None:
                outputs[f"{frames[0]}"] = predicted_m.astype(np.float16)
            total, count = abs_rel_sums(predicted_m, depth_m, mask)
            held, _ = abs_rel_sums(np.full_like(depth_m, self._constant_m()), depth_m, mask)
            record["frames"] += len(frames)
            record["pixels"] += count
            record["abs_rel"] += total
            record["delta1"] += delta1_count(predicted_m, depth_m, mask)
            record["constant"] += held
            for _ in frames:
                tick()
        self.save_outputs(video.name, outputs)
        return record

    def overlay(self, folder: Path, video: Scan, record: Record, most: int) -> Overlay:
        """The first clip: a record has no scores of single clips."""
        p = self.protocol
        frames = consecutive_clips(video.frames, p.frames, p.stride)[0]
        colour, depth_m = load_clip(video, frames, p.side_px)
        predicted_m = read_output(folder, video.name, f"{frames[0]}").astype(np.float32)
        truth_m = np.where(valid(depth_m, p), depth_m, 0)
        return depth_overlay(colour, frames.tolist(), truth_m, predicted_m, most, video.frames)

    def _constant_m(self) -> float:
        """The median depth of the first frames of the training scans, in metres."""
        if self._median_m is None:
            depths = [load_clip(scan, [0], self.protocol.side_px)[1] for scan in self._training]
            self._median_m = float(np.median(np.concatenate([d[valid(d, self.protocol)] for d in depths])))
        return self._median_m

    def score(self, records: Sequence[Record]) -> dict[str, float]:
        """AbsRel over all valid pixels of all scans, and the percentage of pixels within a factor of 1.25."""
        pixels = max(1, sum(r["pixels"] for r in records))
        return {
            "AbsRel": sum(r["abs_rel"] for r in records) / pixels,
            "delta1": 100 * sum(r["delta1"] for r in records) / pixels,
            "constant AbsRel": sum(r["constant"] for r in records) / pixels,
            "scans": len(records),
        }

    def scene(self, video: str) -> str:
        """The room: scene0011_00 and scene0011_01 are two scans of the same one."""
        return video.partition("_")[0]

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import scannet
        from rvm_bench.demo.progress import write_with_progress

        write_with_progress(scannet.write, folder)
