"""Overlays show what was predicted where it was predicted, and what was saved is what is drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from propagation.datasets.sequences import MaskedVideo
from propagation.predictions import mask_overlay, pose_overlay, save_pose
from rvm_bench.api.overlay import LONG_SIDE_PX, shown_size
from rvm_bench.errors import UserError
from rvm_bench.media.drawing import colour_of
from rvm_bench.media.images import write_labels
from rvm_bench.runs.predictions import mask_file


@pytest.fixture
def video(tmp_path):
    """Three grey frames of 40 x 60 px with one true square."""
    frames, masks = [], []
    truth = np.zeros((40, 60), np.uint8)
    truth[10:20, 10:20] = 1
    for t in range(3):
        frames.append(tmp_path / f"frames/{t:05d}.png")
        masks.append(tmp_path / f"masks/{t:05d}.png")
        frames[-1].parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((40, 60, 3), 100, np.uint8)).save(frames[-1])
        write_labels(masks[-1], truth)
    return MaskedVideo(name="v", frames=tuple(frames), masks=tuple(masks), native_hw=(40, 60), largest_id=1, objects=1)


def test_a_mask_is_tinted_where_it_was_predicted_and_outlined_where_it_is(video, tmp_path):
    found = np.zeros((40, 60), np.uint8)
    found[10:20, 40:50] = 1
    for t in range(3):
        write_labels(mask_file(tmp_path / "saved", video, t), found)
    drawn = mask_overlay(tmp_path / "saved", video, 2, task="vip")
    assert [frame.number for frame in drawn.frames] == [0, 2]
    assert drawn.length == 3
    picture = drawn.frames[0].picture
    expected = np.round(0.4 * 100 + 0.6 * np.array(colour_of(0)))
    np.testing.assert_allclose(picture[15, 45], expected, atol=1)
    assert (picture[15, 15] == 100).all()
    assert (picture[9, 10:20] == 255).all()
    assert drawn.frames[0].text == f"{100 * (1 - 200 / 2400):.1f} % of the pixels right"


def test_a_pose_is_saved_and_drawn_in_its_place(video, tmp_path):
    truth = np.full((3, 15, 2), 20.0, np.float32)
    found, visible = np.full((3, 15, 2), 30.0), np.ones((3, 15), bool)
    found[:, 0], visible[:, 1] = np.nan, False
    visible[:, 0] = False
    save_pose(tmp_path / "saved", "action/clip", found, visible)
    drawn = pose_overlay(tmp_path / "saved", "action/clip", video.frames, truth, 3)
    assert (drawn.frames[1].picture[30, 30] != 100).any()
    assert (drawn.frames[1].picture[5, 50] == 100).all()
    assert drawn.frames[1].text == f"joints off by {np.hypot(10, 10):.0f} px in the median"
    with pytest.raises(UserError, match=r"clip\.json has 3 poses, the clip 4"):
        pose_overlay(tmp_path / "saved", "action/clip", video.frames, np.zeros((4, 15, 2)), 3)
    with pytest.raises(UserError, match="is missing"):
        pose_overlay(Path("nowhere"), "action/clip", video.frames, truth, 3)


def test_large_frames_are_shown_small_and_small_ones_as_they_are():
    assert shown_size((1080, 1920)) == (270, LONG_SIDE_PX)
    assert shown_size((40, 60)) == (40, 60)


def test_a_mask_that_is_missing_or_of_another_size_is_refused(video, tmp_path):
    with pytest.raises(UserError, match=r"00000\.png is missing; `rvm-bench run --task vip --save-predictions DIR`"):
        mask_overlay(tmp_path, video, 2, task="vip")
    for t in range(3):
        write_labels(mask_file(tmp_path, video, t), np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match="is 8x8 px, its frame 60x40"):
        mask_overlay(tmp_path, video, 2, task="vip")
