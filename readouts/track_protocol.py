"""Constants that point and box tracking share: how coordinates become queries."""

import dataclasses
from typing import ClassVar

from readouts.heads import BoxHeadConfig, PointHeadConfig
from readouts.task import ReadoutProtocol
from rvm_bench.task import constant


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackProtocol(ReadoutProtocol):
    """Constants of a tracking task; a subclass says how many tiles of time a query has."""

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
