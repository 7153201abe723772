"""Training clips cut before training: TFRecord files of JPEG frames, written once and read at random.

Each record is a tf.train.SequenceExample under MediaSequence's names:

    context        clip/data_path    bytes, the name of the video that the clip was cut from
    feature list   image/encoded     one JPEG a frame, RGB
    feature list   image/timestamp   one int64 a frame, microseconds, increasing

A training sample shows 8 of a clip's 64 frames. As JPEG these alone are decoded, where a video codec needs all that
come before; the price is many times the bytes. Source of the names: google-ai-edge/mediapipe,
`mediapipe/util/sequence/media_sequence.py`.
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.formats.tf_example import decode_sequence_example, encode_sequence_example
from rvm_bench.formats.tfrecord import read_record, record_index, write_records
from rvm_bench.media.encoded_images import decode_image
from rvm_bench.media.resize import short_side
from rvm_bench.media.video.reader import frame_times_s, read_frames
from rvm_bench.rvm.train.data.timing import Clip, clip_at_rate, steps_between

PATH, IMAGE, TIMESTAMP = "clip/data_path", "image/encoded", "image/timestamp"
PATTERN = "[!.]*.tfrecord*"
"""Names of shards, also of such as `ssv2.tfrecord-00007-of-00128`, but not of unfinished ones."""
CLIP_FRAMES = 64
LEAST_FRAMES = 8
"""Fewest frames of a clip that is worth keeping: 4 sources and a target 4 frames later."""


@dataclass(kw_only=True)
class Written:
    """What `write_shards` did: how many `clips` it wrote, and why it `left_out` videos, a line for each."""

    clips: int = 0
    left_out: list[str] = field(default_factory=list)


def write_shards(
    folder: Path,
    videos: Sequence[Path],
    *,
    fps: float | None,
    short_side_px: int = 288,
    quality: int = 92,
    clips_per_shard: int = 256,
    left_out_limit: float = 0.01,
    progress: Callable[[int], object] | None = None,
) -> Written:
    """Cuts videos into clips of `CLIP_FRAMES` frames that follow one another, and writes them to `folder`.

    What is left at the end of a video is dropped, but a video shorter than a clip is one clip. `progress` is called
    after each clip with the number written.

    Args:
        folder: for `clips-00000.tfrecord` and so on; made if need be.
        videos: files, in the order in which their clips are to follow.
        fps: the source's frames a second; None keeps every frame.
        short_side_px: frames are made so large, not larger than the crops of training use.
        quality: of the JPEGs, 1 to 95.
        clips_per_shard: records of a file.
        left_out_limit: share of `videos` that may be damaged or too short, one in any case.

    Raises:
        UserError: the folder holds shards already, or more videos cannot be read than the limit allows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob(PATTERN)):
        raise UserError(f"{folder} holds shards already; name an empty folder, or remove them")
    written = Written()
    clips = _clips(videos, fps, short_side_px, quality, max(1, int(left_out_limit * len(videos))), written.left_out)
    shard: list[bytes] = []
    number = 0
    for clip in clips:
        shard.append(clip)
        written.clips += 1
        if progress is not None:
            progress(written.clips)
        if len(shard) == clips_per_shard:
            write_records(folder / f"clips-{number:05d}.tfrecord", shard)
            shard, number = [], number + 1
    if shard:
        write_records(folder / f"clips-{number:05d}.tfrecord", shard)
    return written


class Shards:
    """The clips of all shards below a folder, in the order of their names.

    Raises:
        UserError: there are none, one is damaged, or the first record is laid out otherwise.
    """

    def __init__(self, folder: Path, *, timed: bool) -> None:
        if not folder.is_dir():
            raise UserError(f"no such folder of shards: {folder}")
        self._folder = folder
        self._files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob(PATTERN) if path.is_file())
        if not self._files:
            raise UserError(f"{folder} holds no shard ({PATTERN}); write some with rvm_bench.rvm.train.data.shards")
        indices = [np.array(record_index(folder / name), np.int64).reshape(-1, 2) for name in self._files]
        counts = [len(index) for index in indices]
        self._records = np.concatenate(indices)
        self._ends = np.cumsum(counts)
        if not len(self._records):
            raise UserError(f"the shards of {folder} hold no record; write them again")
        self._timed = timed
        path, record = self._place(0)
        try:
            self._decoded(path, record, *self._records[0].tolist())
        except DamagedFile:
            raise
        except UserError as error:
            raise UserError(f"{error} (expected the layout of rvm_bench.rvm.train.data.shards)") from error

    def __len__(self) -> int:
        return len(self._records)

    def names(self) -> Iterator[str]:
        """Of each file, with the number of its records."""
        starts = np.concatenate([[0], self._ends[:-1]])
        return (f"{name}:{end - start}" for name, start, end in zip(self._files, starts, self._ends, strict=True))

    def clip(self, index: int) -> Clip:
        """One record. A `DamagedFile` where it is damaged."""
        path, record = self._place(index)
        where = f"{path}, record {record}"
        try:
            images, times_s = self._decoded(path, record, *self._records[index].tolist())
        except UserError as error:
            raise DamagedFile(str(error)) from error

        def read(numbers: np.ndarray) -> np.ndarray:
            frames: list[np.ndarray] = []
            try:
                for k in numbers.tolist():
                    size_hw = frames[0].shape[:2] if frames else None
                    frames.append(decode_image(images[k], size_hw=size_hw, where=f"{where}, frame {k}"))
            except UserError as error:
                raise DamagedFile(str(error)) from error
            return np.stack(frames)

        return Clip(name=where, times_s=times_s, read=read)

    def _place(self, index: int) -> tuple[Path, int]:
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return self._folder / self._files[shard], index - (int(self._ends[shard - 1]) if shard else 0)

    def _decoded(self, path: Path, record: int, offset: int, length: int) -> tuple[list[bytes], np.ndarray]:
        where = f"{path}, record {record}"
        data = read_record(path, record, offset, length)
        _, lists = decode_sequence_example(data, (IMAGE, TIMESTAMP), where=where)
        images = [image for feature in lists.get(IMAGE, []) for image in feature]
        if not images or not all(isinstance(image, bytes) for image in images):
            raise UserError(f"{where} has no frames in its feature list {IMAGE}")
        if not self._timed:
            return images, np.arange(len(images), dtype=np.float64)
        stamps = [int(stamp) for feature in lists.get(TIMESTAMP, []) for stamp in feature]
        if len(stamps) != len(images) or (np.diff(stamps) < 0).any():
            raise UserError(
                f"{where} has {len(stamps)} increasing times in {TIMESTAMP} for {len(images)} frames, which fps needs; "
                "leave fps out, or write them"
            )
        return images, (np.array(stamps) - stamps[0]) / 1e6


def _clips(
    videos: Sequence[Path], fps: float | None, short_side_px: int, quality: int, allowed: int, left_out: list[str]
) -> Iterator[bytes]:
    """Encoded clips; why a video gave none (or no more) goes to `left_out`."""
    for path in videos:
        try:
            times_s = frame_times_s(path)
            length = len(times_s) if fps is None else int(steps_between(0.0, times_s[-1], fps))
            steps = clip_at_rate(times_s, fps, length, 0)
            if len(steps) < LEAST_FRAMES:
                raise DamagedFile(f"{path} has {len(steps)} frames at this rate; expected at least {LEAST_FRAMES}")
            for first in range(0, max(1, len(steps) - CLIP_FRAMES + 1), CLIP_FRAMES):
                numbers = steps[first : first + CLIP_FRAMES]
                frames = read_frames(path, numbers, resize=short_side(short_side_px))
                times_us = (
                    np.arange(len(numbers)) * 1e6 / fps if fps else (times_s[numbers] - times_s[numbers[0]]) * 1e6
                )
                yield encode_sequence_example(
                    {PATH: os.fsencode(path.name)},
                    {
                        IMAGE: [_jpeg(frame, quality) for frame in frames],
                        TIMESTAMP: [[int(stamp)] for stamp in np.rint(times_us)],
                    },
                )
        except DamagedFile as error:
            left_out.append(str(error))
            if len(left_out) > allowed:
                raise UserError(
                    f"{len(left_out)} of {len(videos)} videos cannot be cut, more than the limit allows; the first: "
                    f"{left_out[0]}"
                ) from error


def _jpeg(frame: np.ndarray, quality: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
