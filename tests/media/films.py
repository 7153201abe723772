"""Videos written by PyAV whose frames carry their own number."""

from fractions import Fraction

import av
import numpy as np
import pytest

from rvm_bench.errors import UserError
from rvm_bench.media.video.reader import count_frames, read_frames

BLOCKS = (2, 4)
"""Rows and columns of the blocks that spell a frame's number in bits, the top left one the lowest."""


X264 = {"preset": "ultrafast", "x264-params": "bframes=3:b-adapt=0:keyint=12:scenecut=0"}


OPEN_GOP = {"preset": "veryfast", "x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0"}


REFRESH = {"preset": "veryfast", "x264-params": "intra-refresh=1:keyint=12:bframes=0:scenecut=0"}


X265 = {"preset": "ultrafast", "x265-params": "open-gop=1:keyint=12:bframes=3:log-level=none"}


VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "20"}


KINDS = {
    "closed.mp4": ("libx264", X264),
    "open.mp4": ("libx264", OPEN_GOP),
    "open.mkv": ("libx264", OPEN_GOP),
    "refresh.mp4": ("libx264", REFRESH),
    "interlaced.mp4": ("libx264", {"x264-params": "keyint=12:tff=1"}),
    "no_times.avi": ("libx264", X264),
    "stream.ts": ("libx264", X264),
    "open_hevc.mp4": ("libx265", X265),
    "vp9.webm": ("libvpx-vp9", VP9),
    "vp8.webm": ("libvpx", {"g": "20", "deadline": "realtime", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "mpeg4.avi": ("mpeg4", {"g": "12", "bf": "2"}),
    "motion_jpeg.avi": ("mjpeg", {}),
}


def picture(number: int, height: int, width: int) -> np.ndarray:
    bits = (number >> np.arange(BLOCKS[0] * BLOCKS[1]) & 1).reshape(BLOCKS)
    rows, columns = np.arange(height) * BLOCKS[0] // height, np.arange(width) * BLOCKS[1] // width
    return np.repeat(np.uint8(40 + 170 * bits[rows][:, columns])[..., None], 3, axis=2)


def numbers(frames: np.ndarray) -> np.ndarray:
    """The numbers that frames [..., H, W, 3] spell."""
    height, width = frames.shape[-3:-1]
    rows, columns = ((np.arange(n) * 2 + 1) * size // (2 * n) for n, size in zip(BLOCKS, (height, width), strict=True))
    bits = frames[..., rows[:, None], columns, 1] > 125
    return (bits.reshape(*bits.shape[:-2], -1) << np.arange(8)).sum(axis=-1)


def write(file, codec="libx264", options=None, *, frames=40, size_hw=(64, 96), pix_fmt="yuv420p", **more):
    """A video whose frames spell their numbers; `more`: times (in 1/100 s), rotation, title, paint, muxer."""
    height, width = size_hw
    with av.open(str(file), "w", options=more.get("muxer", {})) as container:
        if "title" in more:
            container.metadata["title"] = more["title"]
        stream = container.add_stream(codec, rate=25, options=options if options is not None else X264)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, 25 if codec == "mpeg4" else 100)
        if "rotation" in more:
            stream.set_display_rotation(more["rotation"])
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, height, width), format="rgb24")
            if "paint" in more:
                frame = more["paint"](height, width)
            frame.time_base = Fraction(1, 100)
            frame.pts = more["times"][number] if "times" in more else 4 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


def outcome(file, **options):
    """What reading a video gives, in one line."""
    with pytest.raises(UserError) as error:
        read_frames(file, range(count_frames(file)), **options)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)
