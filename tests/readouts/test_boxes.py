"""Boxes stay on what they are around when frames are resized and cropped, and the queries are those of frame 0."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from readouts.datasets.waymo.box_video import BoxRows, box_video
from readouts.tasks.box_clips import (
    LEAST_AREA,
    MOST_BOXES,
    choose_queries,
    clip_boxes,
    clip_frames,
    crop_boxes,
    pad,
)
from rvm_bench.errors import UserError

FULL_HW = 1280, 1920


def everywhere(boxes):
    return np.ones(np.shape(boxes)[:-1], bool)


def cropped(*boxes, size_hw=FULL_HW, side=256):
    out, present = crop_boxes(np.array(boxes, float), everywhere(boxes), size_hw, side)
    assert (out.dtype, present.dtype) == (np.float32, bool)
    return out, present


class Drawn:
    """Pictures of one white rectangle each, y0, x0, y1, x1 in pixels, kept as PNG-free JPEG bytes."""

    file, file_bytes = "drawn", 0

    def __init__(self, size_hw, boxes):
        self.jpegs = []
        for y0, x0, y1, x1 in boxes:
            picture = np.zeros((*size_hw, 3), np.uint8)
            picture[y0:y1, x0:x1] = 255
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", quality=95)
            self.jpegs.append(buffer.getvalue())

    def read(self, frames):
        return [self.jpegs[frame] for frame in frames]


def drawn_video(size_hw, boxes):
    time_us = 10**15 + 100_000 * np.arange(len(boxes))
    rows = BoxRows(
        file="drawn",
        time_us=time_us,
        ids=["a"] * len(boxes),
        types=np.ones(len(boxes), int),
        yxyx_px=np.array(boxes, float),
    )
    return box_video("drawn", time_us=time_us, pictures=Drawn(size_hw, boxes), rows=rows)


def test_the_middle_square_of_the_frame_is_the_unit_square():
    """1280 x 1920 becomes 256 x 384, of which columns 64 to 320 stay: pixels 320 to 1600 of the frame."""
    boxes, present = cropped((0, 320, 1280, 1600), (0, 0, 1280, 1920), (320, 640, 640, 960))
    np.testing.assert_allclose(boxes, [[0, 0, 1, 1], [0, 0, 1, 1], [0.25, 0.25, 0.5, 0.5]], atol=1e-6)
    assert present.all()


def test_a_box_is_clipped_to_the_square_and_absent_where_nothing_is_left():
    boxes, present = cropped((0, 0, 640, 960), (0, 0, 640, 320), (0, 1600, 9, 1920), (5, 700, 5, 800), (-9, 0, -1, 900))
    np.testing.assert_allclose(boxes[0], [0, 0, 0.5, 0.5], atol=1e-6)
    np.testing.assert_array_equal(present, [True, False, False, False, False])
    np.testing.assert_array_equal(boxes[1:], 0)


def test_an_absent_box_stays_absent():
    boxes, present = crop_boxes(np.full((2, 3, 4), 700.0), np.zeros((2, 3), bool), FULL_HW)
    assert not boxes.any()
    assert not present.any()


@pytest.mark.parametrize(
    ("size_hw", "side"), [((128, 192), 64), ((130, 195), 64), ((64, 64), 64), ((192, 128), 48), ((97, 151), 51)]
)
def test_pixels_and_boxes_go_the_same_way(size_hw, side):
    """A drawn rectangle is, after resize and crop, where its box is, to a pixel."""
    height, width = size_hw
    box = (height // 4, width // 3, height // 2, width // 2 + 3)
    video = drawn_video(size_hw, [box, box])
    frames = clip_frames(video, np.array([0, 1]), side)
    assert (frames.shape, frames.dtype) == ((2, side, side, 3), np.uint8)
    bright = frames[0].mean(axis=-1) > 127
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    seen = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]) / side
    boxes, present, _ = clip_boxes(video, np.array([0, 1]), side)
    assert present.all()
    np.testing.assert_allclose(seen, boxes[0, 0], atol=1.01 / side)


def test_queries_are_the_largest_boxes_of_the_first_frame_and_ties_keep_their_order():
    boxes = np.array([[0, 0, 0.1, 0.1], [0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 0.05, 0.05], [0, 0, 0.9, 0.9]])
    present = np.array([True, True, True, True, False])
    np.testing.assert_array_equal(choose_queries(boxes, present), [1, 2, 0])
    np.testing.assert_array_equal(choose_queries(boxes, present, most=2), [1, 2])
    np.testing.assert_array_equal(choose_queries(boxes, present, least_area=0.2), [1, 2])
    assert len(choose_queries(boxes[:0], present[:0])) == 0


def test_the_area_decides_in_the_first_frame_only():
    """A car that drives away keeps its track when it has become small; one that is small at first has no query."""
    away = [(0, 0, 64, 64), (0, 0, 32, 32), (0, 0, 2, 2)]
    boxes, present, _ = clip_boxes(drawn_video((64, 64), away), np.array([0, 1, 2]), 64)
    assert present.tolist() == [[True], [True], [True]]
    np.testing.assert_allclose(boxes[:, 0, 2], [1, 0.5, 2 / 64])
    boxes, present, _ = clip_boxes(drawn_video((64, 64), away[::-1]), np.array([0, 1, 2]), 64)
    assert (boxes.shape, present.shape) == ((3, 0, 4), (3, 0))
    assert LEAST_AREA > 4 / 64**2


def test_padding_adds_absent_tracks_and_never_drops_one():
    boxes, present = np.full((16, 3, 4), 0.5, np.float32), np.ones((16, 3), bool)
    padded, there = pad(boxes, present)
    assert (padded.shape, there.shape) == ((16, MOST_BOXES, 4), (16, MOST_BOXES))
    np.testing.assert_array_equal(padded[:, :3], boxes)
    assert not padded[:, 3:].any()
    np.testing.assert_array_equal(there.sum(axis=1), 3)
    with pytest.raises(UserError, match="3 boxes cannot be padded to 2"):
        pad(boxes, present, 2)


coordinates = st.floats(-3000, 5000, allow_nan=False)


@given(box=st.tuples(*[coordinates] * 4), size_hw=st.tuples(*[st.integers(20, 3000)] * 2), side=st.integers(8, 300))
def test_whatever_comes_in_is_in_the_square_and_ordered_or_absent(box, size_hw, side):
    (y0, x0, y1, x1), present = (values[0] for values in cropped(box, size_hw=size_hw, side=side))
    if present:
        assert 0 <= y0 < y1 <= 1
        assert 0 <= x0 < x1 <= 1
    else:
        assert y0 == x0 == y1 == x1 == 0


@given(
    corner=st.tuples(st.floats(0, 700), st.floats(320, 1000)),
    sides=st.tuples(st.floats(1, 500), st.floats(1, 500)),
    by=st.floats(-50, 50),
)
def test_moving_a_box_moves_it_by_as_much_in_fractions(corner, sides, by):
    y, x = corner[0] + 50, corner[1] + 50
    boxes, _ = cropped((y, x, y + sides[0], x + sides[1]), (y, x + by, y + sides[0], x + sides[1] + by))
    np.testing.assert_allclose(boxes[1] - boxes[0], np.array([0, by, 0, by]) / 1280, atol=1e-6)
