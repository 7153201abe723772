"""A tiny data set in the layout of DAVIS-2017, and the folder of a run."""

from pathlib import Path

import numpy as np
from PIL import Image

DAVIS_COPY = {"alpha": 5, "beta": 4, "gamma": 4}
"""Frames of each sequence of the copy that most tests read."""


def write_davis(root: Path, sequences: dict[str, int], size_hw: tuple[int, int] = (60, 110)) -> Path:
    """Squares that move over noise, three pixels a frame: one in every other sequence, two in the others."""
    height, width = size_hw
    rng = np.random.default_rng(0)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("".join(f"{name}\n" for name in sequences))
    for number, (name, frames) in enumerate(sequences.items()):
        background = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for folder in ("JPEGImages", "Annotations"):
            (root / folder / "480p" / name).mkdir(parents=True)
        square = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        for t in range(frames):
            frame, mask = background.copy(), np.zeros((height, width), np.uint8)
            for i in range(1 + number % 2):
                y, x = 10 + 22 * i, 10 + 10 * number + 3 * t
                frame[y : y + 20, x : x + 20], mask[y : y + 20, x : x + 20] = square, i + 1
            Image.fromarray(frame).save(root / "JPEGImages/480p" / name / f"{t:05d}.jpg", quality=95)
            image = Image.fromarray(mask)
            image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
            image.save(root / "Annotations/480p" / name / f"{t:05d}.png")
    return root


def the_run(folder: Path) -> Path:
    """The only run below a folder of runs."""
    (found,) = folder.glob("*/*/run.json")
    return found.parent
