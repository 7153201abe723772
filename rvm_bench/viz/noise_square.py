"""The moving noise square of the paper's Fig. 6: what moves can be seen, what stands in one frame cannot.

"A classic stimulus of a solid white noise square moving on top [of] a static white noise background" (section 4.4).
Every frame by itself is white noise: the square's texture is as independent of the ground as the ground's pixels are of
one another, and both move by whole pixels, since interpolation would smooth the square and give it away.

The paper does not say how large the frame and the square are, how fast it moves and where, how long the film lasts, and
how grey levels are distributed. All numbers below are ours.
"""

from dataclasses import dataclass

import numpy as np

from rvm_bench.errors import UserError, unknown_name

PATHS = ("bounce", "circle", "sweep")


@dataclass(frozen=True, kw_only=True)
class NoiseSquare:
    """Everything that makes the stimulus; the same values make the same pixels.

    Attributes:
        frames: its length.
        side_px: height and width of the frames.
        square_px: side of the square.
        speed_px: pixels per frame along its path.
        path: "bounce": straight, in a direction that the seed chooses, thrown back by the borders. "circle": around
            the middle, as far out as fits. "sweep": to and fro in a row at half height.
        seed: of both textures, and of the start and direction of "bounce".
    """

    frames: int = 64
    side_px: int = 256
    square_px: int = 96
    speed_px: float = 6.0
    path: str = "bounce"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.path not in PATHS:
            raise unknown_name("path of the noise square", self.path, PATHS)
        if self.frames < 1:
            raise UserError(f"the noise square has {self.frames} frames; it must have at least 1")
        if not 1 <= self.square_px <= self.side_px - 8:
            raise UserError(
                f"a square of {self.square_px} px cannot move in frames of {self.side_px} px; expected 1 to "
                f"{self.side_px - 8}"
            )
        if not 1 <= self.speed_px <= self.side_px:
            raise UserError(f"the square moves {self.speed_px} px a frame; expected 1 to {self.side_px}")

    def corners(self) -> np.ndarray:
        """int64 [T, 2]: top and left of the square in every frame, in pixels."""
        room = self.side_px - self.square_px
        travelled_px = self.speed_px * np.arange(self.frames)[:, None]
        if self.path == "circle":
            angle = travelled_px / (room / 2)
            places = room / 2 * (1 + np.concatenate([np.sin(angle), np.cos(angle)], axis=1))
        elif self.path == "sweep":
            places = np.concatenate([np.full_like(travelled_px, room / 2), _folded(travelled_px, room)], axis=1)
        else:
            rng = np.random.default_rng([self.seed, 2])
            # Between 25 and 65 degrees from either axis: it then visits the whole frame.
            angle = np.radians(rng.uniform(25, 65) + 90 * rng.integers(4))
            start = rng.uniform(0, room, 2)
            places = _folded(start + travelled_px * np.array([np.sin(angle), np.cos(angle)]), room)
        return np.rint(places).astype(np.int64)

    def make(self) -> tuple[np.ndarray, np.ndarray]:
        """The film, uint8 [T, S, S, 3] grey in RGB, each pixel uniform in 0..255; and the square, bool [T, S, S]."""
        ground, square = (
            np.random.default_rng([self.seed, texture]).integers(0, 256, (side, side), dtype=np.uint8)
            for texture, side in enumerate((self.side_px, self.square_px))
        )
        frames = np.repeat(ground[None], self.frames, axis=0)
        truth = np.zeros(frames.shape, bool)
        for t, (top, left) in enumerate(self.corners()):
            place = t, slice(top, top + self.square_px), slice(left, left + self.square_px)
            frames[place], truth[place] = square, True
        return np.repeat(frames[..., None], 3, axis=-1), truth


def _folded(places: np.ndarray, room: float) -> np.ndarray:
    """Places of what moves straight on, thrown back at 0 and at `room`."""
    return room - np.abs(places % (2 * room) - room)
