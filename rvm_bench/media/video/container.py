"""A video file as a row of packets and of decoded frames, both in order, or an error that names the file."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.media.video.truncation import promised_bytes

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

ONE_FRAME_PER_PACKET = {"h264", "hevc", "vp9", "libvpx-vp9", "av1", "libdav1d", "mjpeg", "ffv1"}
"""Decoders each of whose packets is one frame, shown once. MPEG-4 part 2 (XviD) packs and drops frames, VP8 hides
some."""
PROGRESSIVE = {0, 1}
"""Field orders (FFmpeg: unknown, progressive) of streams without fields, which may come as two packets to a frame."""
MAX_PIXELS = 1 << 26
"""A larger frame (8192 x 8192) is taken for a damaged header, not allocated."""


class UncertainNumbers(Exception):
    """It cannot be shown that each packet is one frame, or that skipping some leaves the others as they are."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """The file and its first video stream that is no cover picture; closed in any case.

    Raises:
        UserError: there is no such file, it is empty or cut off, FFmpeg does not know it, it has no video; and for
            whatever FFmpeg raises while it is open.
    """
    import av

    if not path.is_file():
        raise UserError(f"no such video file: {path}")
    size = path.stat().st_size
    if not size:
        raise DamagedFile(f"{path} is empty, expected a video; get the file again")
    promised = promised_bytes(path)
    if promised is not None and promised > size:
        raise DamagedFile(f"{path} is cut off: it has {size} bytes and its header promises {promised}; get it again")
    try:
        # "file:" keeps FFmpeg from reading a protocol or an option into a name; the whitelist, a playlist that poses
        # as a video from reaching for the network. Tags need not be UTF-8.
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
            stream = _video_stream(path, container)
            stream.codec_context.options = {
                "max_pixels": str(MAX_PIXELS),
                **({"err_detect": "explode"} if stream.codec_context.name == "mjpeg" else {}),
            }
            yield container, stream
    except (av.FFmpegError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "out of memory"
        raise DamagedFile(f"{path} cannot be read as a video ({reason}); get the file again") from error


def _video_stream(path: Path, container: "InputContainer") -> "VideoStream":
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise DamagedFile(f"{path}: FFmpeg has no decoder for its video; re-encode it, for example as H.264")
            return stream
    kinds = sorted({stream.type for stream in container.streams})
    raise DamagedFile(f"{path} has no video stream ({', '.join(kinds) or 'no stream'} only); expected a video")


def from_start(path: Path, container: "InputContainer", stream: "VideoStream") -> Iterator[tuple[int, "VideoFrame"]]:
    """(number, frame) of all frames."""
    for number, frame in enumerate(decoded(packets(path, container, stream), stream)):
        yield number, checked_frame(path, number, frame)


def one_by_one(packets: Iterator["Packet"]) -> Iterator["Packet"]:
    """The packets, as long as nothing suggests that one of them is not exactly one frame.

    Raises:
        UncertainNumbers: a timestamp is missing, or used twice; a packet is not to be shown (edit list); the first is
            no key frame, or others are shown before it.
    """
    seen: set[int] = set()
    start: int | None = None
    for packet in packets:
        if start is None and packet.is_keyframe:
            start = packet.pts
        if start is None or packet.pts is None or packet.is_discard or packet.pts < start or packet.pts in seen:
            raise UncertainNumbers
        seen.add(packet.pts)
        yield packet


def one_to_one(stream: "VideoStream") -> bool:
    context = stream.codec_context
    return context.name in ONE_FRAME_PER_PACKET and context.field_order in PROGRESSIVE


def packets(path: Path, container: "InputContainer", stream: "VideoStream") -> Iterator["Packet"]:
    """The stream's packets. Empty ones (an AVI's "same frame again") are no frames, and would end the decoding."""
    for number, packet in enumerate(container.demux(stream)):
        if packet.is_corrupt:
            raise DamagedFile(f"{path} is damaged: packet {number} of its video is not whole; get the file again")
        if packet.size:
            yield packet


def decoded(packets: Iterable["Packet"], stream: "VideoStream") -> Iterator["VideoFrame"]:
    for packet in packets:
        yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)


def checked_frame(path: Path, number: int, frame: "VideoFrame") -> "VideoFrame":
    if frame.is_corrupt:
        raise DamagedFile(f"{path} is damaged: the decoder had to make up a part of frame {number}; get the file again")
    return frame
