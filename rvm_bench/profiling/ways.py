"""How a model is given N frames, and what is done with its features: they are dropped as they come.

Collected, they would grow with the video for every model alike.
"""

import copy
import dataclasses

import numpy as np

from rvm_bench.api.encoder import ClipEncoder, Encoder, ImageEncoder, RecurrentEncoder
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.profiling.points import AT_ONCE, STREAM


def kind_of(encoder: Encoder) -> str:
    """What its stream does: "image", "clip", "recurrent", or "other" for a fourth kind."""
    for base, kind in ((ImageEncoder, "image"), (ClipEncoder, "clip"), (RecurrentEncoder, "recurrent")):
        if isinstance(encoder, base):
            return kind
    return "other"


def ways_of(encoder: Encoder) -> tuple[str, ...]:
    """The ways in which it can be asked to take a long video. Frames of image models do not meet, so that taking them
    at once would show nothing but the size of a batch."""
    return (STREAM, AT_ONCE) if isinstance(encoder, ClipEncoder) else (STREAM,)


def period_of(encoder: Encoder) -> int:
    """Frames after which a stream does the same again: those of a window, or those that go together."""
    return encoder.card.frames if isinstance(encoder, ClipEncoder) else encoder.chunk


def prepared(encoder: Encoder, way: str, frames: int) -> Encoder:
    """The encoder that takes this many frames in this way.

    Raises:
        UserError: a way that it does not have.
    """
    if way not in ways_of(encoder):
        raise unknown_name(f"way for {encoder.card.name}", way, ways_of(encoder))
    if way == STREAM:
        return encoder
    whole = copy.copy(encoder)
    whole.card = dataclasses.replace(encoder.card, frames=frames)
    return whole


def consume(encoder: Encoder, video: np.ndarray) -> int:
    """Encodes the video and returns for how many frames there were features.

    Raises:
        UserError: the encoder answered for another number of frames than it was given.
    """
    seen = 0
    for features in encoder.stream(video):
        seen += len(features)
    if seen != len(video):
        raise UserError(f"{encoder.card.name} gave features for {seen} of {len(video)} frames; correct its stream")
    return seen
