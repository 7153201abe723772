"""A task and an encoder small enough to see through: a video is a number, its score that number times a factor."""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ImageEncoder
from rvm_bench.api.task import Coverage, Dataset, Metric, Protocol, Task, constant
from rvm_bench.errors import UserError
from rvm_bench.formats.hashes import manifest_sha256


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyProtocol(Protocol):
    id: str = "toy/1"
    factor: float = constant(2.0, "made up")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyVideo:
    name: str
    file: Path
    length: int = 1


class ToyTask(Task):
    """Data is a folder of text files, each with a number."""

    name, title, folder = "toy", "numbers", "TOY"
    metric = Metric(key="mean", label="toy mean")

    def __init__(self, protocol=None):
        self.protocol = protocol or ToyProtocol()
        self.measured = []

    def open(self, data, *, allow_missing=False):
        files = sorted(data.glob("*.txt"))
        empty = [file for file in files if not file.read_text()]
        if empty and not allow_missing:
            raise UserError(f"{empty[0]} is empty")
        files = [file for file in files if file not in empty]
        return Dataset(
            root=data,
            videos=tuple(ToyVideo(name=file.stem, file=file) for file in files),
            manifest_sha256=manifest_sha256((file.name, file) for file in files),
            coverage=Coverage(
                listed=len(files) + len(empty),
                usable=len(files),
                official=3,
                in_official=len(files),
                missing=tuple(file.name for file in empty),
            ),
        )

    def check(self, data):
        return []

    def measure(self, encoder, video, tick=lambda: None):
        self.measured.append(video.name)
        tick()
        level = encoder.encode(np.full((1, 4, 4, 3), 255, np.uint8)).mean()
        return {"value": float(video.file.read_text()) * self.protocol.factor * float(level)}

    def score(self, records):
        return {"mean": sum(record["value"] for record in records) / len(records)}

    def estimate_seconds(self, encoder, dataset):
        return 1.0

    def write_demo(self, folder):
        for i in range(3):
            (folder / f"v{i}.txt").write_text(str(i))


class Ones(ImageEncoder):
    """Features are a learned constant, 1 unless changed."""

    card = EncoderCard(name="ones", family="toy", patch=4, width=1)

    def __init__(self, level=1.0):
        super().__init__()
        self.net = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(self.net.weight, level)

    def forward_frames(self, frames):
        ones = torch.ones(len(frames), frames.shape[2] // 4, frames.shape[3] // 4, 1)
        return self.net(ones)
