"""Model metadata that is known before any weights are read. Imports nothing heavy, so that listing models is fast."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from rvm_bench.errors import UserError, unknown_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A released checkpoint: URL, name, expected size and hash, licence.

    Attributes:
        filename: name in the cache; if `packaged`, the path inside this package.
        licence: licence of the weights.
        url: direct download URL; "" if there is none, and `by_hand` says how to get the file.
        by_hand: how to get the file without a direct URL, as a sentence.
        size_bytes: expected size in bytes; 0 if unknown. Unless `size_exact`, this is the size of the arrays, and the
            file may exceed it by the headers of its container (at most 1 %).
        size_exact: whether `size_bytes` is the exact size of the file.
        sha256: published hash; None if none is published (the hash of the first download is recorded instead).
        packaged: whether the file is part of this package, so that nothing is downloaded.
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
        kind: "file": a checkpoint. "package": installed with the model's package. "random": untrained. "none": the
            model has no weights. "not stated": the plug-in does not say; tables and reports mark such numbers.
        sha256: of the checkpoint file; None if there is no file.
        path: name of the checkpoint file, without its folder.
        seed: of random weights.
        facts: further provenance as JSON values: repository, commit, layout, tensors that were left out.

    Raises:
        UserError: an unknown kind.
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
        """The provenance itself, or one made from a dict such as {"kind": "file", "path": "a.pth"}.

        Raises:
            UserError: the value is neither, or its kind is unknown.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise UserError(f"encoder.weights is a {type(value).__name__}; expected a Provenance(kind=..., ...)")
        known = {name: value[name] for name in ("kind", "sha256", "path", "seed") if name in value}
        return cls(**known, facts={name: fact for name, fact in value.items() if name not in known})

    def with_facts(self, **facts: Any) -> "Provenance":
        """A copy with further facts."""
        return dataclasses.replace(self, facts={**self.facts, **facts})

    def to_dict(self) -> dict[str, Any]:
        """JSON values; empty fields are left out, facts stand beside the fields."""
        known = {"kind": self.kind, "path": self.path or None, "seed": self.seed, "sha256": self.sha256}
        return {**{name: value for name, value in known.items() if value is not None}, **self.facts}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderCard:
    """Metadata of a frozen encoder, for tables, stamps and readers.

    Attributes:
        name: printable characters on one line; for registered models the name that `--model` takes.
        family: models that share an architecture and a checkpoint format ("rvm", "dinov2", ...).
        patch: side of a patch in pixels; the feature grid of an H x W frame is (H // patch, W // patch).
        width: channels D of a feature vector.
        params_m: parameters of the whole released model as its paper counts them, in millions (0: no parameters).
        frames: frames per forward pass (1 for image and recurrent encoders, 16 for clip encoders).
        pixel_mean, pixel_std: per RGB channel, applied to pixels in [0, 1].
        taps: which layer each task family reads, in words: {"propagation": ..., "readout": ...}.
        causal: whether features of frame t depend on frames <= t only.
        licence: of the weights (and of the code, if it differs).
        source: publication or repository of the model.
        weights: its released checkpoint; None if there is none to fetch.
        published: name of its row in the paper's Tables 1 and 2; "" if it has none.
        note: anything a user of the numbers should know.

    Raises:
        UserError: a value of the wrong type or range.
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
    """A registered model: its card and the function that builds it. Entry points in `rvm_bench.models` name one.

    Calling it imports `builder` and calls that with `card=` and the keyword arguments of `load_encoder`: `device`,
    `dtype`, the model's own options and, if `takes_weights`, `weights` (a path, or "random").

    Attributes:
        card: metadata, available without importing the builder.
        builder: "module:function" that returns an `Encoder`.
        takes_weights: whether the model has weights at all (`pixels` has none).
        any_file: whether it is a generic entry of a family that loads any of its checkpoints, named by `--weights`.
        module: that declares the model, where it is not the builder's; its code is part of a run's identity.
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
