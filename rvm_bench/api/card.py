"""What a model says about itself before any of its weights are read. Imports nothing heavy, so that listing is fast."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A checkpoint: where it is, how large it should be, and under which terms.

    Attributes:
        url: plain URL that answers with the file; "" where there is none, and `by_hand` says how to get it.
        filename: name in the cache; of a file that comes with this package, its path in it, and `packaged` is true.
        packaged: whether it comes with this package, so that there is nothing to fetch.
        size_bytes: expected size; where `size_exact` is false it is the size of the arrays, and the file may exceed it
            by the headers of its container (at most 1 %). 0 where it is not known.
        size_exact: whether `size_bytes` is the exact size of the file.
        by_hand: how a person gets the file where no plain URL gives it, as a sentence.
        sha256: published hash, or None where none is published (then the first download's hash is recorded).
        licence: terms of the weights.
    """

    filename: str
    licence: str
    url: str = ""
    by_hand: str = ""
    size_bytes: int = 0
    size_exact: bool = False
    sha256: str | None = None
    packaged: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderCard:
    """Everything about a frozen encoder that a table, a stamp or a reader needs.

    Attributes:
        name: the name under which `--model` finds it.
        family: models that share an architecture and a checkpoint format ("rvm", "dinov2", ...).
        params_m: parameters of the whole released model as its paper counts them, in millions (0: no parameters).
        patch: side of a patch in pixels; the feature grid of an H x W frame is (H // patch, W // patch).
        width: channels D of a feature vector.
        frames: frames that one forward pass sees (1 for image and recurrent encoders, 16 for clip encoders).
        pixel_mean, pixel_std: per RGB channel, applied to pixels in [0, 1].
        taps: which layer each task family reads, as {"propagation": ..., "readout": ...}.
        causal: whether features of frame t depend on frames <= t only.
        licence: terms of the weights (and code, where they differ).
        source: where the model comes from.
        weights: its released checkpoint; None where there is none to fetch.
        published: the paper's name of its row in Tables 1 and 2; "" where the paper has none.
        note: anything a user of the numbers should know.
    """

    name: str
    family: str
    patch: int
    width: int
    params_m: float = 0.0
    frames: int = 1
    pixel_mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pixel_std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    taps: Mapping[str, str] = dataclasses.field(default_factory=dict)
    causal: bool = True
    licence: str = ""
    source: str = ""
    weights: WeightsFile | None = None
    published: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A card and the place of the code that builds it; what a `rvm_bench.models` entry point names.

    Calling it imports `builder` ("module:function") and calls that with the card and the keyword arguments
    of `load_encoder` (`weights`, `device`, `dtype`, and the family's own options).

    Attributes:
        takes_weights: whether the model has weights at all (`pixels` has none).
        any_file: whether it stands for a family and takes any checkpoint of it, so that `--weights` must name one.
    """

    card: EncoderCard
    builder: str
    takes_weights: bool = True
    any_file: bool = False

    def __call__(self, **options: Any) -> Any:
        module, _, attribute = self.builder.partition(":")
        build: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return build(card=self.card, **options)
