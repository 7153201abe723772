"""How well the mean feature of a clip tells its brightness: a task with data, a protocol and a score of its own."""

import dataclasses
import hashlib

import numpy as np

from rvm_bench.api import Coverage, Dataset, Metric, Protocol, Task, UserError, constant


@dataclasses.dataclass(frozen=True, kw_only=True)
class BrightnessProtocol(Protocol):
    id: str = "tiny-brightness/1"
    frames: int = constant(4, "made up", low=1, high=64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    name: str
    file: str
    length: int


class Brightness(Task):
    name = "tiny-brightness"
    title = "brightness of clips stored as .npy"
    folder = "TINY"
    metric = Metric(key="correlation", label="Brightness", unit="", digits=3)

    def __init__(self):
        self.protocol = BrightnessProtocol()

    def open(self, data, *, allow_missing=False):
        files = sorted(data.glob("*.npy"))
        if not files:
            raise UserError(f"{data} holds no .npy file; expected uint8 [T, H, W, 3] each")
        clips = tuple(Clip(name=file.stem, file=str(file), length=len(np.load(file, mmap_mode="r"))) for file in files)
        manifest = "".join(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files)
        return Dataset(
            root=data,
            videos=clips,
            manifest_sha256=hashlib.sha256(manifest.encode()).hexdigest(),
            coverage=Coverage(listed=len(clips), usable=len(clips), official=len(clips), in_official=len(clips)),
        )

    def check(self, data):
        return []

    def measure(self, encoder, video, tick=lambda: None):
        frames = np.load(video.file)[: self.protocol.frames]
        maps = encoder.encode(frames)
        for _ in range(video.length):
            tick()
        return {"feature": float(maps.mean()), "brightness": float(frames.mean())}

    def score(self, records):
        features, brightness = (np.array([record[key] for record in records]) for key in ("feature", "brightness"))
        if np.ptp(features) == 0 or np.ptp(brightness) == 0:
            return {"correlation": 0.0}
        return {"correlation": float(np.corrcoef(features, brightness)[0, 1])}
