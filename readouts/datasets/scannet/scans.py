"""Scans of ScanNet v2 on disk, in either of two forms, and clips of colour and depth.

    <root>/scans/scene0000_00/scene0000_00.sens        a scan as distributed (see `sens.py`), or
    <root>/scans/scene0000_00/color/0.jpg              the same scan extracted, by the exporter of ScanNet/ScanNet:
                              depth/0.png              16-bit gray, millimetres, 0 where there is no depth
                              pose/0.txt               4x4, camera to world; not read for the depth task

Where a scan has both forms the `.sens` file is read: the exporter compresses colour again.

Source: ScanNet/ScanNet, `SensReader/python/SensorData.py`.
"""

import abc
import dataclasses
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from readouts.datasets.scannet.sens import MILLIMETRES, SensFile
from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.media.encoded_images import PNG, check_png
from rvm_bench.media.images import read_rgb
from rvm_bench.media.resize import resize

CLIP_FRAMES = 16

SUBSAMPLED = (
    "scannet_frames_25k, every 100th frame, has no neighbouring frames to make clips of; download the .sens files"
)


class Scan(abc.ABC):
    """One scan. Frames are numbered from 0 and read on demand.

    Attributes:
        name: such as scene0000_00.
        frames: number of frames, each with colour and depth.
    """

    name: str

    @property
    @abc.abstractmethod
    def frames(self) -> int: ...

    @property
    def length(self) -> int:
        return self.frames

    @abc.abstractmethod
    def colour(self, i: int) -> np.ndarray:
        """uint8 [H, W, 3] RGB of frame `i`; UserError where it cannot be decoded."""

    @abc.abstractmethod
    def depth(self, i: int) -> np.ndarray:
        """uint16 [h, w] of frame `i`: millimetres along the optical axis, 0 where there is none. Its size differs from
        that of colour. UserError where it cannot be decoded."""

    @abc.abstractmethod
    def pose(self, i: int) -> np.ndarray:
        """Camera to world of frame `i`, float32 [4, 4] in metres; -inf throughout where tracking was lost."""

    @abc.abstractmethod
    def identity(self) -> str:
        """A hash over names, number and sizes of the files (or payloads), not over their content."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SensScan(Scan):
    """A scan in one `.sens` file."""

    name: str
    file: SensFile

    @property
    def frames(self) -> int:
        return self.file.frames

    def colour(self, i: int) -> np.ndarray:
        return self.file.colour(i)

    def depth(self, i: int) -> np.ndarray:
        return self.file.depth(i)

    def pose(self, i: int) -> np.ndarray:
        return self.file.pose(i)

    def identity(self) -> str:
        return self.file.identity()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ExtractedScan(Scan):
    """A scan as folders of files.

    Attributes:
        colour_files, depth_files: (name, size in bytes) of the files, in frame order.
    """

    name: str
    folder: Path
    colour_files: tuple[tuple[str, int], ...]
    depth_files: tuple[tuple[str, int], ...]

    @property
    def frames(self) -> int:
        return len(self.colour_files)

    def colour(self, i: int) -> np.ndarray:
        return read_rgb(self.folder / "color" / self.colour_files[i][0])

    def depth(self, i: int) -> np.ndarray:
        return read_depth(self.folder / "depth" / self.depth_files[i][0])

    def pose(self, i: int) -> np.ndarray:
        file = self.folder / "pose" / f"{Path(self.colour_files[i][0]).stem}.txt"
        try:
            return np.loadtxt(file, dtype=np.float32).reshape(4, 4)
        except (OSError, ValueError) as error:
            raise UserError(f"{file} cannot be read as a 4x4 matrix ({error}); extract the scan again") from error

    def identity(self) -> str:
        lines = (f"{name} {size}\n" for name, size in (*self.colour_files, *self.depth_files))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def open_scan(root: Path, name: str) -> Scan:
    """A scan below `root`, in either form; its files are listed, not decoded.

    Raises:
        UserError: it is missing, truncated, empty, lacks frames in its numbering, or has frames without a depth map.
    """
    folder = root / "scans" / name
    sens = folder / f"{name}.sens"
    if sens.is_file():
        scan: Scan = SensScan(name=name, file=SensFile(sens))
    elif (folder / "color").is_dir() or (folder / "depth").is_dir():
        scan = _open_extracted(folder, name)
    else:
        raise UserError(f"{folder} is missing or empty; expected {name}.sens, or color/ and depth/ extracted from it")
    if scan.frames < CLIP_FRAMES:
        raise UserError(f"{folder} has {scan.frames} frames; a clip has {CLIP_FRAMES}")
    return scan


def read_depth(file: Path) -> np.ndarray:
    """uint16 [H, W] of a depth PNG, as stored. UserError where it cannot be read completely or is not 16-bit."""
    try:
        content = file.read_bytes()
        if content.startswith(PNG):  # Pillow does not look at the checksums of pixels
            check_png(content, str(file))
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            # Pillow's mode of 16-bit gray is I;16, before version 11 also I.
            if not image.mode.startswith("I"):
                raise UserError(
                    f"{file} has mode {image.mode}, expected a 16-bit gray PNG in millimetres; extract the scan again "
                    "with an exporter that keeps 16 bits"
                )
            return np.asarray(image).astype(np.uint16)
    except (OSError, SyntaxError, ValueError) as error:
        raise DamagedFile(f"{file} cannot be read as a depth image ({error}); extract the scan again") from error


def load_clip(scan: Scan, indices: Sequence[int] | np.ndarray, side: int = 224) -> tuple[np.ndarray, np.ndarray]:
    """Colour uint8 [T, side, side, 3] and depth float32 [T, side, side] in metres, 0 where there is none.

    Both are resized to a square regardless of their aspect ratio, which keeps colour and depth aligned; the views of
    ScanNet's two cameras agree to about 1 % of the width and are not registered any further. Colour is resized by an
    antialiased bilinear filter, depth by nearest neighbour, so that depths are never averaged across an edge or with
    invalid pixels.
    """
    colour = np.stack([resize(np.array(scan.colour(int(i)))[None], (side, side))[0] for i in indices])
    depth = np.stack([resize_depth(scan.depth(int(i)), (side, side)) for i in indices])
    return colour, (depth / np.float32(MILLIMETRES)).astype(np.float32)


def resize_depth(depth: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """[H, W] -> [h, w] by nearest neighbour of pixel centres: row i is row floor((i + 1/2) H / h)."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size_hw, depth.shape, strict=True))
    return depth[rows[:, None], columns]


def _open_extracted(folder: Path, name: str) -> ExtractedScan:
    colour, depth = _numbered(folder / "color", ".jpg"), _numbered(folder / "depth", ".png")
    for kind, other, found, expected in (("depth", "color", depth, colour), ("color", "depth", colour, depth)):
        if missing := sorted(expected.keys() - found.keys()):
            raise UserError(f"{folder / kind} lacks {_listed(missing)} of {len(expected)} frames in {other}/")
    numbers = sorted(colour)
    if not numbers:
        raise UserError(f"{folder} has no frames in color/ and depth/")
    step = int(np.gcd.reduce(numbers))
    if step > 1:
        why = f"; this looks like {SUBSAMPLED}" if step == 100 else "; extract every frame"
        raise UserError(f"{folder} holds only every {step}th frame{why}")
    if missing := sorted(set(range(numbers[-1] + 1)) - set(numbers)):
        raise UserError(f"{folder} lacks {_listed(missing)} in color/ and depth/; extract the scan again")
    for kind, files in (("color", colour), ("depth", depth)):
        if empty := [file for file, size in files.values() if size == 0]:
            raise UserError(f"{folder / kind / empty[0]} is empty; extract the scan again")
    return ExtractedScan(
        name=name,
        folder=folder,
        colour_files=tuple(colour[number] for number in numbers),
        depth_files=tuple(depth[number] for number in numbers),
    )


def _numbered(folder: Path, suffix: str) -> dict[int, tuple[str, int]]:
    """Frame number -> (name, size) of the files that are named by a number; unordered."""
    found: dict[int, tuple[str, int]] = {}
    if not folder.is_dir():
        return found
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, dot = os.path.splitext(entry.name)
            if dot.lower() != suffix or not (stem.isascii() and stem.isdecimal()):
                continue
            if int(stem) in found:
                raise UserError(f"{folder} holds frame {int(stem)} twice: {found[int(stem)][0]} and {entry.name}")
            found[int(stem)] = entry.name, entry.stat().st_size
    return found


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:3])
    return (
        f"frame {shown}"
        if len(numbers) == 1
        else f"frames {shown}{', ...' if len(numbers) > 3 else ''} ({len(numbers)})"
    )
