"""Videos stored as a folder of frames and a folder of label masks: found, verified, and told apart if broken."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from rvm_bench.errors import UserError
from rvm_bench.images import read_labels, read_rgb

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
    root: Path, names: Sequence[str], *, frames: str, masks: str, least_frames: int
) -> tuple[list[MaskedVideo], dict[str, list[str]]]:
    """The videos that are whole, and for every other one all that is wrong with it.

    Every image is decoded, so that nothing fails hours later in the middle of a run.

    Args:
        root: of the data set.
        names: videos to look for.
        frames, masks: folders below `root` that hold a folder per video, of .jpg and .png files.
        least_frames: fewer frames than this cannot be scored.

    Returns:
        (videos in the order of `names`, {name: problems} of the others).
    """
    videos: list[MaskedVideo] = []
    problems: dict[str, list[str]] = {}
    for name in tqdm(names, desc="reading data", unit="video", leave=False, disable=None):
        frame_files = _files(root / frames / name, ".jpg")
        mask_files = _files(root / masks / name, ".png")
        wrong = _gaps(root / frames / name, frame_files, root / masks / name, mask_files)
        if not wrong and len(frame_files) < least_frames:
            wrong = [f"{root / frames / name} has {len(frame_files)} frames; at least {least_frames} are needed"]
        native_hw, largest_id = (0, 0), 0
        if not wrong:
            native_hw, largest_id, wrong = _decode(frame_files, mask_files)
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


def refuse_or_list(problems: dict[str, list[str]], usable: int, *, allow_missing: bool, check: str) -> tuple[str, ...]:
    """The problems as lines, where they are allowed and something is usable; else a UserError with the first one."""
    lines = [f"{name}: {problem}" for name, wrong in problems.items() for problem in wrong]
    if lines and not (allow_missing and usable):
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        mend = (
            "no video is whole" if allow_missing else "--allow-missing leaves the video out and marks the score partial"
        )
        raise UserError(f"{lines[0]}{more}; `{check}` lists everything; {mend}")
    return tuple(lines)


def _files(folder: Path, suffix: str) -> list[Path]:
    """Files by name; not the hidden companions ("._00000.jpg") that some archivers leave beside them."""
    return sorted(file for file in folder.glob(f"*{suffix}") if not file.name.startswith("."))


def _gaps(frame_dir: Path, frames: Sequence[Path], mask_dir: Path, masks: Sequence[Path]) -> list[str]:
    """Missing folders, frames without a mask, masks without a frame, and holes in the numbering."""
    for folder, files in ((frame_dir, frames), (mask_dir, masks)):
        if not files:
            return [f"{folder} is missing or empty"]
    frame_stems, mask_stems = {f.stem for f in frames}, {m.stem for m in masks}
    wrong = [f"{frame_dir / stem}.jpg is missing (its mask is there)" for stem in sorted(mask_stems - frame_stems)]
    wrong += [f"{mask_dir / stem}.png is missing (its frame is there)" for stem in sorted(frame_stems - mask_stems)]
    if not wrong and all(stem.isdecimal() for stem in frame_stems):
        first, last = int(frames[0].stem), int(frames[-1].stem)
        holes = sorted(set(range(first, last + 1)) - {int(stem) for stem in frame_stems})
        digits = len(frames[0].stem)
        wrong = [f"{frame_dir / f'{hole:0{digits}d}'}.jpg is missing (and its mask)" for hole in holes]
    return wrong


def _decode(frames: Sequence[Path], masks: Sequence[Path]) -> tuple[tuple[int, int], int, list[str]]:
    """Size of the frames, largest label, and every file that cannot be read or has another size."""
    native_hw: tuple[int, int] | None = None
    largest_id = 0
    wrong = []
    for frame_file, mask_file in zip(frames, masks, strict=True):
        try:
            frame = read_rgb(frame_file)
            mask = read_labels(mask_file)
        except UserError as error:
            wrong.append(str(error))
            continue
        largest_id = max(largest_id, int(mask[mask != VOID].max(initial=0)))
        if native_hw is None:
            native_hw = frame.shape[0], frame.shape[1]
        wrong += [
            f"{file} is {image.shape[1]}x{image.shape[0]} px, {frames[0]} is {native_hw[1]}x{native_hw[0]}; "
            "frames and masks of a video must have one size"
            for file, image in ((frame_file, frame), (mask_file, mask))
            if image.shape[:2] != native_hw
        ]
    return native_hw or (0, 0), largest_id, wrong
