"""Frames of a video as one tall picture, of which the page shows one frame at a time, and their budget of bytes.

A sprite needs no video codec, no script to be looked at, and steps frame by frame in every browser. Each is kept at
several qualities until it is known how many there are; then the best one is taken with which all of them fit.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

QUALITIES = ((440, 74), (360, 62), (280, 50), (200, 40))
"""(long side in pixels, WebP quality), from the best down."""
MOST_SIDE_PX = 16_383
"""WebP's limit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sprite:
    """The frames of a video below one another.

    Attributes:
        caption: whose frames they are.
        size_hw: height and width of one frame at the best quality; all qualities have this shape.
        webp: the picture at every one of `QUALITIES`.
    """

    caption: str
    size_hw: tuple[int, int]
    webp: tuple[bytes, ...]

    def uri(self, quality: int) -> str:
        return f"data:image/webp;base64,{base64.b64encode(self.webp[quality]).decode()}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Player:
    """Sprites that one slider moves through.

    Attributes:
        heading: the video.
        task: whose video it is.
        lines: what is known of the video.
        legend: how truth and prediction look.
        sprites: all of as many frames as there are `texts`; empty where there are none to show.
        texts: what is known of each frame, its number first.
        problem: why there are no pictures; "" where there are.
    """

    heading: str
    task: str
    lines: tuple[str, ...] = ()
    legend: str = ""
    sprites: tuple[Sprite, ...] = ()
    texts: tuple[str, ...] = ()
    problem: str = ""

    def bytes_at(self, quality: int) -> int:
        """Bytes of its pictures on the page."""
        return sum(4 * -(-len(sprite.webp[quality]) // 3) for sprite in self.sprites)


def sprite(caption: str, frames: Sequence[np.ndarray]) -> Sprite:
    """A sprite of frames uint8 RGB [H, W, 3] of one size."""
    sizes = [_size(frames[0].shape[:2], long_px, len(frames)) for long_px, _ in QUALITIES]
    webp = tuple(_webp(frames, size, quality) for size, (_, quality) in zip(sizes, QUALITIES, strict=True))
    return Sprite(caption=caption, size_hw=sizes[0], webp=webp)


def fitting(players: Sequence[Player], budget: int) -> tuple[int, list[Player], str]:
    """(quality, players, what was given up): the best quality at which the pictures take no more than `budget` bytes.

    Where even the lowest takes more, the last players lose their pictures and say so.
    """
    for quality in range(len(QUALITIES)):
        if sum(player.bytes_at(quality) for player in players) <= budget:
            lost = f"pictures are kept at {QUALITIES[quality][0]} px to stay below the limit of the file's size"
            return quality, list(players), lost if quality else ""
    last, used, placed = len(QUALITIES) - 1, 0, []
    for player in players:
        used += (size := player.bytes_at(last))
        if used <= budget:
            placed.append(player)
        else:
            used -= size
            problem = "left out to stay below the limit of the file's size; ask for fewer videos or tasks"
            placed.append(
                Player(heading=player.heading, task=player.task, lines=player.lines, problem=problem)
                if player.sprites
                else player
            )
    lost = (
        f"pictures are kept at {QUALITIES[last][0]} px, and some left out, to stay below the limit of the file's size"
    )
    return last, placed, lost


def _size(size_hw: tuple[int, int], long_px: int, count: int) -> tuple[int, int]:
    height, width = size_hw
    share = min(1.0, long_px / max(size_hw), MOST_SIDE_PX / (count * height))
    return max(1, int(height * share)), max(1, int(width * share))


def _webp(frames: Sequence[np.ndarray], size_hw: tuple[int, int], quality: int) -> bytes:
    import cv2
    from PIL import Image

    small = [cv2.resize(frame, size_hw[::-1], interpolation=cv2.INTER_AREA) for frame in frames]
    content = io.BytesIO()
    Image.fromarray(np.concatenate(small)).save(content, format="WEBP", quality=quality, method=4)
    return content.getvalue()
