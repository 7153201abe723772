"""Models of transformers as encoders: what they return becomes a feature grid, or is refused in one line.

No table of architectures: which arguments `forward` takes says how to call it, and one pass over a blank image of the
native size says what it returns. Only video models are named, because their order of tokens cannot be seen.
"""

import dataclasses
import inspect
import re
from typing import Any

import torch
from torch import Tensor, nn

from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ClipEncoder, ImageEncoder
from rvm_bench.errors import UserError
from rvm_bench.nn.positions import resize_positions

VIDEO_TYPES = ("videomae", "vivit", "vjepa2")
"""Clip models whose tokens come slot by slot, row by row. TimeSformer's, for one, come patch by patch."""

KINDS = f"ViTs, conv nets and CLIP-like vision towers that need pixel_values alone; {', '.join(VIDEO_TYPES)}"

PREFIX_TOKEN = re.compile(r"(^|_)(cls|class|register|distillation)_(token|embedding)s?$")
"""Parameters that are tokens before the grid. YOLOS's detection_tokens, behind it, are not among them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What a network takes and returns.

    Attributes:
        patch: side of a patch, or stride of a map, in pixels.
        width: channels.
        prefix: tokens before the grid, which are dropped; None where it returns a map [N, D, h, w].
        native_px: height and width for which its positions were made.
        frames, tubelet: frames of a clip, and of one time slot; 1 for images.
    """

    patch: int
    width: int
    prefix: int | None
    native_px: tuple[int, int]
    frames: int = 1
    tubelet: int = 1


class HubImageEncoder(ImageEncoder):
    """Any image model: `last_hidden_state` without its prefix tokens, or its last map."""

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
    """VideoMAE and its like: `last_hidden_state` of clips, one map per tubelet."""

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
    """What a network returns for pixels [N, 3, H, W] or [B, T, 3, H, W], all patches visible and in their order.

    Raises:
        UserError: the network cannot take frames of this size.
    """
    size_px = (pixels.shape[-2], pixels.shape[-1])
    parameters = inspect.signature(network.forward).parameters
    arguments: dict[str, Any] = {str(network.main_input_name): pixels}
    if "interpolate_pos_encoding" in parameters and size_px != layout.native_px and pixels.ndim == 4:
        arguments["interpolate_pos_encoding"] = True
    if "noise" in parameters:  # ViT-MAE orders patches by noise before it drops some; growing noise keeps their order
        patches = (size_px[0] // layout.patch) * (size_px[1] // layout.patch)
        arguments["noise"] = torch.arange(patches, device=pixels.device).expand(len(pixels), -1)
    if "skip_predictor" in parameters:
        arguments["skip_predictor"] = True
    try:
        return network(**arguments).last_hidden_state
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        if size_px == layout.native_px:
            raise
        raise UserError(
            f"{name} cannot take frames of {size_px[0]}x{size_px[1]} px; its positions are made for "
            f"{layout.native_px[0]}x{layout.native_px[1]} px ({_first_line(error)})"
        ) from error


def image_layout(network: nn.Module, config: Any, name: str) -> Layout:
    """The layout of an image model, from one pass over two blank images of its native size.

    Raises:
        UserError: what it returns cannot be told to be a grid of features.
    """
    patch = _one_number(getattr(config, "patch_size", None), "patch_size", name)
    # Where nothing is said of patches, a conv net: 224 is a multiple of every usual stride, its image_size may not be.
    native_px = _pair((getattr(config, "image_size", None) if patch else 0) or 14 * (patch or 16))
    # Two images, since some models pack all images of a batch into one sequence.
    parameter = next(network.parameters())
    blank = torch.zeros(2, 3, *native_px, dtype=parameter.dtype, device=parameter.device)
    guess = Layout(patch=patch or 1, width=0, prefix=0, native_px=native_px)
    try:
        hidden = last_hidden_state(network, blank, guess, name)
        shape = tuple(hidden.shape)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise _refusal(
            config, f"fails on a blank image of {native_px[0]}x{native_px[1]} px ({_first_line(error)})"
        ) from error
    if len(shape) == 4 and shape[0] == 2:
        stride = native_px[0] // shape[2]
        if (shape[2] * stride, shape[3] * stride) == native_px:
            return Layout(patch=stride, width=shape[1], prefix=None, native_px=native_px)
    elif len(shape) == 3 and shape[0] == 2 and patch:
        prefix = shape[1] - (native_px[0] // patch) * (native_px[1] // patch)
        if prefix in (0, prefix_tokens(network)):
            return Layout(patch=patch, width=shape[2], prefix=prefix, native_px=native_px)
    raise _refusal(
        config,
        f"returns {list(shape)} for two images of {native_px[0]}x{native_px[1]} px, where patch_size "
        f"{patch} and {prefix_tokens(network)} known prefix tokens leave no grid of features",
    )


def video_layout(config: Any, name: str, frames: int | None = None) -> Layout:
    """The layout of a clip model, from its config; without its prefix tokens, which the network tells.

    Args:
        frames: clip length; only V-JEPA 2, whose positions are computed, takes another than its config's.

    Raises:
        UserError: no usable clip length, or a tubelet that is not square.
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
        raise _refusal(config, "has no patch_size and image_size in its config")
    return Layout(
        patch=side,
        width=config.hidden_size,
        prefix=0,
        native_px=_pair(size),
        frames=length,
        tubelet=tubelet,
    )


def prefix_tokens(network: nn.Module) -> int:
    """How many prefix tokens a network's parameters are: [D], [n, D] or [1, n, D]."""
    tokens = (p for name, p in network.named_parameters() if PREFIX_TOKEN.search(name.rpartition(".")[2]))
    return sum(1 if token.ndim == 1 else token.shape[-2] for token in tokens)


def set_grid(network: Any, grid: tuple[int, int], layout: Layout) -> None:
    """Fits the positions of VideoMAE and V-JEPA 2 to a grid; at the native one, they are transformers' own."""
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
    """The sinusoid table, each time slot resized bicubically. Source: evaluation notebook, VideoMAE feature cell."""
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
    """V-JEPA 2's positions on another grid: the trained grid's rows and columns, resized linearly.

    transformers counts tokens by the trained grid whatever the frames' size, so that rows would run into one another.
    """

    def __init__(self, grid: tuple[int, int], native: tuple[int, int]) -> None:
        self.grid = grid
        self.native = native

    def __call__(self, x: Tensor, masks: None = None) -> tuple[Tensor, Tensor, Tensor]:
        """For tokens [B, n, D]: their time slots, rows and columns, each [n]."""
        h, w = self.grid
        slots = torch.arange(x.shape[1] // (h * w), device=x.device, dtype=x.dtype)
        rows, columns = (
            _resized_range(count, size).to(x.device, x.dtype)
            for count, size in zip(self.native, self.grid, strict=True)
        )
        t, y, x_ = torch.meshgrid(slots, rows, columns, indexing="ij")
        return t.flatten(), y.flatten(), x_.flatten()


def _resized_range(count: int, size: int) -> Tensor:
    """0..count-1 on `size` cells: half-pixel centres, clamped at the ends."""
    numbers = torch.arange(count, dtype=torch.float32).view(1, 1, -1)
    return nn.functional.interpolate(numbers, size=size, mode="linear", align_corners=False).flatten()


def _grid(hidden: Tensor, prefix: int, grid: tuple[int, ...], name: str) -> Tensor:
    """Tokens [N, prefix + product of grid, D] -> [N, *grid, D]."""
    cells = torch.Size(grid).numel()
    if hidden.ndim != 3 or hidden.shape[1] != prefix + cells:
        raise UserError(
            f"{name} returned {list(hidden.shape)}; expected {prefix} prefix tokens and {cells} of the grid"
        )
    return hidden[:, prefix:].unflatten(1, grid)


def _refusal(config: Any, what: str) -> UserError:
    return UserError(f"model type {config.model_type!r} is not supported: it {what}; supported: {KINDS}")


def _one_number(value: Any, what: str, name: str) -> int | None:
    """A number, or equal numbers, as one; None where there is none."""
    numbers = set(value) if isinstance(value, (list, tuple)) else {value}
    if len(numbers) != 1:
        raise UserError(f"{name}: {what} {value} is not square; expected one number")
    return numbers.pop()


def _pair(size: Any) -> tuple[int, int]:
    return (int(size[0]), int(size[1])) if isinstance(size, (list, tuple)) else (int(size), int(size))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
