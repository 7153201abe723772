"""Correspondence under a camera that stands still: does a patch of the last frame find its place in the first one?"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from rvm_bench.api import (
    Coverage,
    DamagedFile,
    Dataset,
    Encoder,
    Metric,
    Protocol,
    Record,
    Task,
    UserError,
    constant,
    manifest_sha256,
)

OFFICIAL_VIDEOS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class StillProtocol(Protocol):
    id: str = "compat-still/1"
    frames: int = constant(4, "made up for this package", low=2)
    similarity: Literal["cosine", "euclidean"] = constant("euclidean", "made up for this package")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StillVideo:
    name: str
    length: int
    file: Path


class StillTask(Task[StillProtocol]):
    name, title, folder = "compat-still", "correspondence under a still camera", "STILL"
    metric = Metric(key="matched", label="patches matched", floor="chance")
    presets: ClassVar = {"cosine": lambda: StillProtocol(id="compat-still-cosine/1", similarity="cosine")}

    def __init__(self) -> None:
        self.protocol = StillProtocol()

    def open(self, data: Path, *, allow_missing: bool = False) -> Dataset:
        names = self._listed(data)
        absent = [f"{name}.npy" for name in names if not (data / f"{name}.npy").is_file()]
        if absent and not allow_missing:
            raise UserError(f"{data} lacks {', '.join(absent)}; expected every video of val.txt")
        found = [name for name in names if f"{name}.npy" not in absent]
        if not found:
            raise UserError(f"{data} holds no video of its val.txt")
        files = {name: data / f"{name}.npy" for name in found}
        return Dataset(
            root=data,
            videos=tuple(StillVideo(name=name, length=self.protocol.frames, file=file) for name, file in files.items()),
            manifest_sha256=manifest_sha256((file.name, file) for file in files.values()),
            coverage=Coverage(
                listed=len(names),
                usable=len(found),
                official=OFFICIAL_VIDEOS,
                in_official=min(len(found), OFFICIAL_VIDEOS),
                missing=tuple(absent),
            ),
        )

    def check(self, data: Path) -> Sequence[str]:
        return [f"{name}.npy is missing" for name in self._listed(data) if not (data / f"{name}.npy").is_file()]

    def measure(self, encoder: Encoder, video: Any, tick: Callable[[], object] = lambda: None) -> Record:
        try:
            frames = np.load(video.file, allow_pickle=False)[: self.protocol.frames]
        except (ValueError, EOFError) as error:
            raise DamagedFile(f"{video.file} cannot be read: {error}") from None
        features = encoder.encode(frames)
        first, last = (features[t].reshape(-1, encoder.card.width) for t in (0, -1))
        for _ in range(video.length):
            tick()
        if self.protocol.similarity == "cosine":
            similarity = (last @ first.T) / np.linalg.norm(first, axis=1)
        else:
            similarity = -np.square(last[:, None] - first[None]).sum(-1)
        matched = int((similarity.argmax(1) == np.arange(len(last))).sum())
        return {"matched": matched, "patches": len(last)}

    def score(self, records: Sequence[Record]) -> dict[str, float]:
        patches = sum(record["patches"] for record in records)
        return {
            "matched": 100 * sum(record["matched"] for record in records) / patches,
            "chance": 100 * len(records) / patches,
        }

    def scene(self, video: str) -> str:
        return video.partition("_")[0]

    def artifacts(self, records: Sequence[Record]) -> dict[str, str]:
        rows = [f"{record['video']},{record['matched']},{record['patches']}\n" for record in records]
        return {"matched.csv": "video,matched,patches\n" + "".join(rows)}

    def _listed(self, data: Path) -> list[str]:
        if not (data / "val.txt").is_file():
            raise UserError(f"no {data / 'val.txt'}; expected a list of videos, one name a line")
        return (data / "val.txt").read_text().split()
