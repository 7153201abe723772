"""What the propagation tasks share: verified data, and a video streamed through encoder and propagator.

A task adds the label map of frame 0, the read-out of its soft labels, and the metric.
"""

import abc
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from propagation.datasets.split import VerifiedSplit
from propagation.knn import Propagator, normalize
from propagation.tasks.protocol import PropagationProtocol
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.task import Dataset, SavesPredictions, Task
from rvm_bench.media.images import FrameFiles, image_size

P = TypeVar("P", bound=PropagationProtocol)


class PropagationTask(SavesPredictions, Task[P], Generic[P]):
    """A task that propagates labels of frame 0 through a video."""

    @abc.abstractmethod
    def read(self, data: Path) -> VerifiedSplit:
        """The evaluated split of the copy under `data`, every file decoded.

        Raises:
            UserError: the lists of the split are missing or cannot be parsed.
        """

    @abc.abstractmethod
    def first_heat(self, encoder: Encoder, video: Any) -> np.ndarray:
        """Labels of frame 0 on the encoder's grid, float32 [h, w, K]."""

    @abc.abstractmethod
    def prediction_files(self, folder: Path, video: Any) -> list[Path]:
        """The files below `folder` that hold the predictions of a video."""

    def open(self, data: Path, *, allow_missing: bool = False) -> Dataset:
        return self.read(data).dataset(self.name, allow_missing=allow_missing)

    def check(self, data: Path) -> list[str]:
        return self.read(data).check()

    def estimate_seconds(self, encoder: Encoder, dataset: Dataset) -> float:
        video: Any = dataset.videos[0]
        heat = self.first_heat(encoder, video)
        return dataset.frames * seconds_per_frame(encoder, video.frames, heat, self.protocol)

    def lacks_predictions(self, video: Any) -> bool:
        folder = self.predictions
        return folder is not None and not all(file.exists() for file in self.prediction_files(folder, video))


def soft_labels(
    encoder: Encoder, frames: Sequence[Path], heat: np.ndarray, protocol: PropagationProtocol
) -> Iterator[Tensor]:
    """The propagated labels of every frame in turn, frame 0 included: float32 [h, w, K] on the encoder's device.

    Frames are read, encoded and propagated one chunk after the other: memory does not grow with the video.

    Args:
        frames: image files in time order.
        heat: labels of frame 0 on the encoder's grid, float32 [h, w, K].
    """
    propagator = new_propagator(heat, protocol, encoder.device)
    for chunk in encoder.stream(resized(frames, protocol)):
        for features in chunk:
            yield propagator.step(normalize(features) if protocol.normalize else features)


def seconds_per_frame(
    encoder: Encoder, frames: Sequence[Path], heat: np.ndarray, protocol: PropagationProtocol
) -> float:
    """Wall time of one frame: encoding, timed on one chunk, and a propagation step with a full context, timed once."""
    probe = resized(frames[: max(encoder.chunk, encoder.card.frames)], protocol)
    # A first pass that is not timed, since it allocates memory and loads kernels.
    maps = [chunk.shape for chunk in encoder.stream(probe)]
    start = time.perf_counter()
    for _ in encoder.stream(probe):
        pass
    encoding_s = (time.perf_counter() - start) / sum(shape[0] for shape in maps)
    propagator = new_propagator(heat, protocol, encoder.device)
    past, present = normalize(torch.randn(2, *maps[0][1:], device=encoder.device))
    for _ in range(protocol.n_context + 1):
        propagator.append(past)
    start = time.perf_counter()
    # CUDA is asynchronous: the copy to the CPU synchronises before the clock is read.
    propagator.step(present).cpu()
    return encoding_s + time.perf_counter() - start


def resized(frames: Sequence[Path], protocol: PropagationProtocol) -> FrameFiles:
    """The video at the size of the encoder's input, decoded as it is sliced."""
    return FrameFiles(frames, protocol.input_size(image_size(frames[0])), protocol.resize)


def new_propagator(heat: np.ndarray, protocol: PropagationProtocol, device: torch.device) -> Propagator:
    """A propagator with the protocol's rules. `heat`: labels of frame 0, float32 [h, w, K]."""
    return Propagator(torch.from_numpy(heat).to(device), **dataclasses.asdict(protocol.rules))
