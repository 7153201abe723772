"""A split of a data set on disk, verified: the usable videos, and what is wrong with the others."""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

from rvm_bench.api.task import Coverage, Dataset, Video
from rvm_bench.errors import UserError
from rvm_bench.formats.hashes import manifest_sha256


class VerifiedVideo(Video, typing.Protocol):
    """A video whose files could all be read."""

    @property
    def files(self) -> Sequence[Path]:
        """Every file that is read of it, in a fixed order."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifiedSplit:
    """What was found of a split.

    Attributes:
        root: of the data set.
        lists: the split files.
        listed: names of the videos in them.
        videos: the usable ones, in the order of `listed`.
        problems: of every other video, by name.
        official: number of videos in the official split.
        in_official: number of `videos` that belong to it.
        remarks: differences from the official split, and oddities of usable videos, one line each.
    """

    root: Path
    lists: Sequence[Path]
    listed: Sequence[str]
    videos: Sequence[VerifiedVideo]
    problems: Mapping[str, Sequence[str]]
    official: int
    in_official: int
    remarks: Sequence[str]

    @property
    def missing(self) -> list[str]:
        """Why each video that is not usable is not, one line per problem."""
        return [f"{name}: {problem}" for name, problems in self.problems.items() for problem in problems]

    def check(self) -> list[str]:
        """One line for every problem and remark; empty for the complete official split."""
        return [*self.missing, *self.remarks]

    def dataset(self, task: str, *, allow_missing: bool) -> Dataset:
        """The usable videos, with the others left out if `allow_missing`; `task` is the name of the task.

        Raises:
            UserError: a video is not usable and `allow_missing` is false, or none is usable. It has the first problem.
        """
        missing = self.missing
        if missing and not (allow_missing and self.videos):
            raise UserError(self._refusal(task, allow_missing))
        files = [*self.lists, *(file for video in self.videos for file in video.files)]
        return Dataset(
            root=self.root,
            videos=tuple(self.videos),
            manifest_sha256=manifest_sha256((file.relative_to(self.root).as_posix(), file) for file in files),
            coverage=Coverage(
                listed=len(self.listed),
                usable=len(self.videos),
                official=self.official,
                in_official=self.in_official,
                missing=tuple(missing),
            ),
        )

    def _refusal(self, task: str, allow_missing: bool) -> str:
        first, *others = self.missing
        more = f" (and {len(others)} more)" if others else ""
        remedy = (
            "no video is usable" if allow_missing else "--allow-missing leaves the video out, the score is then partial"
        )
        return f"{first}{more}; `rvm-bench data check {task} --data {self.root}` lists everything; {remedy}"


def read_names(file: Path) -> list[str]:
    """The names in a split file, one per line.

    Raises:
        UserError: the file is missing, empty, or has a name twice.
    """
    if not file.is_file():
        raise UserError(f"{file} is missing; expected the official layout: is --data right?")
    names = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    if not names:
        raise UserError(f"{file} names no video")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{file} names {', '.join(repeated)} more than once")
    return names
