"""Pictures side by side under their captions: a frame of a film, or a sheet with a row for each panel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

GAP_PX = 4
TEXT_PX = 15
BAND_PX = TEXT_PX + 2 * GAP_PX
"""Height of a line of text with its margins."""
INK = (34, 34, 34)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture over time.

    Attributes:
        caption: whose it is.
        frames: uint8 RGB [T, H, W, 3], or [H, W, 3] each; None where there is none to show.
    """

    caption: str
    frames: Sequence[np.ndarray | None] | np.ndarray

    def at(self, times: Sequence[int]) -> "Panel":
        """The panel at these times alone."""
        return Panel(caption=self.caption, frames=[self.frames[t] for t in times])


def side_by_side(panels: Sequence[Panel], t: int, *, height_px: int) -> np.ndarray:
    """uint8 [H, W, 3]: time `t` of all panels in a row at one height, captions above, on white.

    H and W are even, which films need.
    """
    pictures = [_scaled(_shown(panel.frames[t]), height_px) for panel in panels]
    widths = [
        max(picture.shape[1], _text_width(panel.caption)) for picture, panel in zip(pictures, panels, strict=True)
    ]
    page = _page(BAND_PX + height_px + GAP_PX, sum(widths) + GAP_PX * (len(panels) + 1))
    left = GAP_PX
    for panel, picture, width in zip(panels, pictures, widths, strict=True):
        _write(page, panel.caption, left, GAP_PX)
        page[BAND_PX : BAND_PX + height_px, left : left + picture.shape[1]] = picture
        left += width + GAP_PX
    return page


def sheet(panels: Sequence[Panel], titles: Sequence[str], *, height_px: int) -> np.ndarray:
    """uint8 [H, W, 3]: a row for each panel with its caption before it, all frames from left to right under `titles`.

    All frames are scaled to one height; all panels have as many frames as there are titles.
    """
    rows = [[None if f is None else _scaled(f, height_px) for f in panel.frames] for panel in panels]
    margin = max(_text_width(panel.caption) for panel in panels) + 2 * GAP_PX
    widths = [
        max([_text_width(title), *(row[i].shape[1] for row in rows if row[i] is not None)])  # type: ignore[union-attr]
        for i, title in enumerate(titles)
    ]
    page = _page(BAND_PX + len(panels) * (height_px + GAP_PX), margin + sum(width + GAP_PX for width in widths))
    lefts = margin + np.concatenate([[0], np.cumsum(np.array(widths) + GAP_PX)])
    for title, left in zip(titles, lefts[:-1], strict=True):
        _write(page, title, int(left), GAP_PX)
    for i, (panel, row) in enumerate(zip(panels, rows, strict=True)):
        top = BAND_PX + i * (height_px + GAP_PX)
        _write(page, panel.caption, GAP_PX, top + (height_px - TEXT_PX) // 2)
        for picture, left in zip(row, lefts[:-1], strict=True):
            if picture is not None:
                page[top : top + height_px, left : left + picture.shape[1]] = picture
    return page


def _shown(frame: np.ndarray | None) -> np.ndarray:
    assert frame is not None, "panels of films have a picture at every time"
    return frame


def _scaled(frame: np.ndarray, height_px: int) -> np.ndarray:
    import cv2

    height, width = frame.shape[:2]
    if height == height_px:
        return frame
    size = max(1, round(width * height_px / height)), height_px
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if height_px < height else cv2.INTER_NEAREST)


def _page(height: int, width: int) -> np.ndarray:
    return np.full((height + height % 2, width + width % 2, 3), 255, np.uint8)


def _font() -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(TEXT_PX)


def _text_width(text: str) -> int:
    return int(np.ceil(_font().getlength(text)))


def _write(page: np.ndarray, text: str, left: int, top: int) -> None:
    """Writes on the page itself."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(page[top : top + BAND_PX, left:])
    ImageDraw.Draw(image).text((0, 0), text, fill=INK, font=_font(), anchor="la")
    page[top : top + BAND_PX, left:] = np.asarray(image)
