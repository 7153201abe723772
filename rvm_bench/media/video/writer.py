"""Writing frames as a video file, in the codecs that the official copies use."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

CODECS = {
    ".webm": ("libvpx-vp9", {"crf": "20", "b": "0", "deadline": "realtime", "cpu-used": "8"}),
    ".mp4": ("libx264", {"crf": "21", "preset": "veryfast", "x264-params": "cpu-independent=1"}),
}
"""Encoder and its options by the suffix of the file: VP9 as in Something-Something v2, H.264 as in Kinetics.

Without `cpu-independent` the same process encodes the same frames to other bytes now and then: the floating-point sums
of x264's rate control then depend on how its buffers happen to lie in memory.
"""


def write_video(file: Path, frames: Iterable[np.ndarray], *, fps: Fraction) -> None:
    """Encodes frames uint8 [H, W, 3] RGB, all of one even height and width, at a constant rate.

    One thread and no dates, versions or random ids in the file: the same frames are the same bytes wherever the
    encoder's library is the same.
    """
    import av
    from av.codec.context import Flags

    codec, options = CODECS[file.suffix]
    with av.open(str(file), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= Flags.bitexact
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
