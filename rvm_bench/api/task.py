"""The task contract: what one video yields (a record), and how records become the score.

Records are the truth. The score is always recomputed from them, so resuming, sharding, error bars and paired tests
need nothing more. A task is one file that holds its reader, its frozen protocol, `measure` and `score`.
"""

import abc
import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overrides import check_bounds, check_choices
from rvm_bench.errors import UserError

LONG_SIDE_PX = 480
"""Pictures are at most this long, so that lines drawn into them are not lost when they are shown small."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownFrame:
    """One frame.

    Attributes:
        number: of the video's frames, from 0.
        picture: uint8 RGB [H, W, 3]; all of one overlay have one size.
        text: what is known of this frame: its score, or that it is not scored.
    """

    number: int
    picture: np.ndarray
    text: str


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """Frames of a video in time order.

    Attributes:
        legend: how truth and prediction look in them.
        frames: at least one.
        length: frames of the whole video.
    """

    legend: str
    frames: tuple[ShownFrame, ...]
    length: int


def shown_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture of a video of this size: as it is, or with its long side at `LONG_SIDE_PX`."""
    share = min(1.0, LONG_SIDE_PX / max(size_hw))
    return max(1, round(size_hw[0] * share)), max(1, round(size_hw[1] * share))


DEMO = "demo"
"""What `--data` says for the procedural copy of a task's data."""

Record = dict[str, Any]
"""What one video yielded: JSON values only, with the video's name under "video". Floats keep all their digits."""


def constant(default: Any, source: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A field of a protocol: its value, where the value comes from, and the bounds (inclusive) that it must keep.

    In a tuple every element must keep the bounds.
    """
    return dataclasses.field(default=default, metadata={"source": source, "low": low, "high": high})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """Every constant of a task, each with its source. Subclass it, frozen and keyword-only, with `constant` fields.

    Attributes:
        id: names the protocol with its version; another way of counting is another id, never a changed number.
    """

    id: str

    def __post_init__(self) -> None:
        """Verifies choices and bounds; a subclass with rules of its own calls this first.

        Raises:
            UserError: a Literal field holds another value, or a number is outside of its bounds.
        """
        check_choices(self)
        check_bounds(self)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def sources(cls) -> dict[str, str]:
        """Where each constant comes from: field name -> paper table, section or official file."""
        return {f.name: f.metadata["source"] for f in dataclasses.fields(cls) if "source" in f.metadata}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """The headline number of a task. Stored as the task computes it, with all its digits.

    Attributes:
        key: its name in the score.
        label: how it is called in a heading.
        unit: in which it is printed.
        scale, digits: what is printed is the stored number times `scale`, with this many digits.
        higher_is_better: which way is better.
        floor: name in the score of what a trivial baseline reaches on the same videos; "" where there is none.
    """

    key: str
    label: str
    unit: str = "%"
    scale: float = 1.0
    digits: int = 1
    higher_is_better: bool = True
    floor: str = ""

    def shown(self, value: float) -> str:
        """A value as it is printed, without the unit."""
        return f"{value * self.scale:.{self.digits}f}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of what the protocol asks for is in a copy of the data.

    Attributes:
        listed: videos that the copy's own split file names.
        usable: those of them that are complete, and are evaluated.
        official: videos of the official split; `in_official` of the usable ones belong to it.
        missing: what the copy's split file promises and the copy does not hold, one line each.
    """

    listed: int
    usable: int
    official: int
    in_official: int
    missing: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether something that the copy's split names was left out of the score."""
        return bool(self.missing)

    @property
    def complete(self) -> bool:
        """Whether exactly the official split was evaluated."""
        return not self.missing and self.usable == self.in_official == self.official

    def without(self, videos: Sequence[str], others: Sequence[str]) -> "Coverage":
        """The coverage that remains where files turned out to be damaged: one line for each video of the evaluated
        split, and for each other file."""
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
    """Where the data of a task can be downloaded; `rvm-bench data prepare` does it.

    Attributes:
        url: plain URL that answers with a zip archive.
        archive: name of the archive on disk.
        homepage: where a person finds the data and its terms.
        licence: what is known of the terms; shown, and to be agreed to, before anything is downloaded.
        inside: folder of the archive that holds the official layout, "" for its top.
    """

    url: str
    archive: str
    homepage: str
    licence: str
    inside: str


class Video(typing.Protocol):
    """What the engine needs to know of a video (or clip); a task's own kind says the rest.

    Attributes:
        name: unique in the data set; its record is found by it.
        length: frames, the unit of progress and of estimates.
    """

    @property
    def name(self) -> str: ...

    @property
    def length(self) -> int: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """A verified copy of a task's data.

    Attributes:
        root: where it is.
        videos: what is evaluated, in the order of the records.
        manifest_sha256: hash over the path, size and content of every file that is read.
        coverage: what is there and what is not.
    """

    root: Path
    videos: tuple[Video, ...]
    manifest_sha256: str
    coverage: Coverage

    @property
    def frames(self) -> int:
        """Frames over all videos."""
        return sum(video.length for video in self.videos)


P = TypeVar("P", bound=Protocol)


class Task(abc.ABC, Generic[P]):
    """One column of the table.

    Attributes:
        name: the name under which `--task` finds it.
        title: what it is, in half a line.
        folder: name of the data folder inside a data root.
        demo_folder: the same for demo data; "" where they are the same.
        metric: the headline number.
        tap: which layer of a model it reads, one of `encoder.TAPS`.
        presets: other protocols of the same task by name, each made by a call.
        source: where the data can be downloaded; None where a plain download does not give it.
        protocol: every constant; the official ones unless it was replaced.
        requested: what `find_task` was asked for: "task", "protocol" (a preset) and "overrides", as given.
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
        """The copy of the data under `data`, verified.

        Raises:
            UserError: something that the split names is missing or unreadable and `allow_missing` is false (with it,
                whole videos are left out and named in the coverage), or nothing usable is there.
        """

    @abc.abstractmethod
    def check(self, data: Path) -> Sequence[str]:
        """All that is wrong with a copy of the data, one line each; empty where it is the complete official set."""

    @abc.abstractmethod
    def measure(self, encoder: Encoder, video: Any, tick: Callable[[], object] = lambda: None) -> Record:
        """The record of one video. Deterministic: the same encoder and video give the same record to the last bit.

        Args:
            tick: to be called once for each of the video's frames, as the work goes on.
        """

    @abc.abstractmethod
    def score(self, records: Sequence[Record]) -> dict[str, float]:
        """Named numbers from records; `metric.key` is one of them. Fast: the bootstrap calls it thousands of times."""

    def estimate_seconds(self, encoder: Encoder, dataset: Dataset) -> float | None:
        """Seconds of wall time that a whole evaluation takes, extrapolated from a few frames timed on this machine now.

        None, the default, where the task gives no estimate.
        """
        return None

    def write_demo(self, folder: Path) -> None:
        """Writes a procedural copy of the data in the task's layout under `folder`, for `--data demo`.

        Import what it needs inside the method: the copy in the cache is keyed by the code that the method refers to.

        Raises:
            UserError: the task has no demo data, which is the default.
        """
        raise UserError(f"{self.name} has no demo data; give --data DIR")

    def official_protocol(self) -> P:
        """The protocol of an instance that was made without arguments."""
        return type(self)().protocol

    def scene(self, video: str) -> str:
        """What a video shows, by its name: videos of one scene are not independent, and are resampled together."""
        return video

    def artifacts(self, records: Sequence[Record]) -> dict[str, str]:
        """Files that a finished run puts beside its result: name -> text. None unless a task has more than a score."""
        return {}

    def lacks_predictions(self, video: Any) -> bool:
        """Whether predictions are to be saved and those of this video are not (all) there yet."""
        return False

    def overlay(self, folder: Path, video: Any, record: Record, most: int) -> Overlay:
        """Frames of a video with truth and prediction drawn over them.

        Args:
            folder: where `SavesPredictions.save_predictions` was told to write, and has written this video's.
            record: the video's, for what is said of each frame.
            most: frames at most, from the first to the last at equal distances.

        Raises:
            UserError: this task draws nothing, or the predictions cannot be read.
        """
        raise UserError(f"{self.name} draws no overlays of its videos")

    def describe(self) -> dict[str, Any]:
        """All that identifies the task in a run's fingerprint."""
        return {
            "name": self.name,
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "metric": self.metric.key,
            "protocol": self.protocol.to_dict(),
        }


class SavesPredictions:
    """Comes before `Task` among the bases of a task whose `measure` can also write what it predicts.

    Attributes:
        predictions: the folder to write to; None: nothing is written.
    """

    predictions: Path | None = None

    def save_predictions(self, folder: Path) -> None:
        """Makes `measure` write what it predicts as files under `folder`, from now on."""
        self.predictions = folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitSummary:
    """How the head of a run was fitted and chosen.

    Attributes:
        metric: by which the head was chosen, on training examples that were held out.
        examples: number of held-out examples.
        learning_rate: of the chosen head.
        seed_scores: the metric of each head with that learning rate, by seed; a head that diverged is not there.
        sha256: of the file of the chosen head.
    """

    metric: str
    examples: int
    learning_rate: float
    seed_scores: Mapping[int, float]
    sha256: str


class FitsHeads(abc.ABC):
    """Comes before `Task` among the bases of a task that fits a head on frozen features before it measures.

    Attributes:
        cache: frozen features on disk: "off", "read" or "write"; None leaves the choice to the task.
        workers: processes that load the clips that the head is fitted on; 0: the main process.
        allow_missing: whether files that cannot be read are left out of the fit; `Task.open` sets it.
    """

    cache: str | None = None
    workers: int = 0
    allow_missing: bool = False

    @abc.abstractmethod
    def fit(self, encoder: Encoder, folder: Path) -> None:
        """Fits the head, or resumes or reads the fit that is in `folder`.

        Called after `open`, in every process that has videos to measure; under `torchrun` in all of them.
        """

    @abc.abstractmethod
    def fit_summary(self, folder: Path) -> FitSummary | None:
        """How the head in `folder` was chosen; None where no fit was finished there.

        Raises:
            UserError: the fit in `folder` is damaged.
        """

    def left_out(self, folder: Path) -> list[str]:
        """One line for every file that the fit in `folder` left out because it cannot be read."""
        return []
