"""Where training clips come from: sources with weights, as `--data` names them.

    folder:DIR      every video below a folder
    list:FILE       a text file with a path on each line, absolute or relative to that file
    shards:DIR      clips cut before, see `rvm_bench.rvm.train.data.shards`
    procedural      painted as they are asked for, see `rvm_bench.rvm.train.data.procedural`

After the place may come settings: `folder:/videos@fps=15,weight=0.2`. Before it, the name of a source of the paper
brings its rate and weight: `ssv2=folder:/data/ssv2`.
"""

import functools
import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from rvm_bench.errors import DamagedFile, UserError, unknown_name
from rvm_bench.media.video.reader import frame_times_s
from rvm_bench.rvm.train.data.procedural import FRAMES, ProceduralScene
from rvm_bench.rvm.train.data.shards import Shards
from rvm_bench.rvm.train.data.timing import Clip

Kind = Literal["folder", "list", "shards", "procedural"]

VIDEO_SUFFIXES = frozenset(
    [".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"],
)
"""Files of a folder that are taken for videos, by suffix in any case; others are not looked at."""

PROCEDURAL_SCENES = 1 << 31
_CACHED_FILES = 4096

_NAMED = re.compile(r"([\w.-]+)=((?:folder|list|shards|procedural)(?:[:@].*)?)", re.DOTALL)
_SETTINGS = re.compile(r"\w+=[^=,@/]*(?:,\w+=[^=,@/]*)*")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source of a mixture.

    Attributes:
        kind: what `place` is.
        place: the folder or file; None for the procedural source.
        fps: frames a second of the clips; None takes the frames of a file one after the other.
        weight: how often a sample is drawn from it, relative to the others' weights.
        name: in messages and figures.
    """

    kind: Kind
    place: Path | None = None
    fps: float | None = None
    weight: float = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise unknown_name("kind of source", self.kind, get_args(Kind))
        if (self.place is None) != (self.kind == "procedural"):
            raise UserError(f"a source of kind {self.kind} {'needs a place' if self.place is None else 'has no place'}")
        if self.kind == "procedural" and self.fps is not None:
            raise UserError("the procedural source has no frame rate; leave fps out")
        for name, value in (("fps", self.fps), ("weight", self.weight)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} of a source is {value}; expected a number above 0")
        if not self.name:
            object.__setattr__(self, "name", self.kind if self.place is None else self.place.stem or self.kind)


@dataclass(frozen=True, kw_only=True)
class PaperSource:
    """A row of the paper's Table 4: `fps` and `weight`, and how many thousand clips it had."""

    fps: float
    weight: float
    thousands: int


PAPER_MIXTURE = {
    "ssv2": PaperSource(fps=25, weight=0.056, thousands=168),
    "kinetics700": PaperSource(fps=25, weight=0.188, thousands=733),
    "howto100m": PaperSource(fps=10, weight=0.318, thousands=1100),
    "yt8m": PaperSource(fps=10, weight=0.188, thousands=3300),
    "ytbb": PaperSource(fps=10, weight=0.250, thousands=380),
}
"""Paper, supplement, section 7, Table 4. The weights sum to 1. SSv2's files have 12 frames a second, so at the table's
25 each is shown about twice; `fps=native` takes them as they are."""


def parse_source(text: str) -> Source:
    """The source that a `--data` argument names; see the module.

    What follows the last "@" belongs to the place, unless it reads as settings.

    Raises:
        UserError: it cannot be read so; says what was expected.
    """
    named = _NAMED.fullmatch(text)
    name, rest = (named[1], named[2]) if named else ("", text)
    if name and name not in PAPER_MIXTURE:
        raise unknown_name("source of the paper", name, PAPER_MIXTURE)
    head, at, tail = rest.rpartition("@")
    if not at or not _SETTINGS.fullmatch(tail):
        head, tail = rest, ""
    kind, colon, place = head.partition(":")
    if kind not in get_args(Kind) or bool(place) != bool(colon) or bool(place) != (kind != "procedural"):
        raise UserError(
            f"cannot read the source {text!r}; expected folder:DIR, list:FILE, shards:DIR or procedural, and perhaps "
            "@fps=15,weight=0.2 after it"
        )
    values: dict[str, Any] = {"name": name}
    if name:
        values |= {"weight": PAPER_MIXTURE[name].weight, "fps": PAPER_MIXTURE[name].fps}
    values |= _settings(text, tail)
    return Source(kind=kind, place=Path(place).expanduser() if place else None, **values)  # type: ignore[arg-type]


def parse_sources(texts: Sequence[str]) -> tuple[Source, ...]:
    """The sources of a mixture, with numbers appended to names that occur twice.

    Raises:
        UserError: there is none, or one cannot be read.
    """
    if not texts:
        raise UserError("no training data was named; give --data folder:DIR, or --data procedural, which needs none")
    sources: list[Source] = []
    for source in map(parse_source, texts):
        alike = sum(source.name == re.sub(r"#\d+$", "", other.name) for other in sources)
        sources.append(replace(source, name=f"{source.name}#{alike + 1}") if alike else source)
    return tuple(sources)


class Clips(Protocol):
    """The videos of an open source, or its clips. It is pickled where worker processes read it."""

    def __len__(self) -> int: ...

    def names(self) -> Iterator[str]:
        """All that says which they are, whatever folder they are in."""

    def clip(self, index: int) -> Clip:
        """One of them. A `DamagedFile` where it cannot be read."""


def open_source(source: Source, size_px: int) -> Clips:
    """The videos of a source; `size_px` is the short side of procedural frames.

    Raises:
        UserError: there is no such place, or nothing in it.
    """
    if source.place is None:
        return Scenes(size_px)
    if source.kind == "shards":
        return Shards(source.place, timed=source.fps is not None)
    return VideoFiles(*(_listed if source.kind == "list" else _below)(source.place))


def digest(clips: Clips) -> str:
    """12 hexadecimal digits of what the clips are, the same on every host and wherever the folder is."""
    sha = hashlib.sha256()
    for name in clips.names():
        sha.update(name.encode("utf-8", "surrogateescape") + b"\n")
    return sha.hexdigest()[:12]


class VideoFiles:
    """Videos by their paths relative to a root."""

    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        self._root, self._paths = root, paths

    def __len__(self) -> int:
        return len(self._paths)

    def names(self) -> Iterator[str]:
        return iter(self._paths)

    def clip(self, index: int) -> Clip:
        from rvm_bench.media.video.reader import read_frames

        path = self._root / self._paths[index]
        if not path.is_file():
            raise DamagedFile(f"{path} is listed and not there; bring it back, or take it off the list")
        return Clip(name=str(path), times_s=_times_s(path), read=functools.partial(read_frames, path))


class Scenes:
    """The procedural source: as many scenes as there are seeds."""

    def __init__(self, size_px: int) -> None:
        self._size_px = size_px

    def __len__(self) -> int:
        return PROCEDURAL_SCENES

    def names(self) -> Iterator[str]:
        return iter(("procedural",))

    def clip(self, index: int) -> Clip:
        scene = ProceduralScene(index, self._size_px)

        def read(numbers: np.ndarray) -> np.ndarray:
            return np.stack([scene.frame(number) for number in numbers.tolist()])

        return Clip(name=f"scene {index}", times_s=np.arange(FRAMES, dtype=np.float64), read=read)


@functools.lru_cache(maxsize=_CACHED_FILES)
def _times_s(path: Path) -> np.ndarray:
    return frame_times_s(path)


def _below(folder: Path) -> tuple[Path, list[str]]:
    if not folder.is_dir():
        raise UserError(f"no such folder of videos: {folder}")
    paths = [
        Path(parent, name).relative_to(folder).as_posix()
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in VIDEO_SUFFIXES
    ]
    if not paths:
        raise UserError(f"{folder} holds no video; expected files that end in {', '.join(sorted(VIDEO_SUFFIXES))}")
    return folder, sorted(paths)


def _listed(file: Path) -> tuple[Path, list[str]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the list of videos {file} cannot be read ({error}); expected a path on each line") from error
    paths = [line for line in lines if line.strip()]
    if not paths:
        raise UserError(f"the list of videos {file} is empty; expected a path on each line")
    return file.parent, paths


def _settings(text: str, tail: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for setting in filter(None, tail.split(",")):
        key, _, value = setting.partition("=")
        if key not in ("fps", "weight"):
            raise unknown_name(f"setting in {text!r}", key, ("fps", "weight"))
        if (key, value) == ("fps", "native"):
            values[key] = None
            continue
        try:
            values[key] = float(value)
        except ValueError:
            expected = "a number or native" if key == "fps" else "a number"
            raise UserError(f"{key} in {text!r} is {value!r}; expected {expected}") from None
    return values
