"""The encoder contract: a frozen backbone maps a video to one feature map per input frame.

    uint8 [T, H, W, 3] RGB  ->  float32 [T, h, w, D],    (h, w) = (H // patch, W // patch)

Three base classes implement batching, windows and recurrence, so that an adapter writes one or two methods. Features
are not normalised: label propagation normalises each token (L2), readouts begin with a LayerNorm.

Shape letters: T frames of a video, N frames of a batch, B clips, H W pixels, h w grid cells, D channels.
"""

import abc
import contextlib
import copy
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from rvm_bench.api import tensors
from rvm_bench.api.card import EncoderCard, Provenance
from rvm_bench.api.contract import check_features, check_pair, check_tensor, check_video
from rvm_bench.errors import UserError, unknown_name

TAPS = ("propagation", "readout")
"""The task families; each may read a different layer of a model."""


class VideoLike(Protocol):
    """A uint8 array [T, H, W, 3], or a lazy reader of that shape that decodes frames when it is sliced."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, frames: slice, /) -> np.ndarray: ...


class Encoder(abc.ABC):
    """A frozen backbone. Subclass one of the three below; override `stream` only for a fourth kind.

    Attributes:
        card: metadata of the model.
        device, dtype: of the computation. Features are returned as float32 whatever the dtype.
        pixel_dtype: dtype of the frames that the network gets; None: `dtype`.
        chunk: frames per forward pass; a larger one takes more memory and has less overhead. It may change the last
            bits of the features, so it is part of a run's fingerprint.
        weights: provenance of the weights, a `Provenance` or a dict of its fields; "not stated" unless set.
        options: loading options beyond the card (rules, seeds), as JSON values; part of a run's fingerprint.
        modules: names of further modules whose code made the encoder; `load_encoder` sets it.
        requested: arguments of `load_encoder`: "model", "weights" and "options", as JSON values.
        tap: the task family whose layer is read, one of `TAPS`; `at` changes it. Most models have one layer for all.
    """

    card: EncoderCard
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    pixel_dtype: torch.dtype | None = None
    chunk: int = 4
    tap: str = "propagation"
    weights: Provenance | Mapping[str, Any]
    options: dict[str, Any]
    modules: tuple[str, ...] = ()
    requested: Mapping[str, Any] = MappingProxyType({})

    def __new__(cls, *arguments: Any, **options: Any) -> "Encoder":
        # Not in __init__: adapters need not call super().__init__().
        encoder = super().__new__(cls)
        encoder.weights = getattr(cls, "weights", None) or Provenance()
        encoder.options = {}
        return encoder

    @abc.abstractmethod
    def stream(self, video: VideoLike) -> Iterator[Tensor]:
        """Feature maps in time order, a few frames at a time, as float32 [n, h, w, D] on `self.device`.

        Memory is bounded by the chunk and the model's state, not by the length of the video.
        """

    def encode(self, video: np.ndarray | Tensor, tap: str | None = None) -> np.ndarray:
        """One feature map per frame of a whole video.

        Args:
            video: uint8 [T, H, W, 3] RGB, any length, H and W at least one patch.
            tap: read the layer of this task family, one of `TAPS`; None: `self.tap`.

        Returns:
            float32 [T, h, w, D] with (h, w) = (H // patch, W // patch), row-major over the image.

        Raises:
            UserError: the video is not uint8 [T, H, W, 3], or smaller than a patch; or an unknown tap.
        """
        if tap not in (None, self.tap):
            return self.at(tap).encode(video)
        array = video.cpu().numpy() if isinstance(video, Tensor) else np.asarray(video)
        check_video(array.shape, array.dtype, self.card)
        maps = np.empty((len(array), *self.grid(*array.shape[1:3]), self.card.width), np.float32)
        done = 0
        with self.frozen():
            for features in self.stream(array):
                maps[done : done + len(features)] = features.cpu().numpy()
                done += len(features)
        return maps

    def clips(self, clips: np.ndarray, *, fill: bool = False) -> Tensor:
        """Feature maps of a batch of independent clips of the same size, as readouts are trained on.

        Args:
            clips: uint8 [B, T, H, W, 3] RGB.
            fill: pad the last group of clips to full size, so that a clip's features are bitwise independent of how
                many clips are encoded in the same call. Costs up to one group.

        Returns:
            float32 [B, T, h, w, D] on `self.device`, without autograd graph; equal to `stream` of each clip up to
            rounding.

        Raises:
            UserError: the clips are not uint8 [B, T, H, W, 3] with B >= 1, or smaller than a patch.
        """
        if clips.ndim != 5 or not len(clips):
            raise UserError(f"clips have shape {clips.shape}; expected uint8 [B, T, H, W, 3] with B >= 1")
        check_video(clips.shape[1:], clips.dtype, self.card)
        group = self.clips_per_pass(clips.shape[1])
        count = len(clips)
        if fill and count % group:
            clips = np.concatenate([clips, np.repeat(clips[:1], -count % group, axis=0)])
        maps = [self.encode_group(clips[start : start + group]) for start in range(0, len(clips), group)]
        # Outside of inference mode: autograd cannot save inference tensors for backward.
        return torch.cat(maps)[:count]

    def clips_per_pass(self, frames: int) -> int:
        """Number of clips of this many frames per call of `encode_group`; override both together."""
        return 1

    def encode_group(self, clips: np.ndarray) -> Tensor:
        """Feature maps of up to `clips_per_pass` clips; override it if a batch is faster than `stream` of each clip.

        Args:
            clips: uint8 [B, T, H, W, 3] RGB, B <= clips_per_pass(T).

        Returns:
            float32 [B, T, h, w, D] on `self.device`.
        """
        return torch.stack([torch.cat(list(self.stream(clip))) for clip in clips])

    def at(self, tap: str) -> Self:
        """A copy that shares the weights and reads the layer of another task family.

        Raises:
            UserError: an unknown tap.
        """
        if tap not in TAPS:
            raise unknown_name("tap", tap, TAPS)
        other = copy.copy(self)
        other.tap = tap
        return other

    def grid(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Rows and columns of the feature map of a frame of this size."""
        return height_px // self.card.patch, width_px // self.card.patch

    def to(self, device: torch.device | str) -> "Encoder":
        """Moves the encoder's networks to a device, in evaluation mode and without gradients, and returns the encoder.

        Inside of `frozen`, the modes and gradient flags are restored on exit.
        """
        self.device = torch.device(device)
        tensors.move_frozen(self, self.device, base=Encoder)
        return self

    def frozen(self) -> contextlib.AbstractContextManager[None]:
        """Context in which all networks are in evaluation mode and without gradients; both are restored on exit."""
        return tensors.frozen(self, base=Encoder)

    @property
    def provenance(self) -> Provenance:
        """`weights` as a `Provenance`, also if a plug-in assigned a dict.

        Raises:
            UserError: it is neither.
        """
        return Provenance.of(self.weights)

    def tensors_xxh128(self) -> str | None:
        """Hash of the current bytes of every tensor that the encoder computes with; None if there is none.

        Covers networks, tensors and arrays in attributes, containers, class attributes and closures. Excluded are the
        attributes named in a class attribute `derived`: caches and others that follow from the rest.
        """
        return tensors.tensors_xxh128(self, base=Encoder)

    def weights_sha256(self) -> str | None:
        """Identity of the weights: the checkpoint's sha256, or else `tensors_xxh128`."""
        return self.provenance.sha256 or self.tensors_xxh128()

    def describe(self) -> dict[str, Any]:
        """What identifies the encoder in a run's fingerprint, as JSON values; hashes are computed on each call."""
        hashed = self.tensors_xxh128()
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "card": self.card.to_dict(),
            "weights": {"kind": self.provenance.kind, "sha256": self.provenance.sha256 or hashed},
            "tensors_xxh128": hashed,
            "dtype": str(self.dtype).removeprefix("torch."),
            "pixel_dtype": str(self.pixel_dtype or self.dtype).removeprefix("torch."),
            "chunk": self.chunk,
            "tap": self.tap,
            "options": self.options,
            "requested_options": dict(self.requested.get("options", {})),
        }

    def prepare(self, frames: np.ndarray) -> Tensor:
        """uint8 [n, H, W, 3] -> normalised [n, 3, H, W] on `self.device`, in `pixel_dtype` (or `dtype` if None)."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        mean, std = (
            torch.tensor(values, device=self.device).view(3, 1, 1)
            for values in (self.card.pixel_mean, self.card.pixel_std)
        )
        if mean.any() or (std != 1).any():
            pixels.sub_(mean).div_(std)
        return pixels.to(self.pixel_dtype or self.dtype)

    def _method(self, name: str) -> str:
        return f"{type(self).__name__}.{name}"


class ImageEncoder(Encoder):
    """An encoder of single frames. The adapter writes `forward_frames`."""

    @abc.abstractmethod
    def forward_frames(self, frames: Tensor) -> Tensor:
        """Normalised frames [N, 3, H, W] -> features [N, h, w, D], N <= `chunk`."""

    @torch.inference_mode()
    def stream(self, video: VideoLike) -> Iterator[Tensor]:
        for start in range(0, video.shape[0], self.chunk):
            frames = self.prepare(video[start : start + self.chunk])
            expected = (len(frames), *self.grid(*frames.shape[-2:]))
            yield check_features(self.forward_frames(frames), expected, self.card, self._method("forward_frames"))

    def clips_per_pass(self, frames: int) -> int:
        return max(1, self.chunk // frames)

    def encode_group(self, clips: np.ndarray) -> Tensor:
        return torch.cat(list(self.stream(clips.reshape(-1, *clips.shape[2:])))).unflatten(0, clips.shape[:2])


class ClipEncoder(Encoder):
    """An encoder of clips of `card.frames` frames. The adapter writes `forward_clip`.

    Windows do not overlap and are independent. The last one is padded with zeros *after* pixel normalisation, so the
    padding is the mean colour rather than black. Inside each window, features are interpolated in time from tubelets
    to frames by `time_rule`. Source: official evaluation notebook, feature cells of VideoMAE, V-JEPA (trilinear) and
    4DS (cubic).

    Attributes:
        time_rule: "linear" (half-pixel centres, clamped) or "cubic" (Keys a=-0.5, antialiased, as jax.image.resize).
    """

    time_rule: str = "linear"

    @abc.abstractmethod
    def forward_clip(self, clips: Tensor) -> Tensor:
        """Normalised clips [B, 3, F, H, W], F = card.frames -> features [B, F', h, w, D], F' tubelets."""

    @torch.inference_mode()
    def stream(self, video: VideoLike) -> Iterator[Tensor]:
        for start in range(0, video.shape[0], self.card.frames):
            yield self._window(self.prepare(video[start : start + self.card.frames])[None])[0]

    def clips_per_pass(self, frames: int) -> int:
        return max(1, self.chunk // self.card.frames)

    @torch.inference_mode()
    def encode_group(self, clips: np.ndarray) -> Tensor:
        windows = []
        for start in range(0, clips.shape[1], self.card.frames):
            part = clips[:, start : start + self.card.frames]
            frames = self.prepare(part.reshape(-1, *part.shape[2:]))
            windows.append(self._window(frames.unflatten(0, part.shape[:2])))
        return torch.cat(windows, dim=1)

    def _window(self, frames: Tensor) -> Tensor:
        """Normalised frames of one window of several videos, [B, n, 3, H, W] with n <= F -> [B, n, h, w, D]."""
        window, count, method = self.card.frames, frames.shape[1], self._method("forward_clip")
        padding = frames.new_zeros(len(frames), window - count, *frames.shape[2:])
        output = self.forward_clip(torch.cat([frames, padding], dim=1).transpose(1, 2))
        tubes = check_tensor(output, method, "[B, F', h, w, D]").float()
        if tubes.ndim != 5 or len(tubes) != len(frames):
            raise UserError(
                f"{method} returned features of shape {tuple(tubes.shape)}; expected [B, F', h, w, D] with B = "
                f"{len(frames)}"
            )
        expected = (count, *self.grid(*frames.shape[-2:]))
        maps = (resize_time(one, window, self.time_rule)[:count] for one in tubes)
        return torch.stack([check_features(one, expected, self.card, method) for one in maps])


class RecurrentEncoder(Encoder):
    """An encoder with a state that is carried over the whole video. The adapter writes `init_state` and `step`.

    If only a core of the network is recurrent, override `unroll` to run the rest on batches of frames.
    """

    @abc.abstractmethod
    def init_state(self, batch: int, height_px: int, width_px: int) -> Any:
        """State before the first frame, for `batch` videos of this size."""

    @abc.abstractmethod
    def step(self, frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One time step: normalised [B, 3, H, W] and state -> features [B, h, w, D] and next state."""

    def unroll(self, frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        """n time steps of one video: normalised [n, 3, H, W] and state -> features [n, h, w, D] and next state."""
        features = []
        for frame in frames:
            feature, state = check_pair(self.step(frame[None], state), self._method("step"))
            features.append(check_tensor(feature, self._method("step"), "[B, h, w, D]")[0])
        return torch.stack(features), state

    @torch.inference_mode()
    def stream(self, video: VideoLike) -> Iterator[Tensor]:
        _, height, width, _ = video.shape
        state = self.init_state(1, height, width)
        for start in range(0, video.shape[0], self.chunk):
            frames = self.prepare(video[start : start + self.chunk])
            features, state = check_pair(self.unroll(frames, state), self._method("unroll"))
            yield check_features(features, (len(frames), *self.grid(height, width)), self.card, self._method("step"))

    def clips_per_pass(self, frames: int) -> int:
        return self.chunk

    @torch.inference_mode()
    def encode_group(self, clips: np.ndarray) -> Tensor:
        """Steps through all videos in parallel, one frame of each at a time; a single video goes through `stream`."""
        if len(clips) == 1:
            return super().encode_group(clips)
        state = self.init_state(len(clips), *clips.shape[2:4])
        expected = (len(clips), *self.grid(*clips.shape[2:4]))
        steps = []
        for time in range(clips.shape[1]):
            features, state = check_pair(self.step(self.prepare(clips[:, time]), state), self._method("step"))
            steps.append(check_features(features, expected, self.card, self._method("step")))
        return torch.stack(steps, dim=1)


def resize_time(tubes: Tensor, frames: int, rule: str) -> Tensor:
    """Features per tubelet [F', h, w, D] -> per frame [frames, h, w, D], by "linear" or "cubic" interpolation."""
    count, h, w, channels = tubes.shape
    if count == frames:
        return tubes
    # Time is the width of a one-row image, all other axes are its channels. Not the height of a one-column image:
    # there, torch 2.13's antialiased CPU kernel repeats the first output row.
    rows = tubes.permute(1, 2, 3, 0).reshape(1, h * w * channels, 1, count)
    mode = {"linear": "bilinear", "cubic": "bicubic"}[rule]
    out = nn.functional.interpolate(rows, size=(1, frames), mode=mode, align_corners=False, antialias=rule == "cubic")
    return out.reshape(h, w, channels, frames).permute(3, 0, 1, 2).contiguous()
