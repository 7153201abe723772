"""No part of a file passes for the whole, and damage is one clear line."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from films import numbers, outcome, write
from hypothesis import given, settings
from hypothesis import strategies as st

from rvm_bench.errors import UserError
from rvm_bench.media.frame_sampling import linspaced_clips
from rvm_bench.media.resize import square
from rvm_bench.media.video.reader import count_frames, read_frames


def test_files_that_are_no_video_are_named(tmp_path):
    assert "no such video file" in outcome(tmp_path / "missing.mp4")
    assert "no such video file" in outcome(tmp_path)
    for name, content, words in [
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"not a video\n" * 40, "cannot be read as a video"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nhttp://localhost/a.ts\n", "cannot be read as a video"),
        ("zeros.mp4", bytes(5000), "cannot be read as a video"),
    ]:
        (tmp_path / name).write_bytes(content)
        assert words in outcome(tmp_path / name)


def test_a_file_with_sound_only_is_named(tmp_path):
    file = tmp_path / "sound.mkv"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "has no video stream (audio only)" in outcome(file)


def test_a_video_without_frames_is_named(tmp_path):
    file = tmp_path / "none.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    assert outcome(file)


@pytest.mark.parametrize("name", ["a.mp4", "front.mp4", "a.webm", "a.avi"])
def test_no_part_of_a_file_passes_for_the_whole(small, tmp_path, name):
    if name == "front.mp4":
        data = write(tmp_path / name, frames=24, size_hw=(32, 48), muxer={"movflags": "faststart"}).read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")
    else:
        data = small[name]
    file = tmp_path / name
    for size in [1, 7, 8, 12, 40, *np.linspace(50, len(data) - 1, 25).astype(int)]:
        file.write_bytes(data[:size])
        outcome(file)
    file.write_bytes(data + bytes(100))
    assert count_frames(file) == 24


def test_a_webm_that_cannot_be_followed_to_its_end_is_an_error(films, tmp_path):
    """FFmpeg looks for the next cluster, finds none, and ends without a word."""
    data = films["vp9.webm"].read_bytes()
    file = tmp_path / "lost.webm"
    file.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    with av.open(str(file)) as container:
        assert 5 < sum(1 for packet in container.demux() if packet.size) < 35
    assert "header promises 1.6" in outcome(file)


def test_a_packet_with_a_hole_is_an_error(films, tmp_path):
    """One of the pieces of 188 bytes, of which a transport stream consists, is missing."""
    data = films["stream.ts"].read_bytes()
    file = tmp_path / "hole.ts"
    middle = len(data) // 188 // 2 * 188
    file.write_bytes(data[:middle] + data[middle + 188 :])
    assert "is not whole" in outcome(file)


def test_a_jpeg_that_ends_before_its_picture_does_is_an_error(films, tmp_path):
    data = bytearray(films["motion_jpeg.avi"].read_bytes())
    with av.open(str(films["motion_jpeg.avi"])) as container:
        packet = list(container.demux(video=0))[20]
    place = packet.pos + 8 + packet.size * 4 // 5
    data[place : place + 2] = b"\xff\xd9"
    file = tmp_path / "short.avi"
    file.write_bytes(data)
    outcome(file)


@pytest.mark.parametrize("name", ["closed.mp4", "open.mkv", "mpeg4.avi", "motion_jpeg.avi"])
def test_damage_that_the_decoder_conceals_is_an_error(films, tmp_path, name):
    """Zeros in the middle of coded pictures; read as they are, all of these give 40 frames or nearly."""
    data = bytearray(films[name].read_bytes())
    with av.open(str(films[name])) as container:
        packet = max(list(container.demux(video=0))[14:30], key=lambda packet: packet.size)
    middle = packet.pos + packet.size // 2
    data[middle : middle + packet.size // 3] = bytes(packet.size // 3)
    file = tmp_path / name
    file.write_bytes(data)
    assert any(words in outcome(file) for words in ("made up", "make up", "cannot be read", "not whole"))
    assert numbers(read_frames(file, [2])) == [2]  # what comes before the damage is as it was


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.avi"])
@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=4))
def test_flipped_bits_give_frames_or_one_clear_line(small, tmp_path_factory, name, places):
    data = bytearray(small[name])
    for place, bit in places:
        data[int(place * len(data))] ^= 1 << bit
    file = tmp_path_factory.getbasetemp() / f"flipped_{name}"
    file.write_bytes(data)
    refusal = None
    try:
        count = count_frames(file)
        frames = read_frames(file, linspaced_clips(count, 4, 2, 2))
    except UserError as error:
        refusal = str(error)
    if refusal is None:
        assert frames.dtype == np.uint8
        assert (*frames.shape[:2], frames.shape[4]) == (2, 4, 3)
    else:
        assert str(file) in refusal
        assert "\n" not in refusal


def test_a_size_that_changes_is_an_error_unless_resized_away(tmp_path):
    file = tmp_path / "two.h264"
    parts = [write(tmp_path / f"{i}.h264", frames=6, size_hw=hw) for i, hw in enumerate([(64, 96), (96, 64)])]
    file.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(UserError, match=r"changes from 96x64 to 64x96 px at frame 6"):
        read_frames(file, range(12))
    np.testing.assert_array_equal(numbers(read_frames(file, range(12), resize=square(64))), [*range(6), *range(6)])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are listed on Linux only")
def test_files_are_closed_whatever_happens(films, tmp_path):
    broken = tmp_path / "broken.webm"
    data = films["vp9.webm"].read_bytes()
    broken.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        read_frames(films["closed.mp4"], [30])
        for bad in (films["closed.mp4"], films["mpeg4.avi"], broken):
            with pytest.raises(UserError):
                read_frames(bad, [40])
    assert len(os.listdir("/proc/self/fd")) == before
