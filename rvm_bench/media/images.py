"""Reading and resizing frames, as the official evaluation does it, one frame at a time."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.media.encoded_images import PNG, check_png


class FrameFiles:
    """A video of image files that are read, and resized, when they are sliced; it never holds more than the slice.

    Args:
        files: one image per frame, in time order.
        size_hw: height and width in pixels of the frames that come out; None keeps the files' own size, which must be
            one size.
        resize: name of the filter in `RESIZES`.

    Attributes:
        shape: (T, H, W, 3) of what slicing gives.
    """

    def __init__(
        self, files: Sequence[Path], size_hw: tuple[int, int] | None = None, resize: str = "lanczos-uint8"
    ) -> None:
        self.files = list(files)
        self.size_hw = size_hw
        self.resize = RESIZES[resize]
        height, width = size_hw or read_rgb(self.files[0]).shape[:2]
        self.shape = (len(self.files), height, width, 3)

    def __getitem__(self, frames: slice, /) -> np.ndarray:
        return np.stack([self._read(file) for file in self.files[frames]])

    def _read(self, file: Path) -> np.ndarray:
        frame = read_rgb(file)
        if self.size_hw is not None:
            return self.resize(frame, self.size_hw)
        if frame.shape != self.shape[1:]:
            raise UserError(
                f"{file} is {frame.shape[1]}x{frame.shape[0]} px, the frames before it are "
                f"{self.shape[2]}x{self.shape[1]}; all frames of a video must have one size"
            )
        return frame


def read_rgb(file: Path) -> np.ndarray:
    """uint8 [H, W, 3] of an image file, or UserError where it cannot be read in full."""
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DamagedFile(f"{file} cannot be read as an image ({error}); get the file again") from error


def read_labels(file: Path) -> np.ndarray:
    """uint8 [H, W] of a label PNG: the palette index (or gray value) as stored, never its colour.

    Raises:
        DamagedFile: it cannot be read, or a checksum of its chunks is wrong.
        UserError: it is no PNG of palette indices, of 8-bit gray or of one bit: other values would not be ids.
    """
    try:
        content = file.read_bytes()
        if not content.startswith(PNG):
            raise UserError(f"{file} is no PNG; expected a palette or 8-bit gray PNG whose values are ids")
        check_png(content, str(file))
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            depth, colour = content[24], content[25]  # of the header chunk, which comes first
            if image.mode not in ("P", "L", "1") or (colour == 0 and depth in (2, 4)):
                # Pillow scales gray of 2 and 4 bits to 0..255, so that ids would be multiplied.
                raise UserError(
                    f"{file} has mode {image.mode} of {depth} bits, expected a palette or 8-bit gray PNG whose values "
                    "are ids"
                )
            return np.asarray(image).astype(np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise DamagedFile(f"{file} cannot be read as a label image ({error}); get the file again") from error


def write_labels(file: Path, labels: np.ndarray) -> None:
    """Writes ids uint8 [H, W] as a palette PNG in the PASCAL-VOC colours, whole or not at all."""
    image = Image.fromarray(labels.astype(np.uint8, copy=False))
    image.putpalette(voc_palette().tobytes())
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}")
    image.save(temporary, format="PNG")
    temporary.replace(file)


def voc_palette() -> np.ndarray:
    """The PASCAL-VOC colours, uint8 [256, 3]: bits 0, 1, 2 of the index, three at a time, fill red, green and blue from
    the top bit down (VOC devkit, `VOClabelcolormap.m`)."""
    index = np.arange(256)[:, None]
    bits = [((index >> (3 * place + np.arange(3))) & 1) << (7 - place) for place in range(8)]
    return np.sum(bits, axis=0).astype(np.uint8)


def image_size(file: Path) -> tuple[int, int]:
    """Height and width in pixels, from the header alone."""
    try:
        with Image.open(file) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{file} cannot be read as an image ({error}); get the file again") from error


def resize_lanczos(frame: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [h, w, 3] by Pillow's Lanczos filter on the uint8 image, rounded back to uint8.

    The aspect ratio is not kept. Source: mediapy `resize_video`, as the official evaluation notebook calls it.
    """
    height, width = size_hw
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))


def resize_bilinear(frame: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [h, w, 3] by OpenCV's bilinear filter on the uint8 image, without antialiasing.

    Source: facebookresearch/dino, `eval_video_segmentation.py`, `read_frame`.
    """
    import cv2

    return cv2.resize(frame, size_hw[::-1], interpolation=cv2.INTER_LINEAR)


RESIZES = {"lanczos-uint8": resize_lanczos, "bilinear-uint8": resize_bilinear}
