"""Models of transformers as encoders: their output becomes a feature grid, or is refused in one line.

There is no table of architectures. The signature of `forward` tells how to call a model, and one pass over blank images
of the native size tells what it returns. Only video models are listed, because token order cannot be detected.
"""

import dataclasses
import inspect
import re
from typing import Any

import torch
from torch import Tensor, nn

from baselines.hub.frame_size import first_line, refused_sizes
from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ClipEncoder, ImageEncoder
from rvm_bench.errors import UserError
from rvm_bench.nn.positions import resize_positions

VIDEO_TYPES = ("videomae", "vivit", "vjepa2")
"""Clip models whose tokens are ordered time slot, row, column. TimeSformer's, for example, are ordered patch, time."""

KINDS = f"ViTs, conv nets and CLIP-like vision towers that need pixel_values alone; {', '.join(VIDEO_TYPES)}"

PREFIX_TOKEN = re.compile(r"(^|_)(cls|class|register|distillation)_(token|embedding)s?$")
"""Parameters that are prefix tokens. YOLOS's detection_tokens follow the grid, and do not match."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Shapes of a network's input and output.

    Attributes:
        patch: side of a patch, or stride of a feature map, in pixels.
        width: channels.
        prefix: prefix tokens, which are dropped; None if the network returns a map [N, D, h, w].
        native_px: height and width that its positions were trained for.
        frames, tubelet: frames per clip and per time slot; 1 for image models.
    """

    patch: int
    width: int
    prefix: int | None
    native_px: tuple[int, int]
    frames: int = 1
    tubelet: int = 1


class HubImageEncoder(ImageEncoder):
    """An image model: `last_hidden_state` without prefix tokens, or the last feature map."""

    def __init__(self, card: EncoderCard, network: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.card = card
        self.network = network
        self.layout = layout

    def forward_frames(self, frames: Tensor) -> Tensor:
        h, w = self.grid(*frames.shape[-2:])
        pixels = frames[..., : h * self.card.patch, : w * self.card.patch]
        hidden = last_hidden_state(self.network, pixels, self.layout, self.card.name)
        if self.layout.prefix is None:
            return hidden.permute(0, 2, 3, 1)
        return _grid(hidden, self.layout.prefix, (h, w), self.card.name)


class HubClipEncoder(ClipEncoder):
    """A clip model: `last_hidden_state` without prefix tokens, one map per tubelet."""

    def __init__(self, card: EncoderCard, network: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.card = card
        self.network = network
        self.layout = layout

    def forward_clip(self, clips: Tensor) -> Tensor:
        h, w = self.grid(*clips.shape[-2:])
        pixels = clips[..., : h * self.card.patch, : w * self.card.patch].transpose(1, 2)
        set_grid(self.network, (h, w), self.layout)
        hidden = last_hidden_state(self.network, pixels, self.layout, self.card.name)
        return _grid(hidden, self.layout.prefix or 0, (clips.shape[2] // self.layout.tubelet, h, w), self.card.name)


def last_hidden_state(network: nn.Module, pixels: Tensor, layout: Layout, name: str) -> Tensor:
    """The network's output for pixels [N, 3, H, W] or [B, T, 3, H, W], with all patches visible and in order.

    Raises:
        UserError: the network cannot take frames of this size.
    """
    size_px = (pixels.shape[-2], pixels.shape[-1])
    parameters = inspect.signature(network.forward).parameters
    arguments: dict[str, Any] = {str(network.main_input_name): pixels}
    if "interpolate_pos_encoding" in parameters and size_px != layout.native_px and pixels.ndim == 4:
        arguments["interpolate_pos_encoding"] = True
    if "noise" in parameters:  # ViT-MAE sorts patches by noise before masking; increasing noise keeps their order
        patches = (size_px[0] // layout.patch) * (size_px[1] // layout.patch)
        arguments["noise"] = torch.arange(patches, device=pixels.device).expand(len(pixels), -1)
    if "skip_predictor" in parameters:
        arguments["skip_predictor"] = True
    with refused_sizes(name, size_px, layout.native_px):
        return network(**arguments).last_hidden_state


def image_layout(network: nn.Module, config: Any, name: str) -> Layout:
    """The layout of an image model, from one forward pass over two blank images of its native size.

    Raises:
        UserError: the output is not recognised as a grid of features.
    """
    patch = _one_number(getattr(config, "patch_size", None), "patch_size", name)
    # Without patch_size it is a conv net: 224 is a multiple of every usual stride, its image_size may not be.
    native_px = _pair((getattr(config, "image_size", None) if patch else 0) or 14 * (patch or 16))
    # Two images, because some models pack all images of a batch into one sequence.
    parameter = next(network.parameters())
    blank = torch.zeros(2, 3, *native_px, dtype=parameter.dtype, device=parameter.device)
    guess = Layout(patch=patch or 1, width=0, prefix=0, native_px=native_px)
    try:
        hidden = last_hidden_state(network, blank, guess, name)
        shape = tuple(hidden.shape)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise _unsupported(
            config, f"fails on a blank image of {native_px[0]}x{native_px[1]} px ({first_line(error)})"
        ) from error
    if len(shape) == 4 and shape[0] == 2:
        stride = native_px[0] // shape[2]
        if (shape[2] * stride, shape[3] * stride) == native_px:
            return Layout(patch=stride, width=shape[1], prefix=None, native_px=native_px)
    elif len(shape) == 3 and shape[0] == 2 and patch:
        prefix = shape[1] - (native_px[0] // patch) * (native_px[1] // patch)
        if prefix in (0, prefix_tokens(network)):
            return Layout(patch=patch, width=shape[2], prefix=prefix, native_px=native_px)
    raise _unsupported(
        config,
        f"returns {list(shape)} for two images of {native_px[0]}x{native_px[1]} px, where patch_size "
        f"{patch} and {prefix_tokens(network)} known prefix tokens leave no grid of features",
    )


def video_layout(config: Any, name: str, frames: int | None = None) -> Layout:
    """The layout of a clip model, from its config. Prefix tokens are set to 0; `prefix_tokens` counts them.

    Args:
        frames: clip length; None: the config's. Only V-JEPA 2, whose positions are computed, takes another.

    Raises:
        UserError: an unusable clip length, or patches that are not square.
    """
    tubelet = getattr(config, "tubelet_size", None) or 1
    patch = getattr(config, "patch_size", None)
    if not isinstance(tubelet, int):  # ViViT: (t, h, w)
        tubelet, patch = tubelet[0], list(tubelet[1:])
    trained = getattr(config, "num_frames", getattr(config, "frames_per_clip", None))
    if frames is not None and frames != trained and config.model_type != "vjepa2":
        raise UserError(f"{name} takes clips of {trained} frames only, its positions are made for them; not {frames}")
    length = frames if frames is not None else trained
    if not isinstance(length, int) or length < tubelet or length % tubelet:
        raise UserError(
            f"{name}: {length} frames is no usable clip length; expected a multiple of its {tubelet}-frame tubelet"
        )
    side = _one_number(patch, "patch_size", name)
    size = getattr(config, "image_size", None) or getattr(config, "crop_size", None)
    if not (side and size):
        raise _unsupported(config, "has no patch_size and image_size in its config")
    return Layout(
        patch=side,
        width=config.hidden_size,
        prefix=0,
        native_px=_pair(size),
        frames=length,
        tubelet=tubelet,
    )


def prefix_tokens(network: nn.Module) -> int:
    """Number of prefix tokens among a network's parameters, each [D], [n, D] or [1, n, D]."""
    tokens = (p for name, p in network.named_parameters() if PREFIX_TOKEN.search(name.rpartition(".")[2]))
    return sum(1 if token.ndim == 1 else token.shape[-2] for token in tokens)


def set_grid(network: Any, grid: tuple[int, int], layout: Layout) -> None:
    """Resizes the positions of VideoMAE and V-JEPA 2 to a grid; at the native grid they are transformers' own."""
    native = (layout.native_px[0] // layout.patch, layout.native_px[1] // layout.patch)
    kind = network.config.model_type
    if kind == "videomae":
        _set_videomae_grid(network, grid, native, layout)
    elif kind == "vjepa2":
        for module in network.modules():
            if hasattr(module, "get_position_ids"):
                vars(module).pop("get_position_ids", None)
                if grid != native:
                    module.get_position_ids = _RotaryGrid(grid, native)


def _set_videomae_grid(network: Any, grid: tuple[int, int], native: tuple[int, int], layout: Layout) -> None:
    """Resizes the sinusoid table bicubically, per time slot. Source: evaluation notebook, VideoMAE feature cell."""
    embeddings = network.embeddings
    size_px = (grid[0] * layout.patch, grid[1] * layout.patch)
    if tuple(embeddings.patch_embeddings.image_size) == size_px:
        return
    if not hasattr(embeddings, "native_positions"):
        embeddings.native_positions = embeddings.position_embeddings
    table = embeddings.native_positions
    if grid != native:
        slots = table[0].view(layout.frames // layout.tubelet, *native, layout.width)
        table = resize_positions(slots, (len(slots), *grid), "bicubic").flatten(0, 2)[None]
    embeddings.position_embeddings = table
    embeddings.patch_embeddings.image_size = size_px


class _RotaryGrid:
    """V-JEPA 2's rotary positions on another grid: the trained grid's rows and columns, interpolated linearly.

    transformers numbers tokens by the trained grid whatever the frame size, so tokens of different rows would mix.
    """

    def __init__(self, grid: tuple[int, int], native: tuple[int, int]) -> None:
        self.grid = grid
        self.native = native

    def __call__(self, x: Tensor, masks: None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Time slots, rows and columns of tokens [B, n, D], each [n]."""
        h, w = self.grid
        slots = torch.arange(x.shape[1] // (h * w), device=x.device, dtype=x.dtype)
        rows, columns = (
            _interpolated_range(count, size).to(x.device, x.dtype)
            for count, size in zip(self.native, self.grid, strict=True)
        )
        t, y, x_ = torch.meshgrid(slots, rows, columns, indexing="ij")
        return t.flatten(), y.flatten(), x_.flatten()


def _interpolated_range(count: int, size: int) -> Tensor:
    """0..count-1 interpolated to `size` values: half-pixel centres, clamped at the ends."""
    numbers = torch.arange(count, dtype=torch.float32).view(1, 1, -1)
    return nn.functional.interpolate(numbers, size=size, mode="linear", align_corners=False).flatten()


def _grid(hidden: Tensor, prefix: int, grid: tuple[int, ...], name: str) -> Tensor:
    """Tokens [N, prefix + prod(grid), D] -> [N, *grid, D]; UserError for another number of tokens."""
    cells = torch.Size(grid).numel()
    if hidden.ndim != 3 or hidden.shape[1] != prefix + cells:
        raise UserError(
            f"{name} returned {list(hidden.shape)}; expected {prefix} prefix tokens and {cells} of the grid"
        )
    return hidden[:, prefix:].unflatten(1, grid)


def _unsupported(config: Any, what: str) -> UserError:
    return UserError(f"model type {config.model_type!r} is not supported: it {what}; supported: {KINDS}")


def _one_number(value: Any, what: str, name: str) -> int | None:
    """A number, or equal numbers, as one number; None if there is none."""
    numbers = set(value) if isinstance(value, (list, tuple)) else {value}
    if len(numbers) != 1:
        raise UserError(f"{name}: {what} {value} is not square; expected one number")
    return numbers.pop()


def _pair(size: Any) -> tuple[int, int]:
    return (int(size[0]), int(size[1])) if isinstance(size, (list, tuple)) else (int(size), int(size))
