"""The encoder under examination: it is run on stimuli, its output is verified, and the passes are timed."""

import copy
import dataclasses
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ClipEncoder, Encoder, ImageEncoder, RecurrentEncoder
from rvm_bench.doctor import stimuli
from rvm_bench.doctor.verdict import Broken

GRIDS = ((6, 8), (4, 6), (3, 5))
"""Patches of a stimulus, the largest that fits the budget. Never square: a square hides a transposed grid."""

SMALL_GRID = (2, 3)
"""Patches of a stimulus where its size does not matter to what is measured."""

WORK = 22
"""About how many passes over the longest video an examination takes, for choosing the grid. Counted, not exact."""

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 1e-1}
"""Largest difference, in standard deviations of the features, that another batch size may make: matrix products of
another size sum in another order. Well above that noise (1e-5 in float32) and well below any real dependence."""

LEAK = 1e-5
"""Largest difference, in standard deviations, where shapes are equal and nothing should differ at all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """One pass over a video."""

    frames: int
    height_px: int
    width_px: int
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeResponse:
    """How the features of every frame answered when one input frame was replaced by another scene.

    Attributes:
        frame: the input frame that was replaced.
        rms_T, largest_T: per feature frame, the root mean square and the largest change, in standard deviations.
    """

    frame: int
    rms_T: np.ndarray
    largest_T: np.ndarray


class Subject:
    """An encoder under examination.

    Attributes:
        encoder, card: the encoder and what it says about itself.
        reload: makes the encoder anew, as it was made; None where the caller cannot.
        grid: patches of its full-size stimuli, (rows, columns).
        timings: every pass so far.
    """

    def __init__(self, encoder: Encoder, reload: Callable[[], Encoder] | None = None) -> None:
        self.encoder = encoder
        self.reload = reload
        self.card: EncoderCard = encoder.card
        self.grid = GRIDS[0]
        self.timings: list[Timing] = []

    @property
    def kind(self) -> str:
        kinds = {ImageEncoder: "image", ClipEncoder: "clip", RecurrentEncoder: "recurrent"}
        return next((name for base, name in kinds.items() if isinstance(self.encoder, base)), "other")

    @property
    def window(self) -> int:
        """Frames of the short video: one clip, or a few chunks of a model that sees one frame at a time."""
        return self.card.frames if self.card.frames > 1 else 7

    @property
    def tolerance(self) -> float:
        return TOLERANCE.get(self.encoder.dtype, TOLERANCE[torch.float32])

    def size(self, grid: tuple[int, int]) -> tuple[int, int]:
        """Height and width in pixels of a grid of whole patches."""
        return grid[0] * self.card.patch, grid[1] * self.card.patch

    @cached_property
    def short(self) -> np.ndarray:
        """One window of full-size frames."""
        return stimuli.drifting(self.window, *self.size(self.grid), seed=1)

    @cached_property
    def long(self) -> np.ndarray:
        """A clip model's second window, of 5 frames, after `short`; `short` itself for the others."""
        extra = 5 if self.card.frames > 1 else 0
        return stimuli.drifting(self.window + extra, *self.size(self.grid), seed=1)

    @cached_property
    def small(self) -> np.ndarray:
        """One clip of small frames, or two chunks of the usual 4."""
        return stimuli.drifting(self.card.frames if self.card.frames > 1 else 5, *self.size(SMALL_GRID), seed=2)

    @cached_property
    def short_features(self) -> np.ndarray:
        return self.features(self.short)

    @cached_property
    def long_features(self) -> np.ndarray:
        return self.short_features if len(self.long) == len(self.short) else self.features(self.long)

    def features(self, video: np.ndarray, encoder: Encoder | None = None) -> np.ndarray:
        """What `stream` yields for a private copy of the video, gathered: float32 [T, h, w, D].

        Raises:
            Broken: not a float32 tensor [n, H // patch, W // patch, width], or not T frames in all.
        """
        encoder = encoder or self.encoder
        frames, height, width = video.shape[:3]
        expected = (height // self.card.patch, width // self.card.patch, self.card.width)
        pieces: list[np.ndarray] = []
        start = time.perf_counter()
        for piece in encoder.stream(video.copy()):
            if not isinstance(piece, Tensor) or piece.dtype != torch.float32:
                what = piece.dtype if isinstance(piece, Tensor) else type(piece).__name__
                raise Broken(f"stream yields {what}; expected a float32 tensor")
            if piece.ndim != 4 or tuple(piece.shape[1:]) != expected:
                raise Broken(
                    f"features of {frames} frames of {height}x{width} px have shape {tuple(piece.shape)}; expected "
                    f"(n, {', '.join(map(str, expected))}) = [n, H // {self.card.patch}, W // {self.card.patch}, width]"
                )
            pieces.append(piece.detach().cpu().numpy().copy())
        seconds = time.perf_counter() - start
        returned = sum(map(len, pieces))
        if returned != frames:
            raise Broken(f"a video of {frames} frames gave {returned} feature maps; expected one per frame")
        if encoder is self.encoder:
            self.timings.append(Timing(frames=frames, height_px=height, width_px=width, seconds=seconds))
        return np.concatenate(pieces)

    def raw_output(self) -> Any:
        """What the adapter's own method returns for the small video, before the base class touches it.

        Image and recurrent encoders should return [T, h, w, D], clip encoders [1, F', h, w, D]. None for a fourth kind.
        """
        encoder, video = self.encoder, self.small.copy()
        with torch.inference_mode():
            if isinstance(encoder, ImageEncoder):
                return encoder.forward_frames(encoder.prepare(video))
            if isinstance(encoder, ClipEncoder):
                return encoder.forward_clip(encoder.prepare(video).transpose(0, 1)[None])
            if isinstance(encoder, RecurrentEncoder):
                return encoder.unroll(encoder.prepare(video), encoder.init_state(1, *video.shape[1:3]))[0]
        return None

    @cached_property
    def tubelet(self) -> float:
        """Frames that share one time step inside a clip model; 1 for the others."""
        if self.kind == "clip":
            return self.card.frames / self.raw_output().shape[1]
        return 1.0 if self.card.frames == 1 else 2.0

    @cached_property
    def time_responses(self) -> list[TimeResponse]:
        """Answers to one replaced frame: twice in one window, and once in a clip model's second window."""
        window = self.card.frames
        # Nowhere symmetric about the middle of the video or of the usual chunks, so that a reversal shows.
        places = [(self.long, window // 3), (self.long, window + 2), (self.short, window * 3 // 4)]
        if window == 1:
            places = [(self.short, t) for t in (1, 3, 6)]
        responses = []
        for seed, (video, frame) in enumerate(places):
            before = self.short_features if video is self.short else self.long_features
            after = self.features(stimuli.with_frame(video, frame, seed=100 + seed))
            change = np.abs(after.astype(np.float64) - before).reshape(len(video), -1) / spread(before)
            responses.append(
                TimeResponse(frame=frame, rms_T=np.sqrt((change**2).mean(1)), largest_T=change.max(1, initial=0))
            )
        return responses

    def with_chunk(self, chunk: int) -> Encoder:
        """The same encoder, sharing its weights, with another chunk."""
        other = copy.copy(self.encoder)
        other.chunk = chunk
        return other


def spread(features: np.ndarray) -> float:
    """Standard deviation of all values; 1 where they are constant or not finite."""
    with np.errstate(all="ignore"):
        deviation = float(features.std(dtype=np.float64))
    return deviation if np.isfinite(deviation) and deviation > 0 else 1.0


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Largest absolute difference in standard deviations of `other`; 0 where equal in every bit, NaN included."""
    if np.array_equal(one, other, equal_nan=True):
        return 0.0
    with np.errstate(all="ignore"):
        largest = float(np.abs(one.astype(np.float64) - other).max())
    return largest / spread(other) if np.isfinite(largest) else float("inf")


def described(relative: float) -> str:
    """A difference in words."""
    return "equal in every bit" if relative == 0 else f"{relative:.1e} of their standard deviation"
