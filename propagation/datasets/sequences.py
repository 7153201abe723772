"""Videos as a folder of frames and a folder of label masks: found, decoded and verified."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rvm_bench.errors import UserError
from rvm_bench.media.images import read_labels, read_rgb

VOID = 255
"""Label of pixels that are not scored."""

Problems = dict[str, list[str]]
"""All that is wrong with a video, by the name of the video."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedVideo:
    """A verified video: every frame and every mask can be decoded, and all have one size.

    Attributes:
        frames, masks: files in time order, one mask per frame.
        native_hw: height and width in pixels.
        largest_id: largest label over all masks, apart from void.
        objects: largest label in the first mask, apart from void: what is propagated and scored.
    """

    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path, ...]
    native_hw: tuple[int, int]
    largest_id: int
    objects: int

    @property
    def length(self) -> int:
        return len(self.frames)

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.frames, *self.masks)


def verify_masked_videos(
    root: Path,
    names: Sequence[str],
    *,
    frames: str,
    masks: str,
    least_frames: int,
    consecutive: bool,
    check: Callable[[MaskedVideo], list[str]],
) -> tuple[list[MaskedVideo], Problems]:
    """The usable videos in the order of `names`, and the problems of the others.

    Every image is decoded, so that a run does not fail after hours.

    Args:
        root: of the data set.
        names: videos to verify.
        frames, masks: folders below `root` with a folder of .jpg and of .png files per video.
        least_frames: fewer frames than this cannot be scored.
        consecutive: whether the numbers of the files must have no gap.
        check: problems that only this data set knows, of a video that is otherwise usable.
    """
    videos: list[MaskedVideo] = []
    problems: Problems = {}
    for name in tqdm(names, desc="reading data", unit="video", leave=False, disable=None):
        frame_files = image_files(root / frames / name, ".jpg")
        mask_files = image_files(root / masks / name, ".png")
        wrong = _unpaired(root / frames / name, frame_files, root / masks / name, mask_files)
        if not wrong and consecutive and all(file.stem.isdecimal() for file in frame_files):
            gaps = missing_files(frame_files, int(frame_files[0].stem))
            wrong = [f"{file} is missing (and its mask)" for file in gaps]
        if not wrong and len(frame_files) < least_frames:
            wrong = [f"{root / frames / name} has {len(frame_files)} frames; at least {least_frames} are needed"]
        if not wrong:
            native_hw, largest_id, wrong = decode(frame_files, mask_files)
        if not wrong:
            video = MaskedVideo(
                name=name,
                frames=tuple(frame_files),
                masks=tuple(mask_files),
                native_hw=native_hw,
                largest_id=largest_id,
                objects=int(largest_of(read_labels(mask_files[0]))),
            )
            wrong = check(video)
        if wrong:
            problems[name] = wrong
        else:
            videos.append(video)
    return videos, problems


def image_files(folder: Path, suffix: str) -> list[Path]:
    """Files in the order of their numbers, else of their names: 2.jpg comes before 10.jpg.

    Hidden ones are left out: some archivers leave companions such as "._00000.jpg".
    """
    files = [file for file in folder.glob(f"*{suffix}") if not file.name.startswith(".")]
    numbered = all(file.stem.isdecimal() for file in files)
    return sorted(files, key=lambda file: (int(file.stem) if numbered else 0, file.name))


def largest_of(mask: np.ndarray) -> int:
    """The largest label of a mask, apart from void."""
    return int(mask[mask != VOID].max(initial=0))


def missing_files(files: Sequence[Path], first: int) -> list[Path]:
    """The files that are not there of a numbering from `first` to the largest number.

    files: named by decimal numbers.
    """
    present, digits = {int(file.stem) for file in files}, len(files[0].stem)
    missing = sorted(set(range(first, max(present) + 1)) - present)
    return [files[0].with_stem(f"{number:0{digits}d}") for number in missing]


def decode(frames: Sequence[Path], masks: Sequence[Path] = ()) -> tuple[tuple[int, int], int, list[str]]:
    """Height and width of the images, largest label, and a line for every file that is damaged or of another size."""
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
            largest_id = max(largest_id, largest_of(image))
        if native_hw is None:
            native_hw = image.shape[0], image.shape[1]
        if image.shape[:2] != native_hw:
            wrong.append(
                f"{file} is {image.shape[1]}x{image.shape[0]} px, {frames[0]} is {native_hw[1]}x{native_hw[0]}; "
                "all images of a video must have one size"
            )
    return native_hw or (0, 0), largest_id, wrong


def _unpaired(frame_dir: Path, frames: Sequence[Path], mask_dir: Path, masks: Sequence[Path]) -> list[str]:
    """A line for a folder that is missing, or for every frame without a mask and every mask without a frame."""
    for folder, files in ((frame_dir, frames), (mask_dir, masks)):
        if not files:
            return [f"{folder} is missing or empty"]
    frame_stems, mask_stems = {f.stem for f in frames}, {m.stem for m in masks}
    wrong = [f"{frame_dir / stem}.jpg is missing (its mask is there)" for stem in sorted(mask_stems - frame_stems)]
    return wrong + [
        f"{mask_dir / stem}.png is missing (its frame is there)" for stem in sorted(frame_stems - mask_stems)
    ]
