"""Base of the readout tasks: a head is fitted on the training split, then the scored split is measured.

A task defines the clips, the loss and the sizes of the head; the fitter does the rest. The files of the fit are in the
run's folder under `fit/`; a fit that is killed is resumed, as a run is.
"""

import abc
import dataclasses
import os
import time
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from torch import Tensor

from readouts.fitting.estimate import step_seconds
from readouts.fitting.feature_store import DTYPES, Cache
from readouts.fitting.features import encode_clips
from readouts.fitting.fit import FitJob, fit
from readouts.fitting.fitted import Fitted
from readouts.fitting.folder import SUMMARY
from readouts.fitting.optim import FitConfig
from readouts.fitting.sampling import Source
from readouts.heads.replicated import Sizes
from readouts.losses import Measure, Selection
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overrides import check_choices
from rvm_bench.api.task import Dataset, FitsHeads, FitSummary, Protocol, Task, constant
from rvm_bench.fetch.weights import cache_folder
from rvm_bench.formats.files import read_json

SCIVID = "scivid configs/launch_config.py, the group's only published recipe; the paper gives none"
OURS = "ours: the paper and the released code say nothing"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadoutProtocol(Protocol):
    """Constants that all readout tasks have; those of the fitter have the same names as in `FitConfig`."""

    frames: int = constant(16, "paper Table 7")
    side_px: int = constant(224, "paper Table 7")
    params: int = constant(1024, "paper Table 7")
    heads: int = constant(16, "paper Table 7")
    learning_rates: tuple[float, ...] = constant((1e-4, 3e-4, 1e-3), f"3e-4: {SCIVID}; one to each side: {OURS}")
    seeds: tuple[int, ...] = constant((0,), OURS)
    weight_decay: float = constant(1e-4, SCIVID)
    warmup_steps: int = constant(1000, SCIVID)
    steps: int = constant(40_000, SCIVID)
    final_rate: float = constant(1e-7, SCIVID)
    batch: int = constant(32, SCIVID)
    accumulate: int = constant(1, OURS)
    held_out: float = constant(0.05, f"share of the training videos that selects the head; {OURS}")
    held_out_least: int = constant(16, OURS)
    sampling_seed: int = constant(0, OURS)
    autocast: Literal["float32", "bfloat16"] = constant("float32", OURS)
    query_chunk: int = constant(1024, "memory only; the result is the same")
    fixed_clips: bool = constant(
        False, "true: always the same clips of a training video, not augmented, so that features can be cached; ours"
    )

    def __post_init__(self) -> None:
        check_choices(self)
        self.fit_config()

    def fit_config(self) -> FitConfig:
        names = {field.name for field in dataclasses.fields(FitConfig)}
        return FitConfig(**{name: value for name, value in vars(self).items() if name in names})


P = TypeVar("P", bound=ReadoutProtocol)


class ReadoutTask(FitsHeads, Task[P], Generic[P]):
    """A task that fits a head.

    Attributes:
        cache: where frozen features are kept: "off", "read" or "write"; None: "write" where the protocol's clips are
            fixed, else "off". A cache rounds features to bfloat16, which is part of the run's identity.
        workers: processes that load clips.
        allow_missing: whether files that cannot be read are left out of the fit; `open` sets it.
        fitted: the head; None before `fit`.
    """

    tap: ClassVar[str] = "readout"

    def __init__(self, protocol: P | None = None) -> None:
        self.protocol = protocol or self.default_protocol()
        self.fitted: Fitted | None = None

    @classmethod
    @abc.abstractmethod
    def default_protocol(cls) -> P:
        """The official constants."""

    @property
    @abc.abstractmethod
    def loss(self) -> Measure:
        """What is minimised."""

    @property
    @abc.abstractmethod
    def selection(self) -> Selection:
        """The metric by which one of the fitted heads is chosen."""

    @abc.abstractmethod
    def training(self) -> Source:
        """The training split of the copy that was opened last."""

    @abc.abstractmethod
    def readout(self, channels: int) -> Sizes:
        """Sizes of the head for features of this many channels."""

    def fit(self, encoder: Encoder, folder: Path) -> None:
        """Fits the head, or resumes or reads the fit that is in `folder`."""
        mode: Any = self._cache_mode()
        self.fitted = fit(
            FitJob(
                encoder=encoder,
                source=self.training(),
                readout=self.readout(encoder.card.width),
                config=self.protocol.fit_config(),
                loss=self.loss,
                selection=self.selection,
                folder=folder,
                cache=Cache(folder=cache_folder() / "features", mode=mode),
                workers=self.workers,
                allow_missing=self.allow_missing,
            )
        )

    def fit_summary(self, folder: Path) -> FitSummary | None:
        if not (folder / SUMMARY).exists():
            return None
        fit = read_json(folder / SUMMARY)
        rate = fit["chosen"]["learning_rate"]
        scores = {head["seed"]: head["score"] for head in fit["replicas"] if head["learning_rate"] == rate}
        return FitSummary(
            metric=fit["metric"],
            examples=fit["held_out_examples"],
            learning_rate=rate,
            seed_scores={seed: score for seed, score in scores.items() if score is not None},
            sha256=fit["readout_sha256"],
        )

    def left_out(self, folder: Path) -> list[str]:
        return [f"train: {line}" for line in read_json(folder / SUMMARY)["left_out"]] if folder.exists() else []

    def describe(self) -> dict[str, Any]:
        rounding = {} if self._cache_mode() == "off" else {"features": Cache(folder=Path()).dtype}
        return {**super().describe(), **rounding}

    def outputs(self, encoder: Encoder, clips: np.ndarray, queries: Tensor | None = None) -> Any:
        """The head's predictions for clips uint8 [B, T, H, W, 3] of the scored split and queries [B, Q, ...] in them.

        Features are rounded as those of the training clips were, but not cached: each clip is seen once.
        """
        assert self.fitted is not None
        features = encode_clips(encoder.at("readout"), clips)
        if self._cache_mode() != "off":
            features = features.to(DTYPES[Cache(folder=Path()).dtype])
        return self.fitted.predict(features, queries)

    def estimate_seconds(self, encoder: Encoder, dataset: Dataset) -> float:
        """Extrapolated from one clip, loaded and encoded now, and one training step on its features."""
        source, protocol = self.training(), self.protocol
        item = source.held_out_item(0)
        start = time.perf_counter()
        clip = item.clip()
        loaded = time.perf_counter()
        (features,) = encode_clips(encoder.at("readout"), clip[None])
        encoded = time.perf_counter()
        config = protocol.fit_config()
        clips = config.steps * config.batch
        if protocol.fixed_clips:
            clips = min(clips, source.distinct)
        per_clip = encoded - loaded + (loaded - start) / max(1, min(self.workers, os.cpu_count() or 1))
        step = step_seconds(features, item, self.readout(encoder.card.width), config, self.loss)
        return (clips + dataset.frames / protocol.frames) * per_clip + config.steps * step

    def _cache_mode(self) -> str:
        return self.cache or ("write" if self.protocol.fixed_clips else "off")
