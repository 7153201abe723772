"""Propagation through a video of image files: read, encode, propagate, frame after frame, in memory that does not grow.

What the three tasks share; each adds its own label map, read-out and metric.
"""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from propagation.knn.propagator import Propagator, normalize
from propagation.knn.rules import Rules
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overrides import check_choices
from rvm_bench.api.task import Protocol, constant
from rvm_bench.errors import UserError
from rvm_bench.media.images import FrameFiles, image_size

NOTEBOOK = "official evaluation notebook (representations4d, rvm_evaluation_demo)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PropagationProtocol(Protocol):
    """The constants that the propagation tasks of the paper have in common.

    Where the paper and the released notebook differ, the notebook is followed, since it made the numbers. Every
    constant is acted upon: those below `normalize` are the choices of `propagation.knn.rules.Rules`, where other code
    bases go other ways.

    Raises:
        UserError: a value out of range, or a choice that is none.
    """

    input_height_px: int
    input_width_px: int
    resize: Literal["lanczos-uint8", "bilinear-uint8"] = constant(
        "lanczos-uint8", f"{NOTEBOOK}: mediapy.resize_video on uint8 frames; DINO: bilinear"
    )
    topk: int = constant(7, "paper Table 8")
    temperature: float = constant(0.7, "paper Table 8; softmax after the top-k, as in the notebook")
    n_context: int = constant(20, "paper Table 8; beside frame 0, and the queue starts as 20 copies of it (notebook)")
    radius: float = constant(
        20, "paper Table 8; Euclidean distance in cells, strictly less, not for frame 0 (notebook)"
    )
    normalize: bool = constant(True, f"{NOTEBOOK}: L2 per token, float32, before propagation")

    distance: Literal["euclidean", "chebyshev"] = constant("euclidean", f"{NOTEBOOK}; DINO: a box, chebyshev")
    exempt_first: bool = constant(True, f"{NOTEBOOK}: the radius is not applied to frame 0; DINO: it is")
    fill: Literal["first", "empty"] = constant("first", f"{NOTEBOOK}: n_context copies of frame 0; DINO: empty")
    keep_ties: bool = constant(False, f"{NOTEBOOK}: torch.topk, exactly topk votes; DINO: all that equal the last")
    first_from: Literal["propagated", "given"] = constant(
        "propagated", f"{NOTEBOOK}: frame 0 is propagated from itself; DINO, videowalk: given"
    )

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("input_height_px", "input_width_px"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        _ = self.rules

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width in pixels of the frames that the encoder sees, where they are the same for every video."""
        return self.input_height_px, self.input_width_px

    def input_size(self, native_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width in pixels of the frames that the encoder sees of a video of this native size."""
        return self.input_hw

    @property
    def rules(self) -> Rules:
        """Who votes for a cell, and with what weight."""
        return Rules(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Rules)})


def soft_labels(
    encoder: Encoder, frames: Sequence[Path], heat: np.ndarray, protocol: PropagationProtocol
) -> Iterator[Tensor]:
    """The propagated labels of every frame in turn, frame 0 included: float32 [h, w, K] on the encoder's device.

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
    """Wall time of one frame: of a chunk of frames encoded, and of a step with a full context of random features."""
    probe = resized(frames[: max(encoder.chunk, encoder.card.frames)], protocol)
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
    propagator.step(present).cpu()
    return encoding_s + time.perf_counter() - start


def resized(frames: Sequence[Path], protocol: PropagationProtocol) -> FrameFiles:
    """The video as the encoder sees it."""
    return FrameFiles(frames, protocol.input_size(image_size(frames[0])), protocol.resize)


def new_propagator(heat: np.ndarray, protocol: PropagationProtocol, device: torch.device) -> Propagator:
    """A propagator under the protocol's rules. `heat`: labels of frame 0, float32 [h, w, K]."""
    return Propagator(torch.from_numpy(heat).to(device), **dataclasses.asdict(protocol.rules))
