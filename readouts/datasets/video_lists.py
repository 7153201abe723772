"""Data sets of labelled video files: what is there, what is missing, and which copy it is.

The annotations are small and are hashed whole. The videos are hundreds of gigabytes: each is known by its name and its
size in bytes, and is first opened when it is read. So a video that was encoded again is noticed, unless it happens to
have the same size; one that is damaged within is not noticed before it is decoded.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rvm_bench.api.task import Coverage, Dataset, Task
from rvm_bench.errors import UserError
from rvm_bench.formats.hashes import manifest_sha256

SHOWN = 10
"""Missing videos that a run's coverage names; the others it counts. A copy of Kinetics misses thousands."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClipExample:
    """A labelled video file.

    Attributes:
        name: unique in its split; the file's stem.
        label: index of its class.
        length: frames that an evaluation takes of it, the unit of progress and of estimates.
    """

    name: str
    file: Path
    label: int
    length: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FoundFile:
    """A file of a folder that was walked."""

    path: str
    bytes: int

    @property
    def folder(self) -> str:
        """The name of the folder right around it."""
        return os.path.basename(os.path.dirname(self.path))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSplit:
    """The videos that one split lists, in its order: those that are there, and those that are not.

    Attributes:
        name: of the split, as messages and the manifest call it.
        examples: the videos that are there.
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
    """How many there are in the data set as it was published.

    Attributes:
        title: of the data set.
        beware: what else might be mistaken for it, for the message about another count.
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
        root: where it is.
        classes: names by label index.
        training, evaluation: what a head is trained on, and what is scored.
        annotations: the files that list them.
        official: what there would be.
    """

    root: Path
    classes: tuple[str, ...]
    training: ClipSplit
    evaluation: ClipSplit
    annotations: tuple[Path, ...]
    official: Official

    @property
    def lists_official(self) -> bool:
        """Whether the annotations list as many classes and videos as the official ones; which they are is not told."""
        listed = len(self.classes), self.training.listed, self.evaluation.listed
        return listed == (self.official.classes, self.official.training, self.official.evaluation)

    def manifest_sha256(self) -> str:
        """Hash over the annotation files, and over split, name and size of every video that is there."""
        digest = hashlib.sha256()
        annotations = ((file.relative_to(self.root).as_posix(), file) for file in self.annotations)
        digest.update(f"{manifest_sha256(annotations)}\n".encode())
        for split in (self.training, self.evaluation):
            for example, size in zip(split.examples, split.sizes, strict=True):
                digest.update(f"{split.name} {example.name} {size}\n".encode())
        return digest.hexdigest()

    def problems(self) -> list[str]:
        """All that is wrong with the copy, one line each: other counts than the official ones, classes without a
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
        taught = {example.label for example in self.training.examples}
        lines += [f"class {name!r} has no training video" for i, name in enumerate(self.classes) if i not in taught]
        return [*lines, *self.training.missing, *self.evaluation.missing]

    def dataset(self, task: Task[Any], *, length: int, allow_missing: bool) -> Dataset:
        """The evaluation split as a data set; the training split is part of its identity and of its coverage.

        Videos count as official where the annotations list as many of everything as the official ones do.

        Args:
            length: frames that the evaluation takes of each video.
            allow_missing: whether videos that the annotations list may be missing; they are then left out of training
                and score, and the coverage counts them.

        Raises:
            UserError: something is missing and `allow_missing` is false, or one of the splits has no video at all.
        """
        splits = (self.training, self.evaluation)
        for split in splits:
            if not split.examples:
                first = f"; {split.missing[0]}" if split.missing else ""
                raise UserError(f"no video of the {split.name} split is under {self.root}{first}")
        missing = sum(len(split.missing) for split in splits)
        if missing and not allow_missing:
            first = next(split.missing[0] for split in splits if split.missing)
            more = f" (and {missing - 1:,} more of {sum(split.listed for split in splits):,})" if missing > 1 else ""
            raise UserError(
                f"{first}{more}; `rvm-bench data check {task.name} --data {self.root}` lists everything; "
                "--allow-missing leaves the videos out, the score is then partial"
            )
        usable = len(self.evaluation.examples)
        return Dataset(
            root=self.root,
            videos=tuple(dataclasses.replace(example, length=length) for example in self.evaluation.examples),
            manifest_sha256=self.manifest_sha256(),
            coverage=Coverage(
                listed=self.evaluation.listed,
                usable=usable,
                official=self.official.evaluation,
                in_official=usable if self.lists_official else 0,
                missing=tuple(line for split in splits for line in _digest(split)),
            ),
        )


def split_of(name: str, listed: Iterable[tuple[str, int, FoundFile | None, Path]]) -> ClipSplit:
    """A split from (name, label index, file or None, where it should be) of every listed video, in order.

    An empty file, as failed downloads leave them, counts as missing.
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
    """Every file with a suffix in a folder and the folders below it, in no particular order.

    Each folder is read once and each such file asked for its size, links being followed; nothing is opened. Hidden
    files ("._x.mp4", which some archivers leave) are passed over, and so are links to nothing.
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
    """The first of several usual places that exists.

    Raises:
        UserError: none does.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    others = f", nor is {' or '.join(names[1:])}" if len(names) > 1 else ""
    raise UserError(f"{root / names[0]} is missing{others}; expected {kind} of the official layout: is --data right?")


def _digest(split: ClipSplit) -> list[str]:
    """The lines of the missing videos: the first few, and how many there are in all."""
    if len(split.missing) <= SHOWN:
        return list(split.missing)
    total = f"{split.name}: {len(split.missing):,} of {split.listed:,} videos are missing, {SHOWN} of them named here"
    return [total, *split.missing[:SHOWN]]
