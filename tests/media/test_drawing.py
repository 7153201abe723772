"""Marks lie where they are said to lie, in one colour an object, and frames are never changed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rvm_bench.media.drawing import (
    PALETTE,
    colour_of,
    draw_boxes,
    draw_links,
    draw_points,
    draw_tails,
    draw_tracks,
    strip,
    write_png,
)

GRAY = 128


def blank(height=60, width=80):
    frame = np.full((height, width, 3), GRAY, np.uint8)
    frame.flags.writeable = False
    return frame


def touched(drawn):
    return (drawn != GRAY).any(-1)


def in_colour(drawn, number):
    """Where an object's colour is. OpenCV smooths a line so that 1 px of it has most of its colour."""
    return (np.abs(drawn.astype(int) - PALETTE[number]) < 48).all(-1)


def test_the_colours_are_distinct_and_an_object_keeps_its_own():
    assert len(np.unique(PALETTE, axis=0)) == len(PALETTE) == 7
    assert colour_of(9) == colour_of(2) == tuple(PALETTE[2])
    both = draw_points(blank(), np.array([[20, 30], [60, 30]]), np.ones(2, bool), numbers=[5, 3])
    one = draw_points(blank(), np.array([[60.0, 30]]), np.ones(1, bool), numbers=[3])
    np.testing.assert_array_equal(both[:, 40:], one[:, 40:])


@pytest.mark.parametrize("mark", ["dot", "cross"])
def test_a_mark_is_centred_on_its_pixel_and_hollow_where_the_point_is_hidden(mark):
    # The centre of the pixel in column 20 and row 30.
    xy = np.array([[20.5, 30.5]])
    for seen in (True, False):
        drawn = draw_points(blank(), xy, np.array([seen]), mark=mark, radius_px=6)
        rows, columns = np.nonzero(touched(drawn))
        assert abs(rows.min() + rows.max() - 60) <= 1
        assert abs(columns.min() + columns.max() - 40) <= 1
        assert in_colour(drawn, 0)[30, 20] == seen
        assert touched(drawn)[30, 20] == seen
        assert in_colour(drawn, 0).sum() > 8


def test_a_dot_is_a_disc_of_its_radius_with_a_black_edge():
    drawn = draw_points(blank(), np.array([[40.0, 30.0]]), np.array([True]), radius_px=10)
    y, x = np.mgrid[:60, :80] + 0.5
    distance = np.hypot(x - 40, y - 30)
    assert in_colour(drawn, 0)[distance < 9].all()
    assert not in_colour(drawn, 0)[distance > 10.5].any()
    assert not touched(drawn)[distance > 12.6].any()
    assert (drawn[(distance > 10.4) & (distance < 10.6)] < GRAY).any()


def test_half_a_pixel_moves_a_mark():
    at = [draw_points(blank(), np.array([[x, 30.5]]), np.array([True])) for x in (20.5, 21.0, 21.5)]
    assert (at[0] != at[1]).any()
    np.testing.assert_array_equal(at[0][:, :70], at[2][:, 1:71])


def test_a_box_in_whole_pixels_outlines_them_from_within():
    drawn = draw_boxes(blank(), np.array([[10, 20, 31, 61]]), kind="truth")
    outline = np.zeros((60, 80), bool)
    outline[10:31, 20:61] = True
    outline[11:30, 21:60] = False
    np.testing.assert_array_equal(touched(drawn), outline)
    # Dashed: coloured and black pieces take turns.
    assert in_colour(drawn, 0)[10, 21:26].all()
    assert (drawn[10, 26:32] == 0).all()
    assert touched(draw_boxes(blank(), np.array([[0, 0, 60, 80]]), kind="truth"))[[0, 0, -1, -1], [0, -1, 0, -1]].all()


def test_a_predicted_box_is_thicker_than_a_true_one_and_whole():
    box = np.array([[10.0, 20.0, 41.0, 61.0]])
    drawn = draw_boxes(blank(), box)
    assert in_colour(drawn, 0)[10, 22:58].all()
    assert touched(drawn).sum() > 2 * touched(draw_boxes(blank(), box, kind="truth")).sum()


def test_a_tail_is_drawn_only_where_the_point_was_seen_on_both_ends():
    track = np.array([[[10.5, 20.5], [30.5, 20.5], [50.5, 20.5], [70.5, 20.5]]])
    drawn = draw_tails(blank(), track, np.array([[True, True, True, False]]))
    assert in_colour(drawn, 0)[20, 11:50].all()
    assert not touched(drawn)[:, 53:].any()
    assert not touched(draw_tails(blank(), track, np.array([[True, False, True, False]]))).any()


def test_a_perfect_prediction_has_no_link_and_a_wrong_one_is_joined_to_the_truth():
    truth = np.tile([[[20.5, 30.5]]], (1, 5, 1))
    seen = np.ones((1, 5), bool)
    off = truth + np.array([40, 0])
    drawn = draw_tracks(
        blank(), 4, truth_xy=truth, truth_visible=seen, predicted_xy=off, predicted_visible=seen, numbers=[1]
    )
    assert in_colour(drawn, 1)[30, 30:50].all()
    perfect = draw_tracks(
        blank(), 4, truth_xy=truth, truth_visible=seen, predicted_xy=truth, predicted_visible=seen, numbers=[1]
    )
    assert not touched(perfect)[:, 30:].any()
    # Where the truth is not visible, or not known at all, there is nothing to be joined to.
    for unseen, xy in ((~seen, truth), (~seen, truth * np.nan)):
        drawn = draw_tracks(
            blank(), 4, truth_xy=xy, truth_visible=unseen, predicted_xy=off, predicted_visible=seen, numbers=[1]
        )
        assert not touched(drawn)[:, 30:50].any()
        assert in_colour(drawn, 1)[30, 60]


PLACES = st.floats(width=32) | st.integers(-200, 200)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(PLACES, PLACES, PLACES, PLACES), max_size=3), st.booleans())
def test_any_position_is_drawn_or_left_out_and_the_frame_stays_as_it_was(places, seen):
    frame = blank()
    boxes = np.array(places, float).reshape(-1, 4)
    flags = np.full(len(boxes), seen)
    for drawn in (
        draw_points(frame, boxes[:, :2], flags),
        draw_points(frame, boxes[:, :2], flags, mark="cross"),
        draw_links(frame, boxes[:, :2], boxes[:, 2:]),
        draw_tails(frame, boxes.reshape(-1, 2, 2), np.stack([flags, flags], 1)),
        draw_boxes(frame, boxes),
        draw_boxes(frame, boxes, kind="truth"),
    ):
        assert (drawn.shape, drawn.dtype) == (frame.shape, np.uint8)
        assert not np.shares_memory(drawn, frame)
    assert (frame == GRAY).all()


def test_a_strip_holds_its_frames_side_by_side_at_one_height():
    frames = [np.full((40, 60, 3), 10, np.uint8), np.full((20, 20, 3), 90, np.uint8)]
    row = strip(frames, height_px=40)
    assert row.shape == (40, 60 + 2 + 40, 3)
    assert (row[:, :60] == 10).all()
    assert (row[:, 60:62] == 255).all()
    assert (row[:, 62:] == 90).all()
    labelled = strip(frames, ["one", "two"], height_px=80)
    assert (labelled[:40] == 255).any()
    strip(frames, ["one", "two"], height_px=40)
    assert (frames[0] == 10).all()
    with pytest.raises(ValueError, match="expected at least one frame"):
        strip([])
    with pytest.raises(ValueError, match="a label for each"):
        strip(frames, ["one"])


def test_a_png_holds_the_picture_in_rgb(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    write_png(tmp_path / "new/picture.png", image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new/picture.png")), image)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["picture.png"]
