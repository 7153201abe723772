"""Videos and folders give the frames that were asked for, at a size that patches fill."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from rvm_bench.errors import UserError
from rvm_bench.media.video.writer import write_video
from rvm_bench.viz.footage import Choice, folder_images, read_footage

LEVELS = [20 * t for t in range(12)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "frames").mkdir()
    for t, level in enumerate(LEVELS):
        Image.new("RGB", (60, 40), (level, level, level)).save(tmp_path / f"frames/frame_{t}.png")
    (tmp_path / "frames/notes.txt").write_text("no image")
    (tmp_path / "frames/._frame_0.png").write_text("an archiver's")
    return tmp_path / "frames"


def levels(frames):
    return frames.reshape(len(frames), -1).mean(1).round().astype(int).tolist()


def test_images_come_in_the_order_of_their_numbers(folder):
    assert [file.stem for file in folder_images(folder)] == [f"frame_{t}" for t in range(12)]
    frames = read_footage(folder, Choice(side_px=None))
    assert frames.shape == (12, 40, 60, 3)
    assert levels(frames) == LEVELS


def test_a_choice_names_frames_by_number(folder):
    assert levels(read_footage(folder, Choice(frames=3, start=2, stride=4))) == [40, 120, 200]
    assert levels(read_footage(folder, Choice(frames=9, start=9))) == [180, 200, 220]
    with pytest.raises(UserError, match="has 12 frames; there is none from frame 12 on"):
        read_footage(folder, Choice(start=12))


def test_frames_are_resized_to_whole_patches_of_the_long_side(folder):
    assert read_footage(folder, Choice(frames=1, side_px=32)).shape == (1, 32, 48, 3)
    assert Choice(side_px=256).rule((480, 854)) == (256, 448)
    assert Choice(side_px=256).rule((854, 480)) == (448, 256)
    assert Choice(side_px=50).rule((300, 300)) == (50, 50)


def test_a_video_file_gives_the_same_frames_as_its_pictures(folder, tmp_path):
    write_video(tmp_path / "video.mp4", read_footage(folder, Choice(side_px=None)), fps=Fraction(10))
    found = read_footage(tmp_path / "video.mp4", Choice(frames=4, start=1, stride=3, side_px=32))
    assert found.shape == (4, 32, 48, 3)
    np.testing.assert_allclose(levels(found), LEVELS[1::3], atol=4)


def test_bad_input_is_one_clear_error(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        read_footage(tmp_path / "empty", Choice())
    Image.new("RGB", (8, 8)).save(folder / "frame_12.png")
    with pytest.raises(UserError, match=r"frame_12\.png is 8x8 px, the frames before it are 60x40"):
        read_footage(folder, Choice())
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match="cannot be read as a video"):
        read_footage(tmp_path / "text.mp4", Choice())
    for values in ({"frames": 0}, {"start": -1}, {"stride": 0}, {"side_px": 0}):
        with pytest.raises(UserError, match="must be at least"):
            Choice(**values)
