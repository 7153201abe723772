"""Videos come out upright, in their own colours, as 8-bit RGB."""

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from films import X264, numbers, outcome, picture, write

from rvm_bench.media.resize import short_side
from rvm_bench.media.video import reader as video
from rvm_bench.media.video.reader import read_frames


@pytest.mark.parametrize(("pix_fmt", "codec"), [("yuv420p", "libx264"), ("yuv444p", "libx264"), ("yuv420p", "mpeg4")])
def test_odd_sizes_keep_their_last_row_and_column(tmp_path, pix_fmt, codec):
    size_hw = (99, 175) if pix_fmt == "yuv444p" or codec == "mpeg4" else (98, 174)
    file = write(tmp_path / "odd.mkv", codec, {}, frames=9, size_hw=size_hw, pix_fmt=pix_fmt)
    frames = read_frames(file, range(9))
    assert frames.shape == (9, *size_hw, 3)
    np.testing.assert_array_equal(numbers(frames), np.arange(9))
    assert np.abs(frames[:, -1].astype(int) - frames[:, -4]).mean() < 6
    assert np.abs(frames[:, :, -1].astype(int) - frames[:, :, -4]).mean() < 6


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_videos_come_out_upright(tmp_path, rotation):
    """PyAV's angle turns the picture counterclockwise, as np.rot90 does."""
    file = write(tmp_path / "turned.mp4", frames=8, rotation=rotation)
    expected = np.rot90(read_frames(write(tmp_path / "plain.mp4", frames=8), [3, 6]), rotation // 90, (1, 2))
    np.testing.assert_array_equal(read_frames(file, [3, 6]), expected)


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),  # a telephone held upright: clockwise
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    ],
)
def test_the_matrix_in_the_track_header_is_obeyed_mirrors_included(tmp_path, matrix, shown):
    file = write(tmp_path / "a.mp4", frames=8)
    expected = shown(read_frames(file, [5])[0])
    patch_matrix(file, matrix)
    np.testing.assert_array_equal(read_frames(file, [5])[0], expected)
    assert read_frames(file, [5], resize=short_side(32)).shape[1:3] == short_side(32)(expected.shape[:2])


def test_a_slanted_picture_is_refused(tmp_path):
    file = write(tmp_path / "a.mp4", frames=8)
    patch_matrix(file, (0.8, 0.6, -0.6, 0.8))
    assert "right angle" in outcome(file)


def patch_matrix(file, matrix):
    """Sets the upper left of the display matrix, a, b, c, d (ISO/IEC 14496-12, section 8.3.2)."""
    data = bytearray(file.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    for offset, value in zip((0, 4, 12, 16), matrix, strict=True):
        data[place + offset : place + offset + 4] = int(value * 65536).to_bytes(4, "big", signed=True)
    file.write_bytes(data)


RED, GREEN, BLUE = (200, 40, 30), (30, 180, 60), (40, 50, 210)


MATRICES = {"bt709": (1, 0.2126, 0.0722), "smpte170m": (6, 0.299, 0.114), "untagged": (2, 0.299, 0.114)}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_colours_follow_the_matrix_and_range_of_the_stream(tmp_path, matrix, full):
    tag, red, blue = MATRICES[matrix]
    for rgb in (RED, GREEN, BLUE):
        r, g, b = np.array(rgb) / 255
        luma = red * r + (1 - red - blue) * g + blue * b
        chroma = np.array([(b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))])
        planes = [255 * luma, *(128 + 255 * chroma)] if full else [16 + 219 * luma, *(128 + 224 * chroma)]

        def paint(height, width, values=tuple(planes)):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane, value in zip(frame.planes, values, strict=True):
                plane.update(bytes([round(value)]) * plane.buffer_size)
            return frame

        options = {**X264, "color_range": "pc" if full else "tv", "colorspace": str(tag)}
        file = write(tmp_path / "colour.mp4", options=options, frames=2, paint=paint)
        with av.open(str(file)) as container:
            frame = next(container.decode(video=0))
            assert frame.colorspace == tag
            assert (frame.color_range == 2) == full
        assert np.abs(read_frames(file, [1])[0].astype(int) - rgb).max() <= 3


def test_a_colour_matrix_that_cannot_be_converted_is_an_error(tmp_path):
    file = write(tmp_path / "odd.mp4", options={**X264, "colorspace": "8"}, frames=2)
    assert "colour matrix 8" in outcome(file)


def test_the_reserved_colour_matrix_means_that_it_is_unknown(tmp_path):
    file = write(tmp_path / "a.mp4", frames=2)
    with av.open(str(file)) as container:
        frame = next(container.decode(video=0))
    untagged = video._image(file, 0, frame, VideoReformatter())
    frame.colorspace = 3
    np.testing.assert_array_equal(video._image(file, 0, frame, VideoReformatter()), untagged)


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("ffv1", "gray"),
        ("ffv1", "bgra"),
        ("ffv1", "yuv420p10le"),
        ("ffv1", "yuva420p"),
        ("qtrle", "rgb24"),
        ("png", "rgba"),
    ],
)
def test_gray_alpha_deep_and_rgb_formats_read_as_eight_bit_rgb(tmp_path, codec, pix_fmt):
    file = write(tmp_path / ("a.mkv" if codec == "ffv1" else "a.mov"), codec, {}, frames=6, pix_fmt=pix_fmt)
    frames = read_frames(file, range(6))
    np.testing.assert_array_equal(numbers(frames), np.arange(6))
    assert np.abs(frames[5].astype(int) - picture(5, 64, 96)).max() <= 2
