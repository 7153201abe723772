"""What heads say is kept whole, and drawn where it is."""

import numpy as np
import pytest

from readouts.tasks.predictions import (
    DRAWN_PX,
    SavesOutputs,
    box_overlay,
    depth_overlay,
    outputs_file,
    read_output,
    still_overlay,
    track_overlay,
)
from rvm_bench.errors import UserError
from rvm_bench.media.drawing import colour_of

CLIP = np.full((4, 40, 40, 3), 100, np.uint8)
FRAMES = [3, 5, 7, 9]


class Video:
    name = "v"


def test_nothing_is_kept_until_one_asks(tmp_path):
    task = SavesOutputs()
    task.save_outputs("v", {"0": np.ones(3)})
    assert not task.lacks_predictions(Video)
    task.save_predictions(tmp_path)
    assert task.lacks_predictions(Video)
    task.save_outputs("v", {"0": np.arange(3)})
    assert not task.lacks_predictions(Video)
    assert read_output(tmp_path, "v", "0").tolist() == [0, 1, 2]


def test_what_was_not_kept_or_is_damaged_is_named(tmp_path):
    with pytest.raises(UserError, match=r"v\.npz does not hold 0"):
        read_output(tmp_path, "v", "0")
    outputs_file(tmp_path, "v").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"v\.npz does not hold 0"):
        read_output(tmp_path, "v", "0")


def test_a_point_is_drawn_where_it_is_said_to_be():
    truth, found = np.full((1, 4, 2), 0.25), np.full((1, 4, 2), 0.75)
    seen = np.ones((1, 4), bool)
    drawn = track_overlay(CLIP, FRAMES, truth=(truth, seen), predicted=(found, seen), score="AJ 0", most=2, length=12)
    assert [frame.number for frame in drawn.frames] == [3, 9]
    picture = drawn.frames[0].picture
    assert picture.shape == (DRAWN_PX, DRAWN_PX, 3)
    assert picture[300, 300].tolist() == list(colour_of(0))
    assert picture[100, 100].tolist() == list(colour_of(0))
    assert picture[20, 380].tolist() == [100, 100, 100]
    assert drawn.frames[0].text == "1 of 1 points are visible, median error 28 px; AJ 0"


def test_boxes_are_drawn_at_their_edges():
    truth, found = (np.tile(np.array(box, float), (4, 1, 1)) for box in ([0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.9, 0.9]))
    drawn = box_overlay(CLIP, FRAMES, truth=truth, predicted=found, score="mIoU 0", most=1, length=12)
    picture = drawn.frames[0].picture
    assert picture[280, 200:204].reshape(-1, 3).tolist().count(list(colour_of(0))) > 0
    assert (picture[80, 38:42] != 100).any()
    assert (picture[280, 280] == 100).all()


def test_depth_is_in_one_scale_and_black_where_it_was_not_measured():
    truth = np.linspace(1, 4, 4 * 40 * 40).reshape(4, 40, 40).astype(np.float32)
    truth[:, :20] = 0
    drawn = depth_overlay(CLIP, FRAMES, truth, np.full_like(truth, 2.0), 4, 12)
    picture = drawn.frames[0].picture
    assert picture.shape == (160, 480, 3)
    assert (picture[40, 240] == 0).all()
    assert len(np.unique(picture[:, 330:470].reshape(-1, 3), axis=0)) == 1
    perfect = depth_overlay(CLIP, FRAMES, truth, truth, 1, 12)
    assert perfect.frames[0].text == "AbsRel x10 0.00"


def test_a_clip_without_places_is_shown_with_what_was_said_of_it():
    drawn = still_overlay(CLIP, FRAMES, "predicted A (50%); it is B", 3, 12)
    assert [frame.number for frame in drawn.frames] == [3, 7, 9]
    assert {frame.text for frame in drawn.frames} == {"predicted A (50%); it is B"}
