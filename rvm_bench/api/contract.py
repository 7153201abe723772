"""Checks of what plug-ins provide: card, task, video, features. Errors are one line and name the class and method."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from rvm_bench.api.card import EncoderCard
from rvm_bench.errors import UserError


def check_card(encoder: Any) -> EncoderCard:
    """The encoder's card; UserError if it has none, or if it is not an `EncoderCard`."""
    name = type(encoder).__name__
    card = getattr(encoder, "card", None)
    if card is None:
        raise UserError(f"{name} has no card; set `card = EncoderCard(name=..., family=..., patch=..., width=...)`")
    if not isinstance(card, EncoderCard):
        raise UserError(
            f"{name}.card is a {type(card).__name__}; expected an EncoderCard(name=..., patch=..., width=...)"
        )
    return card


def check_task(task: Any) -> None:
    """Raises UserError if a task lacks a required attribute, or cannot be instantiated without arguments."""
    name = type(task).__name__
    lacking = [field for field in ("name", "title", "folder", "metric", "protocol") if not hasattr(task, field)]
    if lacking:
        raise UserError(f"{name} lacks {', '.join(lacking)}; set it on the class (protocol: in __init__)")
    try:
        task.official_protocol()
    except TypeError as error:
        raise UserError(
            f"{name}() cannot be instantiated without arguments ({error}); give its parameters defaults, "
            f"{name}().protocol is the official protocol"
        ) from None


def check_video(shape: tuple[int, ...], dtype: np.dtype, card: EncoderCard) -> None:
    """Raises UserError unless the video is uint8 [T, H, W, 3] with T >= 1 and H, W at least one patch."""
    if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8 or shape[0] < 1:
        raise UserError(
            f"video has shape {tuple(shape)} and dtype {dtype}; expected uint8 [T, H, W, 3] RGB with T >= 1"
        )
    if min(shape[1:3]) < card.patch:
        raise UserError(
            f"video frames are {shape[1]}x{shape[2]} px; {card.name} needs at least one {card.patch} px patch"
        )


def check_pair(value: Any, method: str) -> tuple[Any, Any]:
    """The value of a `step` or `unroll` as (features, state); UserError if it is not a pair."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise UserError(f"{method} returned {_kind(value)}; expected a tuple (features, state)")
    return value


def check_tensor(value: Any, method: str, wanted: str) -> Tensor:
    """The value that a plug-in's method returned; UserError if it is not a real-valued tensor.

    Args:
        value: the returned value.
        method: name of the method, for the message: "MyEncoder.forward_frames".
        wanted: expected shape, for the message: "[N, h, w, D]".
    """
    if not isinstance(value, Tensor):
        raise UserError(f"{method} returned {_kind(value)}; expected a torch.Tensor {wanted}")
    if value.is_complex():
        raise UserError(f"{method} returned complex numbers ({value.dtype}); expected real ones {wanted}")
    return value


def check_features(features: Any, expected_TYX: tuple[int, int, int], card: EncoderCard, method: str = "") -> Tensor:
    """The features as float32; UserError if their type or shape contradicts the card.

    Args:
        features: [T, h, w, D].
        expected_TYX: T, h and w.
        card: the model's; its width is D.
        method: name of the method that returned them, for the message; "": the model's name is used.
    """
    expected = (*expected_TYX, card.width)
    features = check_tensor(features, method or f"model {card.name}", "[frames, h, w, D]")
    if tuple(features.shape) != expected:
        raise UserError(
            f"{method or f'model {card.name}'} returned features of shape {tuple(features.shape)}; expected {expected} "
            f"= [frames, H // {card.patch}, W // {card.patch}, width]: correct its card or its forward method"
        )
    return features.float()


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a NumPy array of shape {value.shape}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with keys {', '.join(map(str, list(value)[:5]))}"
    return f"a {type(value).__name__}"
