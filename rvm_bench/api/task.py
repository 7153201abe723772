"""The task contract: `measure` turns one video into a record, `score` turns records into named numbers.

The score is always recomputed from the records, so resuming, shards, bootstrap intervals and paired tests need nothing
else from a task.
"""

import abc
import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overlay import Overlay
from rvm_bench.api.overrides import check_bounds, check_choices
from rvm_bench.errors import UserError

DEMO = "demo"
"""The value of `--data` for procedural demo data."""

Record = dict[str, Any]
"""The outcome of one video: JSON values only; the engine adds the video's name as "video". Floats keep all digits."""


def constant(default: Any, source: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A dataclass field of a `Protocol` with its source.

    Args:
        default: the official value.
        source: paper section, table or official file that the value comes from.
        low, high: inclusive bounds; of a tuple, of every element.
    """
    return dataclasses.field(default=default, metadata={"source": source, "low": low, "high": high})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """All constants of a task. Subclass it as a frozen keyword-only dataclass with `constant` fields.

    Attributes:
        id: name and version of the protocol, as "davis-2017-val/1"; whatever changes scores gets a new id.
    """

    id: str

    def __post_init__(self) -> None:
        """Checks Literal fields and bounds; a subclass with further rules calls this first.

        Raises:
            UserError: a Literal field holds another value, or a number is outside of its bounds.
        """
        check_choices(self)
        check_bounds(self)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def sources(cls) -> dict[str, str]:
        """Source of each constant: field name -> paper table, section or official file."""
        return {f.name: f.metadata["source"] for f in dataclasses.fields(cls) if "source" in f.metadata}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """The headline number of a task. Scores are stored unscaled, with all digits.

    Attributes:
        key: its key in the score.
        label: column heading.
        unit: of the printed number.
        scale, digits: the printed number is the stored one times `scale`, with this many decimals.
        higher_is_better: direction of improvement.
        floor: key in the score of a trivial baseline on the same videos; "" if there is none.
    """

    key: str
    label: str
    unit: str = "%"
    scale: float = 1.0
    digits: int = 1
    higher_is_better: bool = True
    floor: str = ""

    def shown(self, value: float) -> str:
        """A stored value in the printed unit, without the unit."""
        return f"{value * self.scale:.{self.digits}f}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of the official data a copy has.

    Attributes:
        listed: number of videos in the copy's own split file.
        usable: number of those that are complete and therefore evaluated.
        official: number of videos of the official split.
        in_official: number of usable videos that belong to the official split.
        missing: one line for everything that the copy's split file names and the copy lacks.
    """

    listed: int
    usable: int
    official: int
    in_official: int
    missing: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether anything that the copy's split file names was left out of the score."""
        return bool(self.missing)

    @property
    def complete(self) -> bool:
        """Whether exactly the official split was evaluated."""
        return not self.missing and self.usable == self.in_official == self.official

    def without(self, videos: Sequence[str], others: Sequence[str]) -> "Coverage":
        """The coverage after leaving out damaged files.

        Args:
            videos: one line for each evaluated video that was left out.
            others: one line for each other file, such as a training clip.
        """
        return dataclasses.replace(
            self,
            usable=self.usable - len(videos),
            in_official=max(0, self.in_official - len(videos)),
            missing=(*self.missing, *videos, *others),
        )

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "missing": list(self.missing)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSource:
    """Download location of a task's data, for `rvm-bench data prepare`.

    Attributes:
        url: direct URL of a zip archive.
        archive: file name of the archive.
        homepage: web page with the data and its terms.
        licence: the terms; the user must accept them before anything is downloaded.
        inside: folder of the archive that holds the official layout; "" for its root.
    """

    url: str
    archive: str
    homepage: str
    licence: str
    inside: str


class Video(typing.Protocol):
    """What the engine needs of a video (or clip); a task's own class adds the rest.

    Attributes:
        name: unique in the data set; identifies the record.
        length: number of frames, the unit of progress and of time estimates.
    """

    @property
    def name(self) -> str: ...

    @property
    def length(self) -> int: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """A verified copy of a task's data.

    Attributes:
        root: folder of the copy.
        videos: the videos to evaluate, in the order of the records.
        manifest_sha256: hash over the path, size and content of every file that is read; see `manifest_sha256`.
        coverage: which part of the official data is there.
    """

    root: Path
    videos: tuple[Video, ...]
    manifest_sha256: str
    coverage: Coverage

    @property
    def frames(self) -> int:
        """Number of frames of all videos."""
        return sum(video.length for video in self.videos)


P = TypeVar("P", bound=Protocol)


class Task(abc.ABC, Generic[P]):
    """A benchmark task: reader, protocol, measurement and score. It is instantiated without arguments.

    Attributes:
        name: the name that `--task` takes.
        title: one short phrase, for listings.
        folder: name of the data folder inside a data root.
        demo_folder: the same for demo data; "": as `folder`.
        metric: the headline number.
        tap: the layer of a model that it reads, one of `TAPS`.
        presets: alternative protocols by name, as functions without arguments.
        source: download location of the data; None if there is no direct download.
        protocol: an instance attribute with all constants; the official ones unless replaced.
        requested: arguments of `find_task`: "task", "protocol" (a preset) and "overrides", as given.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    folder: ClassVar[str]
    demo_folder: ClassVar[str] = ""
    metric: ClassVar[Metric]
    tap: ClassVar[str] = "propagation"
    presets: ClassVar[Mapping[str, Callable[[], Any]]] = {}
    source: ClassVar[DataSource | None] = None
    protocol: P
    requested: Mapping[str, Any] = MappingProxyType({})

    @abc.abstractmethod
    def open(self, data: Path, *, allow_missing: bool = False) -> Dataset:
        """A verified copy of the data under `data`.

        Raises:
            UserError: something that the split file names is missing or unreadable and `allow_missing` is false (if it
                is true, whole videos are left out and named in the coverage), or no video is usable.
        """

    @abc.abstractmethod
    def check(self, data: Path) -> Sequence[str]:
        """Everything that is wrong with a copy of the data, one line each; empty for the complete official set."""

    @abc.abstractmethod
    def measure(self, encoder: Encoder, video: Any, tick: Callable[[], object] = lambda: None) -> Record:
        """The record of one video. Deterministic: the same encoder and video give a bitwise equal record.

        Args:
            encoder: frozen, in evaluation mode, on its device, reading the layer `tap`.
            video: one of `Dataset.videos`.
            tick: call it once per frame of the video, for the progress bar.

        Raises:
            DamagedFile: the video cannot be decoded; with `allow_missing` it is left out and named.
        """

    @abc.abstractmethod
    def score(self, records: Sequence[Record]) -> dict[str, float]:
        """Named numbers from records, `metric.key` among them. Must be fast: the bootstrap calls it often."""

    def estimate_seconds(self, encoder: Encoder, dataset: Dataset) -> float | None:
        """Wall time of a whole evaluation in seconds, extrapolated from a few frames timed now. Optional: None."""
        return None

    def write_demo(self, folder: Path) -> None:
        """Writes procedural data in the task's layout into the empty `folder`, for `--data demo`. Optional.

        The copy in the cache is keyed by the code that this method refers to: import what it needs inside of it.

        Raises:
            UserError: the task has no demo data (the default).
        """
        raise UserError(f"{self.name} has no demo data; give --data DIR")

    def official_protocol(self) -> P:
        """The protocol of a new instance."""
        return type(self)().protocol

    def scene(self, video: str) -> str:
        """The scene of a video, given its name: the bootstrap resamples scenes, since their videos are dependent."""
        return video

    def artifacts(self, records: Sequence[Record]) -> dict[str, str]:
        """Further files for the folder of a finished run: name -> text."""
        return {}

    def lacks_predictions(self, video: Any) -> bool:
        """Whether predictions are to be saved and some of this video's are still missing."""
        return False

    def overlay(self, folder: Path, video: Any, record: Record, most: int) -> Overlay:
        """Frames of a video with ground truth and prediction drawn over them, for the report. Optional.

        Args:
            folder: of `SavesPredictions.save_predictions`; it holds this video's predictions.
            video: one of `Dataset.videos`.
            record: of the video, for the captions.
            most: maximum number of frames, evenly spaced from the first to the last.

        Raises:
            UserError: the task draws no overlays (the default), or the predictions cannot be read.
        """
        raise UserError(f"{self.name} draws no overlays of its videos")

    def describe(self) -> dict[str, Any]:
        """What identifies the task in a run's fingerprint, as JSON values."""
        return {
            "name": self.name,
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "metric": self.metric.key,
            "protocol": self.protocol.to_dict(),
        }


class SavesPredictions:
    """Mixin, before `Task` among the bases, for tasks whose `measure` can also write its predictions.

    Attributes:
        predictions: the folder to write to; None: predictions are not saved.
    """

    predictions: Path | None = None

    def save_predictions(self, folder: Path) -> None:
        """From now on, `measure` writes its predictions as files under `folder`."""
        self.predictions = folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSummary:
    """How the head of a run was selected.

    Attributes:
        metric: selection metric, on held-out training examples.
        examples: number of held-out examples.
        learning_rate: of the selected head.
        seed_scores: seed -> selection metric of the head with that learning rate; heads that diverged are absent.
        sha256: of the file of the selected head.
    """

    metric: str
    examples: int
    learning_rate: float
    seed_scores: Mapping[int, float]
    sha256: str


class FitsHeads(abc.ABC):
    """Mixin, before `Task` among the bases, for tasks that fit a head on frozen features before they measure.

    Attributes:
        cache: cached features on disk: "off", "read" or "write"; None: the task decides.
        workers: processes that load training clips; 0: the main process does.
        allow_missing: whether unreadable training files are left out; `Task.open` sets it.
    """

    cache: str | None = None
    workers: int = 0
    allow_missing: bool = False

    @abc.abstractmethod
    def fit(self, encoder: Encoder, folder: Path) -> None:
        """Fits the head, resumes the fit in `folder`, or reads it if it is finished.

        Called after `open` by every process that has videos to measure; under `torchrun` by all ranks.
        """

    @abc.abstractmethod
    def fit_summary(self, folder: Path) -> FitSummary | None:
        """How the head in `folder` was selected; None if there is no finished fit.

        Raises:
            UserError: the fit in `folder` is damaged.
        """

    def left_out(self, folder: Path) -> list[str]:
        """One line for every unreadable file that the fit in `folder` left out."""
        return []
