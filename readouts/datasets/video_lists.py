"""Data sets of labelled video files: which of the listed videos a copy has, and the identity of the copy.

The content of annotations is hashed. Videos are hundreds of gigabytes: they are identified by name and size in bytes,
and opened when they are decoded. So a re-encoded video is noticed, unless it has the same size by chance; damage within
a file is noticed when it is decoded.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from readouts.datasets.opening import refuse_missing
from rvm_bench.api.task import Coverage, Dataset, Task
from rvm_bench.errors import UserError
from rvm_bench.formats.hashes import manifest_sha256

SHOWN = 10
"""Missing videos per split that a run's coverage names; the others are counted. A copy of Kinetics lacks thousands."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClipExample:
    """A labelled video file.

    Attributes:
        name: stem of the file, unique in its split.
        label: index of its class.
        length: number of frames that an evaluation reads, the unit of progress and of estimates.
    """

    name: str
    file: Path
    label: int
    length: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FoundFile:
    """A file that `walk` found."""

    path: str
    bytes: int

    @property
    def folder(self) -> str:
        """The name of its parent folder."""
        return os.path.basename(os.path.dirname(self.path))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSplit:
    """The videos of a split, in the order of its list: those that exist, and those that are missing.

    Attributes:
        name: of the split, in messages and in the manifest.
        examples: the videos that exist.
        sizes: of their files in bytes.
        missing: one line for each of the others.
    """

    name: str
    examples: tuple[ClipExample, ...]
    sizes: tuple[int, ...]
    missing: tuple[str, ...]

    @property
    def listed(self) -> int:
        return len(self.examples) + len(self.missing)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Official:
    """Numbers of classes and videos in the data set as published.

    Attributes:
        title: of the data set.
        beware: a data set that may be mistaken for it, for the message about different numbers.
    """

    title: str
    classes: int
    training: int
    evaluation: int
    beware: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipCopy:
    """A copy of a data set of labelled videos.

    Attributes:
        root: its folder.
        classes: class names, by label index.
        training, evaluation: the split that a head is fitted on, and the one that is scored.
        annotations: the files that list them.
        official: numbers of the complete data set.
    """

    root: Path
    classes: tuple[str, ...]
    training: ClipSplit
    evaluation: ClipSplit
    annotations: tuple[Path, ...]
    official: Official

    @property
    def lists_official(self) -> bool:
        """Whether the annotations list as many classes and videos as the official ones; names are not compared."""
        listed = len(self.classes), self.training.listed, self.evaluation.listed
        return listed == (self.official.classes, self.official.training, self.official.evaluation)

    def manifest_sha256(self) -> str:
        """Hash over the annotation files, and over split, name and size of every video that exists."""
        digest = hashlib.sha256()
        annotations = ((file.relative_to(self.root).as_posix(), file) for file in self.annotations)
        digest.update(f"{manifest_sha256(annotations)}\n".encode())
        for split in (self.training, self.evaluation):
            for example, size in zip(split.examples, split.sizes, strict=True):
                digest.update(f"{split.name} {example.name} {size}\n".encode())
        return digest.hexdigest()

    def problems(self) -> list[str]:
        """All that is wrong with the copy, one line each: numbers that differ from the official ones, classes without a
        training video, and every missing video. Empty for the complete official set."""
        lines = []
        if len(self.classes) != self.official.classes:
            lines.append(f"classes: {len(self.classes)} listed, {self.official.title} has {self.official.classes}")
        for split, official in ((self.training, self.official.training), (self.evaluation, self.official.evaluation)):
            if split.listed != official:
                lines.append(
                    f"videos of the {split.name} split: {split.listed:,} listed, {self.official.title} has "
                    f"{official:,}{self.official.beware}"
                )
        trained = {example.label for example in self.training.examples}
        lines += [f"class {name!r} has no training video" for i, name in enumerate(self.classes) if i not in trained]
        return [*lines, *self.training.missing, *self.evaluation.missing]

    def dataset(self, task: Task[Any], *, length: int, allow_missing: bool) -> Dataset:
        """The evaluation split as a data set; the training split is part of its identity and of its coverage.

        Videos count as official where `lists_official`.

        Args:
            task: for messages.
            length: number of frames that the evaluation reads of each video.
            allow_missing: whether listed videos may be missing; they are then left out of training and score, and the
                coverage counts them.

        Raises:
            UserError: a video is missing and `allow_missing` is false, or one of the splits has no video at all.
        """
        splits = (self.training, self.evaluation)
        for split in splits:
            if not split.examples:
                first = f"; {split.missing[0]}" if split.missing else ""
                raise UserError(f"no video of the {split.name} split is under {self.root}{first}")
        usable = len(self.evaluation.examples)
        refuse_missing(
            [*self.training.missing, *self.evaluation.missing],
            listed=sum(split.listed for split in splits),
            usable=usable,
            allow_missing=allow_missing,
            task=task.name,
            root=self.root,
            unit="video",
        )
        return Dataset(
            root=self.root,
            videos=tuple(dataclasses.replace(example, length=length) for example in self.evaluation.examples),
            manifest_sha256=self.manifest_sha256(),
            coverage=Coverage(
                listed=self.evaluation.listed,
                usable=usable,
                official=self.official.evaluation,
                in_official=usable if self.lists_official else 0,
                missing=tuple(line for split in splits for line in _shortened(split)),
            ),
        )


def split_of(name: str, listed: Iterable[tuple[str, int, FoundFile | None, Path]]) -> ClipSplit:
    """A split from (name, label index, file or None, expected path) of every listed video, in order.

    An empty file, the result of a failed download, counts as missing.
    """
    examples, sizes, missing = [], [], []
    for stem, label, found, expected in listed:
        if found is None:
            missing.append(f"{name}: {expected} is missing")
        elif found.bytes == 0:
            missing.append(f"{name}: {found.path} is empty")
        else:
            examples.append(ClipExample(name=stem, file=Path(found.path), label=label))
            sizes.append(found.bytes)
    return ClipSplit(name=name, examples=tuple(examples), sizes=tuple(sizes), missing=tuple(missing))


def walk(folder: Path, suffix: str) -> Iterator[FoundFile]:
    """Every file with a suffix in a folder and its subfolders, in no particular order.

    Each folder is listed once, and each such file is `stat`ed, following links; no file is opened. Hidden files
    ("._x.mp4", which some archivers leave) and dangling links are skipped.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from walk(Path(entry.path), suffix)
            elif entry.name.endswith(suffix) and entry.is_file():
                yield FoundFile(path=entry.path, bytes=entry.stat().st_size)


def first_existing(root: Path, names: Sequence[str], kind: str) -> Path:
    """The first of several paths below `root` that exists.

    Args:
        kind: of file or folder, for the message.

    Raises:
        UserError: none does.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    others = f", nor is {' or '.join(names[1:])}" if len(names) > 1 else ""
    raise UserError(f"{root / names[0]} is missing{others}; expected {kind} of the official layout: is --data right?")


def _shortened(split: ClipSplit) -> list[str]:
    """The lines of the missing videos; of many the first few, after a line with their number."""
    if len(split.missing) <= SHOWN:
        return list(split.missing)
    total = f"{split.name}: {len(split.missing):,} of {split.listed:,} videos are missing, {SHOWN} of them named here"
    return [total, *split.missing[:SHOWN]]
