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

import heapq
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.media.resize import SizeRule
from rvm_bench.media.resize import resize as resize_frames
from rvm_bench.media.video.container import (
    UncertainNumbers,
    checked_frame,
    decoded,
    from_start,
    one_by_one,
    one_to_one,
    opened,
    packets,
)

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

SHORTFALL = 0.1
"""A Matroska file with one stream that ends so much (of its duration) before the time its header gives has lost its
end: after damage, FFmpeg resumes at the next place that looks right, which may be none, and says nothing."""
RESERVED_MATRIX = 3
"""The value of the colour matrix that the standard reserves; some encoders write it for "unknown"."""


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
    except UncertainNumbers:
        with opened(path) as (container, stream):
            count = sum(1 for _ in from_start(path, container, stream))
    if not count:
        raise DamagedFile(f"{path} holds no video frame, expected at least one; get the file again")
    return count


def frame_times_s(path: Path) -> np.ndarray:
    """float64 [frames], never decreasing: the time in seconds at which each frame is shown, 0 for the first.

    Where each packet is one frame, nothing is decoded. Where timestamps are missing or out of order, as in AVI files of
    MPEG-4 part 2 with B frames, frames count as shown at equal steps, at the file's average rate.

    Raises:
        UserError: the file is missing; a `DamagedFile` where it is no video, is damaged, holds no frame or has neither
            timestamps in order nor a rate.
    """
    try:
        with opened(path) as (container, stream):
            if not one_to_one(stream):
                raise UncertainNumbers
            shown = [float(p.pts * p.time_base) for p in one_by_one(packets(path, container, stream))]  # type: ignore[operator]
        times = np.sort(np.array(shown, np.float64))
    except UncertainNumbers:
        with opened(path) as (container, stream):
            rate = stream.average_rate
            times = np.array([frame.time for _, frame in from_start(path, container, stream)], np.float64)
        if not (np.diff(times) >= 0).all():  # nor are they where one is missing, which is NaN here
            if not rate:
                raise DamagedFile(f"{path} has neither timestamps in order nor a frame rate; re-encode it") from None
            times = np.arange(len(times)) / float(rate)
    if not len(times):
        raise DamagedFile(f"{path} holds no video frame, expected at least one; get the file again")
    return times - times[0]


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
            clip = _read(path, numbers, resize, threads, skip=True)
        except UncertainNumbers:
            clip = _read(path, numbers, resize, threads, skip=False)
    else:
        clip = _read(path, numbers, resize, threads, skip=False)
    return clip if np.array_equal(numbers, wanted) else clip[places.reshape(wanted.shape)]


def _read(path: Path, numbers: np.ndarray, resize: SizeRule | None, threads: int, *, skip: bool) -> np.ndarray:
    """uint8 [len(numbers), H, W, 3]: frames of increasing numbers."""
    from av.video.reformatter import VideoReformatter

    clip: np.ndarray | None = None
    done, count = 0, 0
    converter = VideoReformatter()
    with opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        stream.thread_count = threads
        if skip and one_to_one(stream):
            frames = _skipping(path, container, stream, int(numbers[0]))
        else:
            frames = from_start(path, container, stream)
        for number, frame in frames:
            count = number + 1
            if number != numbers[done]:
                continue
            image = _image(path, number, frame, converter)
            if resize is not None:
                image = resize_frames(image[None], resize(image.shape[:2]))[0]
            if clip is None:
                clip = np.empty((len(numbers), *image.shape), np.uint8)
            if image.shape != clip.shape[1:]:
                raise DamagedFile(
                    f"{path} changes from {clip.shape[2]}x{clip.shape[1]} to {image.shape[1]}x{image.shape[0]} px at "
                    f"frame {number}; all frames of a clip must have one size: resize to a square, or re-encode it"
                )
            clip[done] = image
            done += 1
            if done == len(numbers):
                return clip
    raise DamagedFile(
        f"{path} has {count} frames that decode, and frame {numbers[-1]} (from 0) was asked for; get the file again if "
        "it should have more, or count its frames again"
    )


def _count_packets(path: Path) -> int:
    """Number of packets, each of which is one frame.

    Raises:
        UncertainNumbers: not each of them may be.
    """
    count, end_s = 0, 0.0
    with opened(path) as (container, stream):
        if not one_to_one(stream):
            raise UncertainNumbers
        for packet in one_by_one(packets(path, container, stream)):
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


def _skipping(
    path: Path, container: "InputContainer", stream: "VideoStream", first: int
) -> Iterator[tuple[int, "VideoFrame"]]:
    """(number, frame) from the last key frame that is not after frame `first`.

    Packets before it are read but not decoded, and counting them gives its number. There is no seeking, so no index of
    the container has to be right.

    Raises:
        UncertainNumbers: something leaves a doubt of the numbers, or does not decode.
    """
    import av

    try:
        ordered = one_by_one(packets(path, container, stream))
        group, number = _last_group(ordered, first)
        if not group:
            return
        key_pts = _pts(group[0])
        due: list[int] = []  # heap of the timestamps of packets that went in and frames that did not come out
        for frame in decoded(_noted(itertools.chain(group, ordered), due, key_pts), stream):
            if frame.pts is not None and frame.pts < key_pts:
                continue  # shown before the key frame and sent after it: may need what was skipped
            if not due or frame.pts != heapq.heappop(due):
                raise UncertainNumbers
            yield number, checked_frame(path, number, frame)
            number += 1
        if due:
            raise UncertainNumbers
    except (UserError, av.FFmpegError):
        raise UncertainNumbers from None


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


def _pts(packet: "Packet") -> int:
    assert packet.pts is not None, "packets without a timestamp were refused before"
    return packet.pts


def _noted(packets: Iterable["Packet"], due: list[int], start: int) -> Iterator["Packet"]:
    """The packets, their timestamps put on the heap `due` unless they are before `start`."""
    for packet in packets:
        if _pts(packet) >= start:
            heapq.heappush(due, _pts(packet))
        yield packet


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
