"""Videos stored as a folder of frames and a folder of label masks: found, verified, and told apart if broken."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rvm_bench.api.task import Coverage, Dataset, Task
from rvm_bench.errors import UserError
from rvm_bench.formats.hashes import manifest_sha256
from rvm_bench.media.images import read_labels, read_rgb

VOID = 255
"""Label of pixels that are not judged."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedVideo:
    """A verified video: every frame and every mask can be read, and all have one size.

    Attributes:
        frames, masks: files in time order, one mask per frame.
        native_hw: height and width in pixels.
        largest_id: largest label over all masks, void aside.
    """

    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path, ...]
    native_hw: tuple[int, int]
    largest_id: int

    @property
    def length(self) -> int:
        return len(self.frames)


def read_split(file: Path) -> list[str]:
    """The names in a split file, one per line.

    Raises:
        UserError: the file is missing, empty, or names something twice.
    """
    if not file.is_file():
        raise UserError(f"{file} is missing; expected the official layout: is --data right?")
    names = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    if not names:
        raise UserError(f"{file} names no video")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{file} names {', '.join(twice)} more than once")
    return names


def verify_videos(
    root: Path, names: Sequence[str], *, frames: str, masks: str, least_frames: int, consecutive: bool = True
) -> tuple[list[MaskedVideo], dict[str, list[str]]]:
    """The videos that are whole, and for every other one all that is wrong with it.

    Every image is decoded, so that nothing fails hours later in the middle of a run.

    Args:
        root: of the data set.
        names: videos to look for.
        frames, masks: folders below `root` that hold a folder per video, of .jpg and .png files.
        least_frames: fewer frames than this cannot be scored.
        consecutive: whether numbered files must have no holes in their numbering.

    Returns:
        (videos in the order of `names`, {name: problems} of the others).
    """
    videos: list[MaskedVideo] = []
    problems: dict[str, list[str]] = {}
    for name in tqdm(names, desc="reading data", unit="video", leave=False, disable=None):
        frame_files = image_files(root / frames / name, ".jpg")
        mask_files = image_files(root / masks / name, ".png")
        wrong = _gaps(root / frames / name, frame_files, root / masks / name, mask_files, consecutive)
        if not wrong and len(frame_files) < least_frames:
            wrong = [f"{root / frames / name} has {len(frame_files)} frames; at least {least_frames} are needed"]
        native_hw, largest_id = (0, 0), 0
        if not wrong:
            native_hw, largest_id, wrong = decode(frame_files, mask_files)
        if wrong:
            problems[name] = wrong
        else:
            videos.append(
                MaskedVideo(
                    name=name,
                    frames=tuple(frame_files),
                    masks=tuple(mask_files),
                    native_hw=native_hw,
                    largest_id=largest_id,
                )
            )
    return videos, problems


@dataclasses.dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy of a data set as it was found.

    Attributes:
        root: where it is.
        names: of the videos that its split lists.
        videos: those that are whole, in the order of `names`.
        problems: all that is wrong with each of the others, by name.
        files: everything that is read of the whole videos and of the lists, in a fixed order, for the manifest.
    """

    root: Path
    names: Sequence[str]
    videos: Sequence[Any]
    problems: Mapping[str, Sequence[str]]
    files: Sequence[Path]

    def lines(self) -> list[str]:
        """All that is wrong, one line each."""
        return [f"{name}: {problem}" for name, wrong in self.problems.items() for problem in wrong]

    def dataset(self, task: Task[Any], *, official: int, in_official: int, allow_missing: bool) -> Dataset:
        """The whole videos as a data set, with the others in its coverage where that is allowed.

        Args:
            task: whose data it is.
            official, in_official: see `Coverage`.
            allow_missing: whether videos may be left out.

        Raises:
            UserError: a video is broken and `allow_missing` is false, or none is whole. It names the first problem.
        """
        missing = tuple(self.lines())
        if missing and not (allow_missing and self.videos):
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            mend = (
                "no video is whole"
                if allow_missing
                else "--allow-missing leaves the video out, the score is then partial"
            )
            raise UserError(
                f"{missing[0]}{more}; `rvm-bench data check {task.name} --data {self.root}` lists everything; {mend}"
            )
        return Dataset(
            root=self.root,
            videos=tuple(self.videos),
            manifest_sha256=manifest_sha256((file.relative_to(self.root).as_posix(), file) for file in self.files),
            coverage=Coverage(
                listed=len(self.names),
                usable=len(self.videos),
                official=official,
                in_official=in_official,
                missing=missing,
            ),
        )


Verify = Callable[[Path, Sequence[str]], tuple[list[MaskedVideo], dict[str, list[str]]]]
"""(root, names) -> (whole videos, problems of the others), as `verify_videos`."""


def read_masked(root: Path, split: str, verify: Verify) -> Copy:
    """A copy of a data set of masked videos whose split file is `root / split`."""
    names = read_split(root / split)
    videos, problems = verify(root, names)
    files = [root / split, *(file for video in videos for file in (*video.frames, *video.masks))]
    return Copy(root=root, names=names, videos=videos, problems=problems, files=files)


def image_files(folder: Path, suffix: str) -> list[Path]:
    """Files by name; not the hidden companions ("._00000.jpg") that some archivers leave beside them."""
    return sorted(file for file in folder.glob(f"*{suffix}") if not file.name.startswith("."))


def _gaps(
    frame_dir: Path, frames: Sequence[Path], mask_dir: Path, masks: Sequence[Path], consecutive: bool
) -> list[str]:
    """Missing folders, frames without a mask, masks without a frame, and (if asked for) holes in the numbering."""
    for folder, files in ((frame_dir, frames), (mask_dir, masks)):
        if not files:
            return [f"{folder} is missing or empty"]
    frame_stems, mask_stems = {f.stem for f in frames}, {m.stem for m in masks}
    wrong = [f"{frame_dir / stem}.jpg is missing (its mask is there)" for stem in sorted(mask_stems - frame_stems)]
    wrong += [f"{mask_dir / stem}.png is missing (its frame is there)" for stem in sorted(frame_stems - mask_stems)]
    if not wrong and consecutive and all(stem.isdecimal() for stem in frame_stems):
        wrong = [f"{file} is missing (and its mask)" for file in holes(frames, int(frames[0].stem))]
    return wrong


def holes(files: Sequence[Path], first: int) -> list[Path]:
    """The files that a numbering from `first` to the largest number promises and that are not there.

    files: named by decimal numbers.
    """
    there, digits = {int(file.stem) for file in files}, len(files[0].stem)
    missing = sorted(set(range(first, max(there) + 1)) - there)
    return [files[0].with_stem(f"{number:0{digits}d}") for number in missing]


def decode(frames: Sequence[Path], masks: Sequence[Path] = ()) -> tuple[tuple[int, int], int, list[str]]:
    """Height and width of the images, largest label, and every file that cannot be read or has another size."""
    native_hw: tuple[int, int] | None = None
    largest_id = 0
    wrong = []
    for file, read in [*((file, read_rgb) for file in frames), *((file, read_labels) for file in masks)]:
        try:
            image = read(file)
        except UserError as error:
            wrong.append(str(error))
            continue
        if read is read_labels:
            largest_id = max(largest_id, int(image[image != VOID].max(initial=0)))
        if native_hw is None:
            native_hw = image.shape[0], image.shape[1]
        if image.shape[:2] != native_hw:
            wrong.append(
                f"{file} is {image.shape[1]}x{image.shape[0]} px, {frames[0]} is {native_hw[1]}x{native_hw[0]}; "
                "all images of a video must have one size"
            )
    return native_hw or (0, 0), largest_id, wrong
