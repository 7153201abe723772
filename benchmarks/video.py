"""Clips per second out of video files: 16 frames, stride 2, short side 224, with the settings of PyAV compared.

    python benchmarks/video.py                       # three to six minutes, less than 1 GB
    python benchmarks/video.py --files "h264 320x240, key frame every 12" --rounds 3

The videos are demo scenes with a little noise, 250 frames long, encoded here. A clip starts anywhere with the same
probability; every setting reads the same clips, in rounds that alternate between the settings, and the pixels are
asserted to be equal where a setting must not change them. Clips per second are of wall time, which depends on what else
the machine does; CPU ms per clip depend on it less. Both are medians over the rounds.

Expect of CPU time: passing over groups of pictures undecoded (`skip`, the default) gains the more the shorter they are,
2x with a key frame every 12 frames, nothing with a single one. The checks of `read_frames` cost up to 5 % over a plain
loop. A second thread costs a tenth more, or two; what wall time it buys for one file, a data loader with a process for
each core cannot use: hence one by default. Frame or slice threads matter little. Resizing in swscale saves a tenth,
OpenCV (which does not antialias) somewhat more; neither gives the pixels of the antialiased resize that the tasks use.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from av.video.reformatter import Interpolation, VideoReformatter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rvm_bench.demo.davis import SEQUENCES, fair_scene
from rvm_bench.media.frame_sampling import random_clip
from rvm_bench.media.resize import resize, short_side
from rvm_bench.media.video.reader import count_frames, read_frames

LENGTH, FRAMES, STRIDE, SIDE_PX = 250, 16, 2, 224
RULE = short_side(SIDE_PX)
X264, VP9 = {"preset": "veryfast", "crf": "23"}, {"deadline": "realtime", "cpu-used": "8", "b": "400k"}
FILES = {
    "h264 320x240, key frame every 250": ("a.mp4", "libx264", (240, 320), {**X264, "g": "250", "sc_threshold": "0"}),
    "h264 320x240, key frame every 12": ("b.mp4", "libx264", (240, 320), {**X264, "g": "12"}),
    "h264 1280x720, key frame every 50": ("c.mp4", "libx264", (720, 1280), {**X264, "g": "50"}),
    "vp9 webm 320x240, key frame every 128": ("d.webm", "libvpx-vp9", (240, 320), {**VP9, "g": "128"}),
}


def scene_frames() -> list[np.ndarray]:
    """uint8 [480, 854, 3]: one way through a demo scene."""
    scene = fair_scene((0, 0), SEQUENCES[0].scene)
    return [scene.render(t).rgb for t in range(SEQUENCES[0].scene.frames)]


def encode(file: Path, codec: str, size_hw: tuple[int, int], options: dict[str, str], scene: list[np.ndarray]) -> None:
    """A video that goes through the scene and back, again and again."""
    rng = np.random.default_rng(0)
    there_and_back = scene + scene[-2:0:-1]
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *size_hw, "yuv420p"
        for number in range(LENGTH):
            image = cv2.resize(there_and_back[number % len(there_and_back)], size_hw[::-1]).astype(np.int16)
            image += rng.integers(-4, 5, (*size_hw, 1), dtype=np.int16)
            frame = av.VideoFrame.from_ndarray(np.clip(image, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def plain(convert: Callable, thread_type: str = "NONE", threads: int = 1) -> Callable:
    """A reader without checks: decodes from the first frame, and converts those that are wanted."""

    def read(file: Path, indices: np.ndarray) -> np.ndarray:
        wanted, kept = set(indices.tolist()), []
        reformatter = VideoReformatter()
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.thread_count = thread_type, threads
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    kept.append(convert(reformatter, frame))
                if number == indices[-1]:
                    break
        return np.stack(kept)

    return read


def in_torch(reformatter: VideoReformatter, frame: av.VideoFrame) -> np.ndarray:
    image = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    return resize(image[None], RULE(image.shape[:2]))[0]


def in_opencv(reformatter: VideoReformatter, frame: av.VideoFrame) -> np.ndarray:
    image = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    return cv2.resize(image, RULE(image.shape[:2])[::-1], interpolation=cv2.INTER_LINEAR)


def in_swscale(threads: int) -> Callable:
    def convert(reformatter: VideoReformatter, frame: av.VideoFrame) -> np.ndarray:
        height, width = RULE((frame.height, frame.width))
        return reformatter.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=threads
        ).to_ndarray()

    return convert


def ours(**options: object) -> Callable:
    return lambda file, indices: read_frames(file, indices, resize=RULE, **options)


SETTINGS: dict[str, tuple[Callable, bool]] = {
    "read_frames (1 thread, skip)": (ours(), True),
    "read_frames, from the first frame": (ours(skip=False), True),
    "read_frames, skip, 2 threads": (ours(threads=2), True),
    "read_frames, skip, auto threads": (ours(threads=0), True),
    "plain, 1 thread, torch resize": (plain(in_torch), True),
    "plain, 2 frame threads": (plain(in_torch, "FRAME", 2), True),
    "plain, 2 slice threads": (plain(in_torch, "SLICE", 2), True),
    "plain, auto threads": (plain(in_torch, "AUTO", 0), True),
    "plain, 1 thread, swscale resize": (plain(in_swscale(1)), False),
    "plain, 1 thread, swscale auto threads": (plain(in_swscale(0)), False),
    "plain, 1 thread, OpenCV resize": (plain(in_opencv), False),
}
"""Name -> reader, and whether its pixels must be those of the first."""


def timed(reader: Callable, file: Path, clips: list[np.ndarray]) -> Iterator[tuple[float, float]]:
    """Wall and CPU seconds of a round."""
    wall, cpu = time.perf_counter(), time.process_time()
    for clip in clips:
        reader(file, clip)
    yield time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds per setting")
    parser.add_argument("--clips", type=int, default=6, help="clips per round")
    parser.add_argument("--files", nargs="+", default=list(FILES), choices=list(FILES), metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    print(
        f"PyAV {av.__version__}, torch {torch.__version__}, OpenCV {cv2.__version__}; "
        f"{FRAMES} frames, stride {STRIDE}, short side {SIDE_PX} px, of videos of {LENGTH} frames"
    )
    scene = scene_frames()
    with tempfile.TemporaryDirectory() as folder:
        for title in options.files:
            name, *how = FILES[title]
            file = Path(folder) / name
            encode(file, *how, scene)
            measure(title, file, options.rounds, options.clips)


def measure(title: str, file: Path, rounds: int, clips_per_round: int) -> None:
    start = time.process_time()
    length = count_frames(file)
    counting_ms = 1e3 * (time.process_time() - start)
    assert length == LENGTH, "not the frames that were written"
    rng = np.random.default_rng(1)
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    for i in range(rounds + 1):
        clips = [random_clip(length, FRAMES, STRIDE, rng) for _ in range(clips_per_round)]
        expected = [read_frames(file, clip, resize=RULE) for clip in clips[:2]]
        for name, (reader, same) in SETTINGS.items():
            if same:
                for clip, frames in zip(clips, expected, strict=False):
                    assert np.array_equal(reader(file, clip), frames), f"{name}: not the same pixels"
            if i:  # the first round warms up
                rows[name] += timed(reader, file, clips)
    print(f"\n{title} ({file.stat().st_size / 1e3:.0f} kB); counting its frames takes {counting_ms:.1f} CPU ms")
    print("  | setting                               | clips/s | CPU ms/clip | CPU, against the first row, by round")
    base = rows[next(iter(SETTINGS))]
    for name, times in rows.items():
        wall, cpu = (statistics.median(column) / clips_per_round for column in zip(*times, strict=True))
        ratios = [mine[1] / first[1] for mine, first in zip(times, base, strict=True)]
        by_round = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"  | {name:37} | {1 / wall:7.1f} | {1e3 * cpu:11.1f} | {statistics.median(ratios):5.2f}x ({by_round})")


if __name__ == "__main__":
    main()
