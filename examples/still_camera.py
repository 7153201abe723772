"""A task in one file: under a camera that stands still, does a patch of the last frame find its place in the first one?

DIR has one NAME.npy per video, uint8 [T, H, W, 3].
"""

import dataclasses
from pathlib import Path

import numpy as np

from rvm_bench.api import Coverage, Dataset, Metric, Protocol, Task, UserError, constant, manifest_sha256


@dataclasses.dataclass(frozen=True, kw_only=True)
class StillProtocol(Protocol):
    id: str = "still-camera/1"
    frames: int = constant(8, "our choice", low=2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StillVideo:
    name: str
    length: int
    file: Path


class StillCamera(Task[StillProtocol]):
    name, title, folder = "still-camera", "correspondence under a still camera", "STILL"
    metric = Metric(key="matched", label="patches matched", unit="%", scale=100)

    def __init__(self):
        self.protocol = StillProtocol()

    def open(self, data, *, allow_missing=False):
        files = sorted(data.glob("*.npy"))
        if not files:
            raise UserError(f"no video in {data}; expected NAME.npy, uint8 [T, H, W, 3]")
        return Dataset(
            root=data,
            videos=tuple(StillVideo(name=file.stem, length=self.protocol.frames, file=file) for file in files),
            manifest_sha256=manifest_sha256((file.name, file) for file in files),
            coverage=Coverage(listed=len(files), usable=len(files), official=len(files), in_official=len(files)),
        )

    def check(self, data):
        return [] if any(data.glob("*.npy")) else [f"no NAME.npy in {data}"]

    def measure(self, encoder, video, tick=lambda: None):
        features = encoder.encode(np.load(video.file)[: self.protocol.frames])  # float32 [T, h, w, D]
        for _ in features:
            tick()
        first, last = (features[t].reshape(-1, encoder.card.width) for t in (0, -1))
        similarity = last @ first.T / (np.linalg.norm(first, axis=1) + 1e-6)
        matched = similarity.argmax(axis=1) == np.arange(len(last))
        return {"matched": float(matched.mean())}

    def score(self, records):
        return {"matched": float(np.mean([record["matched"] for record in records]))}
