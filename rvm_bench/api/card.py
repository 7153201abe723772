"""What a model says about itself before any of its weights are read. Imports nothing heavy, so that listing is fast."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from rvm_bench.errors import UserError, unknown_name


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
class Provenance:
    """Where the weights of a loaded encoder come from.

    Attributes:
        kind: "file": a checkpoint. "package": installed with the model's package. "random": never trained. "none": the
            model has no weights. "not stated": the plug-in does not say; tables and reports mark such numbers.
        sha256: of the checkpoint file; None where there is none.
        path: the file's name, without its folder.
        seed: of random weights.
        facts: what else is known, as JSON values: repository, commit, layout, tensors that were left out.
    """

    kind: Literal["file", "package", "random", "none", "not stated"] = "not stated"
    sha256: str | None = None
    path: str = ""
    seed: int | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in (kinds := get_args(Provenance.__annotations__["kind"])):
            raise unknown_name("kind of weights", str(self.kind), kinds)

    @classmethod
    def of(cls, value: "Provenance | Mapping[str, Any]") -> "Provenance":
        """A provenance, also where a plug-in gives it as a dict such as {"kind": "file", "path": "a.pth"}.

        Raises:
            UserError: it is neither, or its kind is unknown.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise UserError(f"encoder.weights is a {type(value).__name__}; expected a Provenance(kind=..., ...)")
        known = {name: value[name] for name in ("kind", "sha256", "path", "seed") if name in value}
        return cls(**known, facts={name: fact for name, fact in value.items() if name not in known})

    def with_facts(self, **facts: Any) -> "Provenance":
        """The same with more facts."""
        return dataclasses.replace(self, facts={**self.facts, **facts})

    def to_dict(self) -> dict[str, Any]:
        """JSON values, without what is empty."""
        known = {"kind": self.kind, "path": self.path or None, "seed": self.seed, "sha256": self.sha256}
        return {**{name: value for name, value in known.items() if value is not None}, **self.facts}


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

    def __post_init__(self) -> None:
        for name in ("patch", "width", "frames"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < (0 if name == "width" else 1):
                raise UserError(f"card {self.name!r}: {name}={value!r}; expected a positive whole number")
        if not self.name or any(not character.isprintable() for character in self.name):
            raise UserError(f"a card's name is {self.name!r}; expected printable characters on one line")
        for name in ("pixel_mean", "pixel_std"):
            values = getattr(self, name)
            if len(values) != 3 or not all(isinstance(value, int | float) for value in values):
                raise UserError(f"card {self.name!r}: {name}={values!r}; expected three numbers, one per RGB channel")

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
        module: that says what the model is, where it is not the builder's; its code is part of a run's identity.
    """

    card: EncoderCard
    builder: str
    takes_weights: bool = True
    any_file: bool = False
    module: str = ""

    def __call__(self, **options: Any) -> Any:
        module, _, attribute = self.builder.partition(":")
        build: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return build(card=self.card, **options)
