"""Frames of a video file by number, exactly, or an error that names the file.

A frame's number is its place among the frames that the decoder puts out: 0, 1, 2, ... Timestamps have no part in it,
so variable frame rates need no rule. Edit lists are obeyed, as players do: what they cut out has no number.

What comes back is what a viewer sees, pixel by pixel: turned and mirrored as the file's display matrix says, converted
to RGB with the matrix and range that the stream is tagged with. An untagged stream is BT.601 in limited range, whatever
its size: swscale's rule, and so that of OpenCV and decord. Alpha is dropped, and the shape of a pixel (sample aspect
ratio) is ignored, as these do.

Damage that shows is never papered over: a file shorter than its header promises, a packet that ends early, a frame that
does not decode and one that the decoder marks as concealed are errors. Only what is read is checked, and video has few
checksums: a flipped bit that leaves a valid stream, or a valid table of contents, cannot be told from intent.
"""

import contextlib
import heapq
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.resize import SizeRule
from rvm_bench.resize import resize as resize_frames
from rvm_bench.truncation import promised_bytes

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

ONE_FRAME_PER_PACKET = {"h264", "hevc", "vp9", "libvpx-vp9", "av1", "libdav1d", "mjpeg", "ffv1"}
"""Decoders each of whose packets is one frame, shown once. MPEG-4 part 2 (XviD) packs and drops frames, VP8 hides
some."""
PROGRESSIVE = {0, 1}
"""Field orders (FFmpeg: unknown, progressive) of streams without fields, which may come as two packets to a frame."""
MAX_PIXELS = 1 << 26
"""A larger frame (8192 x 8192) is taken for a damaged header, not allocated."""
SHORTFALL = 0.1
"""A Matroska file with one stream that ends so much (of its duration) before the time its header gives has lost its
end: after damage, FFmpeg resumes at the next place that looks right, which may be none, and says nothing."""
RESERVED_MATRIX = 3
"""The value of the colour matrix that the standard reserves; some encoders write it for "unknown"."""


class _Unsure(Exception):
    """It cannot be shown that each packet is one frame, or that skipping some leaves the others as they are."""


def count_frames(path: str | Path) -> int:
    """How many frames a video has, whatever its header says.

    Where each packet is one frame, packets are counted, which costs a tenth of decoding or less; where the codec or
    the timestamps leave a doubt of that, frames are decoded and counted.

    Raises:
        UserError: the file is missing; a `DamagedFile` where it is no video, is damaged, or holds no frame.
    """
    path = Path(path)
    try:
        count = _count_packets(path)
    except _Unsure:
        with _opened(path) as (container, stream):
            count = sum(1 for _ in _from_start(path, container, stream))
    if not count:
        raise DamagedFile(f"{path} holds no video frame, expected at least one; get the file again")
    return count


def read_frames(
    path: str | Path, indices: ArrayLike, *, resize: SizeRule | None = None, threads: int = 1, skip: bool = True
) -> np.ndarray:
    """uint8 RGB [*indices.shape, H, W, 3]: the frames with these numbers.

    Decoding stops at the largest number. Memory is that of the result, a few full-size frames and the packets of one
    group of pictures, however long the video; with repeats, each frame once more while the result is put together.

    Args:
        indices: frame numbers from 0, of any shape, in any order, with repeats ([clips, frames] reads all clips of a
            video in one pass).
        resize: rule for the size of the result, as `resize.short_side(224)`; None keeps the video's.
        threads: of the decoder; 0 leaves it to FFmpeg. 1 suits data loaders, which have a process for each core.
        skip: whether packets before the key frame that precedes the first wanted frame may be passed over undecoded.
            The frames are the same either way; where that cannot be shown, decoding starts over from the first frame.

    Raises:
        UserError: the file is missing; a number is negative, or none was given. A `DamagedFile` where it is no video
            or is damaged, has fewer frames than were asked for, or frames that differ in size.
    """
    path = Path(path)
    wanted = np.asarray(indices)
    if not wanted.size or not np.issubdtype(wanted.dtype, np.integer) or wanted.min() < 0:
        raise UserError(f"frames {wanted.tolist()} of {path} were asked for; numbers are integers from 0, at least one")
    if threads < 0:
        raise UserError(f"{threads} decoder threads were asked for; expected a number from 0 (as many as FFmpeg likes)")
    numbers, places = np.unique(wanted, return_inverse=True)
    if skip:
        try:
            kept = _read(path, numbers, resize, threads, skip=True)
        except _Unsure:
            kept = _read(path, numbers, resize, threads, skip=False)
    else:
        kept = _read(path, numbers, resize, threads, skip=False)
    return kept if np.array_equal(numbers, wanted) else kept[places.reshape(wanted.shape)]


def _read(path: Path, numbers: np.ndarray, resize: SizeRule | None, threads: int, *, skip: bool) -> np.ndarray:
    """uint8 [len(numbers), H, W, 3]: frames of increasing numbers."""
    from av.video.reformatter import VideoReformatter

    kept: np.ndarray | None = None
    done, count = 0, 0
    converter = VideoReformatter()
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        stream.thread_count = threads
        if skip and _one_to_one(stream):
            frames = _skipping(path, container, stream, int(numbers[0]))
        else:
            frames = _from_start(path, container, stream)
        for number, frame in frames:
            count = number + 1
            if number != numbers[done]:
                continue
            image = _image(path, number, frame, converter)
            if resize is not None:
                image = resize_frames(image[None], resize(image.shape[:2]))[0]
            if kept is None:
                kept = np.empty((len(numbers), *image.shape), np.uint8)
            if image.shape != kept.shape[1:]:
                raise DamagedFile(
                    f"{path} changes from {kept.shape[2]}x{kept.shape[1]} to {image.shape[1]}x{image.shape[0]} px at "
                    f"frame {number}; all frames of a clip must have one size: resize to a square, or re-encode it"
                )
            kept[done] = image
            done += 1
            if done == len(numbers):
                return kept
    raise DamagedFile(
        f"{path} has {count} frames that decode, and frame {numbers[-1]} (from 0) was asked for; get the file again if "
        "it should have more, or count its frames again"
    )


def _count_packets(path: Path) -> int:
    """Number of packets, each of which is one frame.

    Raises:
        _Unsure: not each of them may be.
    """
    count, end_s = 0, 0.0
    with _opened(path) as (container, stream):
        if not _one_to_one(stream):
            raise _Unsure
        for packet in _one_by_one(_packets(path, container, stream)):
            count += 1
            end_s = max(end_s, float(((packet.pts or 0) + (packet.duration or 0)) * packet.time_base))
        if container.format.name.startswith("matroska") and len(container.streams) == 1 and container.duration:
            promised_s = container.duration / 1e6
            if end_s < (1 - SHORTFALL) * promised_s:
                raise DamagedFile(
                    f"{path} ends after {end_s:.2f} s ({count} frames), its header promises {promised_s:.2f} s; "
                    "part of it is lost: get the file again"
                )
    return count


def _from_start(path: Path, container: "InputContainer", stream: "VideoStream") -> Iterator[tuple[int, "VideoFrame"]]:
    """(number, frame) of all frames."""
    for number, frame in enumerate(_decoded(_packets(path, container, stream), stream)):
        yield number, _sound(path, number, frame)


def _skipping(
    path: Path, container: "InputContainer", stream: "VideoStream", first: int
) -> Iterator[tuple[int, "VideoFrame"]]:
    """(number, frame) from the last key frame that is not after frame `first`.

    Packets before it are read but not decoded, and counting them gives its number. There is no seeking, so no index of
    the container has to be right.

    Raises:
        _Unsure: something leaves a doubt of the numbers, or does not decode.
    """
    import av

    try:
        packets = _one_by_one(_packets(path, container, stream))
        group, number = _last_group(packets, first)
        if not group:
            return
        key_pts = _pts(group[0])
        due: list[int] = []  # heap of the timestamps of packets that went in and frames that did not come out
        for frame in _decoded(_noted(itertools.chain(group, packets), due, key_pts), stream):
            if frame.pts is not None and frame.pts < key_pts:
                continue  # shown before the key frame and sent after it: may need what was skipped
            if not due or frame.pts != heapq.heappop(due):
                raise _Unsure
            yield number, _sound(path, number, frame)
            number += 1
        if due:
            raise _Unsure
    except (UserError, av.FFmpegError):
        raise _Unsure from None


def _last_group(packets: Iterator["Packet"], first: int) -> tuple[list["Packet"], int]:
    """Packets from the last key frame that is sure to be not after frame `first`, and that frame's number.

    Reads on until the next key frame is known to be later. In a group of pictures, packets may follow the key frame
    that are shown before it; its number is known once one comes that is shown after it.
    """
    group: list[Packet] = []
    passed, number = 0, 0
    key, leading = 0, 0  # the next key frame's place in the group, 0 for none; packets after it, shown before it
    for packet in packets:
        if key and _pts(packet) < _pts(group[key]):
            leading += 1
        elif key:
            if passed + key + leading <= first:
                passed += key
                number = passed + leading
                del group[:key]
            key, leading = 0, 0
        if packet.is_keyframe:
            key = len(group)
        group.append(packet)
        if not key and passed + len(group) > first:
            break
    return group, number


def _one_by_one(packets: Iterator["Packet"]) -> Iterator["Packet"]:
    """The packets, as long as nothing suggests that one of them is not exactly one frame.

    Raises:
        _Unsure: a timestamp is missing, or used twice; a packet is not to be shown (edit list); the first is no key
            frame, or others are shown before it.
    """
    seen: set[int] = set()
    start: int | None = None
    for packet in packets:
        if start is None and packet.is_keyframe:
            start = packet.pts
        if start is None or packet.pts is None or packet.is_discard or packet.pts < start or packet.pts in seen:
            raise _Unsure
        seen.add(packet.pts)
        yield packet


def _one_to_one(stream: "VideoStream") -> bool:
    context = stream.codec_context
    return context.name in ONE_FRAME_PER_PACKET and context.field_order in PROGRESSIVE


def _pts(packet: "Packet") -> int:
    assert packet.pts is not None, "packets without a timestamp were refused before"
    return packet.pts


def _noted(packets: Iterable["Packet"], due: list[int], start: int) -> Iterator["Packet"]:
    """The packets, their timestamps put on the heap `due` unless they are before `start`."""
    for packet in packets:
        if _pts(packet) >= start:
            heapq.heappush(due, _pts(packet))
        yield packet


def _packets(path: Path, container: "InputContainer", stream: "VideoStream") -> Iterator["Packet"]:
    """The stream's packets. Empty ones (an AVI's "same frame again") are no frames, and would end the decoding."""
    for number, packet in enumerate(container.demux(stream)):
        if packet.is_corrupt:
            raise DamagedFile(f"{path} is damaged: packet {number} of its video is not whole; get the file again")
        if packet.size:
            yield packet


def _decoded(packets: Iterable["Packet"], stream: "VideoStream") -> Iterator["VideoFrame"]:
    for packet in packets:
        yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)


def _sound(path: Path, number: int, frame: "VideoFrame") -> "VideoFrame":
    if frame.is_corrupt:
        raise DamagedFile(f"{path} is damaged: the decoder had to make up a part of frame {number}; get the file again")
    return frame


def _image(path: Path, number: int, frame: "VideoFrame", converter: "VideoReformatter") -> np.ndarray:
    """uint8 RGB [H, W, 3] of a frame, upright."""
    from av.video.reformatter import Colorspace, Interpolation

    reserved = frame.colorspace == RESERVED_MATRIX
    try:
        converted = converter.reformat(
            frame,
            format="rgb24",
            src_colorspace=Colorspace.ITU601 if reserved else None,
            interpolation=Interpolation.BILINEAR,
            threads=1,
        )
    except OSError as error:
        raise DamagedFile(
            f"{path}, frame {number}: {frame.format.name} with colour matrix {frame.colorspace} (ISO/IEC 23091-2) "
            f"cannot be converted to RGB ({error.strerror}); re-encode it, for example as yuv420p in BT.709"
        ) from error
    image = converted.to_ndarray()
    side_data: Any = frame.side_data  # PyAV's stubs know one kind only
    try:
        matrix = side_data["DISPLAYMATRIX"]
    except KeyError:
        return image
    return _upright(path, image, np.frombuffer(matrix, "=i4").reshape(3, 3))


def _upright(path: Path, image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The image as the display matrix shows it; only its signs count, as in FFmpeg's own players.

    (x, y) of the stored image is shown at (x, y, 1) @ matrix (ISO/IEC 14496-12, section 6.2.2).
    """
    (a, b), (c, d) = matrix[:2, :2]
    if not b and not c and a and d:
        x_sign, y_sign = a, d
    elif not a and not d and b and c:
        image = image.swapaxes(0, 1)
        x_sign, y_sign = c, b
    else:
        raise DamagedFile(
            f"{path} is to be shown turned by other than a right angle (display matrix {matrix[:2, :2].tolist()}); "
            "re-encode it upright"
        )
    return np.ascontiguousarray(image[:: 1 if y_sign > 0 else -1, :: 1 if x_sign > 0 else -1])


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
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
