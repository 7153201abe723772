"""Tracks and boxes drawn over frames for visualisation: truth beside prediction, one colour per object.

Frames are uint8 [H, W, 3] RGB; every function returns a new one. Positions are in pixels of the frame, x to the right
and y down, with the origin at the outer corner of the top left pixel, whose centre is (0.5, 0.5): shares of the picture
times (W, H). A position that is not finite is not drawn.

An object is drawn in the colour of its number, so that it keeps it through time and between pictures. Truth is a cross
or a thin dashed box, a prediction a dot or a thick box. What is not visible is hollow: a ring, or a cross without its
middle.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

PALETTE = np.array(
    [[230, 159, 0], [86, 180, 233], [0, 158, 115], [204, 121, 167], [213, 94, 0], [0, 114, 178], [240, 228, 66]],
    np.uint8,
)
"""RGB of Okabe and Ito (jfly.uni-koeln.de/color), which colour-blind readers can tell apart, without their black."""

DASH_PX = 6
_BITS = 4
"""OpenCV takes positions as integers of 1 / 16 px."""


def colour_of(number: int) -> tuple[int, int, int]:
    """RGB of an object's number; they repeat after 7."""
    red, green, blue = PALETTE[number % len(PALETTE)].tolist()
    return red, green, blue


def draw_points(
    frame: np.ndarray,
    xy: np.ndarray,
    visible: np.ndarray,
    *,
    mark: Literal["dot", "cross"] = "dot",
    numbers: Sequence[int] | None = None,
    radius_px: float | None = None,
) -> np.ndarray:
    """The frame with a mark at every point, edged in black.

    Args:
        xy: [n, 2].
        visible: bool [n]; the marks of the others are hollow.
        mark: what to draw.
        numbers: of the points, for their colours; 0 to n - 1 if None.
        radius_px: of the marks; None makes it fit the frame's size.
    """
    import cv2

    drawn = frame.copy()
    radius = radius_px or _radius_px(frame)
    thin = max(1, round(radius / 3))
    for number, point, whole in zip(_numbers(numbers, xy), xy, visible, strict=True):
        if not np.isfinite(point).all():
            continue
        for colour, edge in (((0, 0, 0), 2), (colour_of(number), 0)):
            if mark == "cross":
                # Its arms are longer than a dot's radius, so that they show around a dot in the same place.
                for direction in np.array([(1, 0), (0, 1), (-1, 0), (0, -1)]):
                    start = point + (0 if whole else radius * 0.7) * direction
                    _line(drawn, start, point + 1.5 * radius * direction, colour, thin + edge)
            else:
                centre, size = _fixed(point, frame), round(radius * (1 << _BITS))
                if whole:
                    cv2.circle(drawn, centre, size + (edge << _BITS) // 2, colour, cv2.FILLED, cv2.LINE_AA, _BITS)
                else:
                    cv2.circle(drawn, centre, size, colour, thin + edge, cv2.LINE_AA, _BITS)
    return drawn


def draw_tails(
    frame: np.ndarray, tracks_xy: np.ndarray, visible: np.ndarray, *, numbers: Sequence[int] | None = None
) -> np.ndarray:
    """The frame with a line along every track, from its first to its last place, where it is visible at both ends.

    Args:
        tracks_xy: [n, K, 2], the latest K frames of each track.
        visible: bool [n, K].
    """
    drawn = frame.copy()
    for number, track, seen in zip(_numbers(numbers, tracks_xy), tracks_xy, visible, strict=True):
        for k in range(1, len(track)):
            if seen[k - 1] and seen[k] and np.isfinite(track[k - 1 : k + 1]).all():
                _line(drawn, track[k - 1], track[k], colour_of(number), max(1, round(_radius_px(frame) / 3)))
    return drawn


def draw_links(
    frame: np.ndarray, from_xy: np.ndarray, to_xy: np.ndarray, *, numbers: Sequence[int] | None = None
) -> np.ndarray:
    """The frame with a thin line between two places, [n, 2] each, of every object: how far a prediction is off."""
    drawn = frame.copy()
    for number, start, end in zip(_numbers(numbers, from_xy), from_xy, to_xy, strict=True):
        if np.isfinite(start).all() and np.isfinite(end).all():
            _line(drawn, start, end, (0, 0, 0), 3)
            _line(drawn, start, end, colour_of(number), 1)
    return drawn


def draw_tracks(
    frame: np.ndarray,
    t: int,
    *,
    truth_xy: np.ndarray,
    truth_visible: np.ndarray,
    predicted_xy: np.ndarray,
    predicted_visible: np.ndarray,
    tail: int = 6,
    numbers: Sequence[int] | None = None,
) -> np.ndarray:
    """Frame `t` of a clip with true and predicted tracks: the true path of the last `tail` frames, crosses for the
    truth, dots for the prediction, and a line between the two where the point is truly visible.

    Args:
        truth_xy, predicted_xy: [n, T, 2].
        truth_visible, predicted_visible: bool [n, T].
    """
    recent = slice(max(0, t - tail), t + 1)
    drawn = draw_tails(frame, truth_xy[:, recent], truth_visible[:, recent], numbers=numbers)
    seen = np.where(truth_visible[:, t, None], truth_xy[:, t], np.nan)
    drawn = draw_links(drawn, seen, predicted_xy[:, t], numbers=numbers)
    drawn = draw_points(drawn, predicted_xy[:, t], predicted_visible[:, t], numbers=numbers)
    return draw_points(drawn, truth_xy[:, t], truth_visible[:, t], mark="cross", numbers=numbers)


def draw_boxes(
    frame: np.ndarray,
    boxes_yxyx: np.ndarray,
    *,
    kind: Literal["truth", "prediction"] = "prediction",
    numbers: Sequence[int] | None = None,
) -> np.ndarray:
    """The frame with the outline of every box: thin and dashed for the truth, thick and whole for a prediction.

    Args:
        boxes_yxyx: [n, 4], (ymin, xmin, ymax, xmax). A thin outline covers the outermost pixels within a box, so that
            (0, 0, H, W) is the frame's border. A box without extent, as of an absent object, is not drawn.
    """
    import cv2

    drawn = frame.copy()
    for number, box in zip(_numbers(numbers, boxes_yxyx), boxes_yxyx, strict=True):
        if not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
            continue
        y0, x0, y1, x1 = np.rint(_within_reach(box, frame)).astype(int).tolist()
        corners = [(x0, y0), (x1 - 1, y0), (x1 - 1, y1 - 1), (x0, y1 - 1)]
        if kind == "prediction":
            thick = max(2, round(_radius_px(frame) / 2))
            for colour, thickness in (((0, 0, 0), thick + 2), (colour_of(number), thick)):
                cv2.rectangle(drawn, corners[0], corners[2], colour, thickness)
            continue
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
            for dash, (a, b) in enumerate(_dashes(start, end)):
                cv2.line(drawn, a, b, (0, 0, 0) if dash % 2 else colour_of(number), 1)
    return drawn


def strip(frames: Sequence[np.ndarray], labels: Sequence[str] | None = None, *, height_px: int = 240) -> np.ndarray:
    """uint8 [height_px, W, 3]: frames side by side, 2 px of white between them, each scaled to one height with its
    label in the top left corner.

    Raises:
        ValueError: no frame, or another number of labels.
    """
    import cv2

    if not frames or (labels is not None and len(labels) != len(frames)):
        raise ValueError(f"{len(frames)} frames and labels {labels}; expected at least one frame, and a label for each")
    parts: list[np.ndarray] = []
    for i, frame in enumerate(frames):
        height, width = frame.shape[:2]
        size = max(1, round(width * height_px / height)), height_px
        shrunk = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if height_px <= height else cv2.INTER_LINEAR)
        if labels is not None:
            _write(shrunk, labels[i])
        parts += [shrunk, np.full((height_px, 2, 3), 255, np.uint8)]
    return np.hstack(parts[:-1])


def write_png(file: Path, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] RGB as a PNG, whole or not at all; its folder is made if need be."""
    import cv2

    _, content = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}")
    temporary.write_bytes(content.tobytes())
    temporary.replace(file)


def _radius_px(frame: np.ndarray) -> float:
    """The radius of a mark that is seen on a frame of this size, and hides little of it."""
    return max(2.0, frame.shape[0] / 80)


def _numbers(numbers: Sequence[int] | None, objects: np.ndarray) -> Sequence[int]:
    return range(len(objects)) if numbers is None else numbers


def _write(image: np.ndarray, text: str) -> None:
    """Writes white text with a black edge into the top left corner of the image itself."""
    import cv2

    scale = image.shape[0] / 480
    x, y = round(12 * scale), round(30 * scale)
    # A heavier stroke of black would not lie under the white one: in OpenCV 5 the weight of a font changes its width.
    shifts = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
    for colour, (dx, dy) in [((0, 0, 0), shift) for shift in shifts] + [((255, 255, 255), (0, 0))]:
        cv2.putText(image, text, (x + dx, y + dy), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def _line(image: np.ndarray, start: np.ndarray, end: np.ndarray, colour: tuple[int, int, int], thickness: int) -> None:
    """Draws on the image itself."""
    import cv2

    cv2.line(image, _fixed(start, image), _fixed(end, image), colour, thickness, cv2.LINE_AA, _BITS)


def _fixed(xy: np.ndarray, image: np.ndarray) -> tuple[int, int]:
    """A place as OpenCV takes it: pixel centres at whole numbers, in 1 / 16 px."""
    x, y = np.rint((_within_reach(xy, image) - 0.5) * (1 << _BITS)).astype(int).tolist()
    return x, y


def _within_reach(positions: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Positions no further out than OpenCV can count; what is drawn there is out of sight either way."""
    far = 8 * max(image.shape[:2])
    return np.clip(positions, -far, far)


def _dashes(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The pieces of a straight line of at most `DASH_PX`, first and last pixel of each."""
    a, b = np.array(start, float), np.array(end, float)
    length = int(np.abs(b - a).max())
    step = (b - a) / max(1, length)
    pieces = []
    for at in range(0, length + 1, DASH_PX):
        first, last = np.rint(a + at * step), np.rint(a + min(at + DASH_PX - 1, length) * step)
        pieces.append(((int(first[0]), int(first[1])), (int(last[0]), int(last[1]))))
    return pieces


VOID = 255


TINT = 0.6


def tinted(frame: np.ndarray, mask: np.ndarray, outlines: np.ndarray | None = None) -> np.ndarray:
    """uint8 [H, W, 3]: the frame with every object of the mask [H, W] in its colour and outlined in white; what is 0 or
    void stays as it is. With `outlines`, another mask, the white lines are those of that one."""
    mask = np.where(mask == VOID, 0, mask)
    edges = mask if outlines is None else np.where(outlines == VOID, 0, outlines)
    colours = PALETTE[(mask.astype(int) - 1) % len(PALETTE)]
    drawn = np.where((mask > 0)[..., None], (1 - TINT) * frame + TINT * colours, frame).round().astype(np.uint8)
    edge = np.zeros(mask.shape, bool)
    edge[:-1] |= edges[:-1] != edges[1:]
    edge[:, :-1] |= edges[:, :-1] != edges[:, 1:]
    drawn[edge] = 255
    return drawn
