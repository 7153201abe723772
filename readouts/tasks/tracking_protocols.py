"""Protocols of point tracking, and the constants that it shares with box tracking: how queries are embedded."""

import dataclasses
from typing import Any, ClassVar

from readouts.heads.tracking import BoxHeadConfig, PointHeadConfig
from readouts.tasks.base import OURS, ReadoutProtocol
from rvm_bench.api.task import constant

SCIVID_POINTS = "scivid configs/evals/stir_2d_tracking.py"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackProtocol(ReadoutProtocol):
    """Constants of a tracking task; a subclass sets the number of temporal tiles."""

    sizes: ClassVar[type[PointHeadConfig | BoxHeadConfig]]
    width: int = constant(512, "of the query's MLP: moog_inference_demo, scivid TrackingReadoutWrapper")
    bases: int = constant(16, "of the Fourier features: moog_inference_demo, scivid TrackingReadoutWrapper")
    temporal_tile_size: int

    def head(self, channels: int) -> PointHeadConfig | BoxHeadConfig:
        """Sizes of the head for features of this many channels."""
        return self.sizes(
            frames=self.frames,
            channels=channels,
            params=self.params,
            heads=self.heads,
            width=self.width,
            bases=self.bases,
            temporal_tile_size=self.temporal_tile_size,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerceptionProtocol(TrackProtocol):
    """Cost: 1.28 M clips through the encoder, 131 epochs of MOVi-E. Expected: AJ 77.3 for RVM-L, 36.6 for DINOv2-L
    (Table 1)."""

    sizes: ClassVar[Any] = PointHeadConfig
    id: str = "perception-test-points/1"
    heads: int = constant(8, "paper Table 7; moog_inference_demo")
    temporal_tile_size: int = constant(8, "queries per point, 2 frames each: moog_inference_demo; paper Table 7")
    tracks: int = constant(64, f"of a training clip: {SCIVID_POINTS}")
    stride: int = constant(2, f"native frames between frames of a scored window; {OURS}: 15 Hz, MOVi-E has 12 Hz")
    colour_augmentation: bool = constant(False, f"of MOVi-E's clips: none in {SCIVID_POINTS}")
