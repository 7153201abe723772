"""Video: the frames asked for and no others, upright and in true colours, or one line that names the file."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from hypothesis import given, settings
from hypothesis import strategies as st

from rvm_bench.errors import UserError
from rvm_bench.media.frame_sampling import linspaced_clips
from rvm_bench.media.resize import resize, short_side, square
from rvm_bench.media.video import container
from rvm_bench.media.video import reader as video
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


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """One 40-frame video of each kind: name -> file."""
    folder = tmp_path_factory.mktemp("films")
    return {
        name: write(folder / name, codec, options, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p")
        for name, (codec, options) in KINDS.items()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Contents of small files of three containers, to be damaged."""
    folder = tmp_path_factory.mktemp("small")
    kinds = {"a.mp4": ("libx264", X264), "a.webm": ("libvpx-vp9", VP9), "a.avi": ("mpeg4", {"g": "12", "bf": "2"})}
    return {name: write(folder / name, *kind, frames=24, size_hw=(32, 48)).read_bytes() for name, kind in kinds.items()}


def outcome(file, **options):
    """What reading a video gives, in one line."""
    with pytest.raises(UserError) as error:
        read_frames(file, range(count_frames(file)), **options)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_the_one_asked_for_however_it_is_reached(films, name):
    file = films[name]
    assert count_frames(file) == 40
    everything = read_frames(file, range(40), skip=False)
    np.testing.assert_array_equal(numbers(everything), np.arange(40))
    for number in (0, 1, 11, 12, 13, 20, 23, 24, 35, 36, 39):
        np.testing.assert_array_equal(read_frames(file, [number])[0], everything[number])


def test_groups_of_pictures_before_the_first_wanted_frame_are_not_decoded(films, monkeypatch):
    decoded = []
    sound = container.sound

    def noted(path, number, frame):
        decoded.append(number)
        return sound(path, number, frame)

    for module in (container, video):
        monkeypatch.setattr(module, "sound", noted)
    read_frames(films["closed.mp4"], [26])
    assert decoded == [24, 25, 26]
    decoded.clear()
    read_frames(films["closed.mp4"], [26], skip=False)
    assert decoded == list(range(27))
    decoded.clear()
    read_frames(films["refresh.mp4"], [26])  # its key frames are none
    assert decoded == list(range(27))


def test_numbers_may_have_any_order_repeats_and_shape(films):
    file = films["closed.mp4"]
    np.testing.assert_array_equal(numbers(read_frames(file, [30, 3, 3, 39, 0])), [30, 3, 3, 39, 0])
    clips = linspaced_clips(40, 4, 2, 3)
    assert read_frames(file, clips).shape == (3, 4, 64, 96, 3)
    np.testing.assert_array_equal(numbers(read_frames(file, clips)), clips)


def test_a_key_frame_that_is_none_is_found_out(films, tmp_path):
    """The table of key frames calls frame 26 one."""
    data = films["closed.mp4"].read_bytes()
    table = data.index(b"stss") + 12
    assert data[table + 8 : table + 12] == (25).to_bytes(4, "big")
    file = tmp_path / "lying.mp4"
    file.write_bytes(data[: table + 8] + (27).to_bytes(4, "big") + data[table + 12 :])
    for number in (25, 26, 27, 30):
        np.testing.assert_array_equal(read_frames(file, [number]), read_frames(films["closed.mp4"], [number]))


@pytest.mark.parametrize("name", ["closed.mp4", "open_hevc.mp4", "vp9.webm"])
def test_starting_where_nothing_can_be_decoded_costs_time_and_no_frame(films, monkeypatch, name):
    monkeypatch.setattr(video, "_last_group", lambda packets, first: (list(packets)[26:], 26))
    with pytest.raises(video.UncertainNumbers):
        video._read(films[name], np.array([30]), None, 1, skip=True)
    assert numbers(read_frames(films[name], [30])) == [30]


def test_packets_are_counted_only_where_each_is_a_frame(films):
    assert video._count_packets(films["open.mp4"]) == 40
    for name in ("mpeg4.avi", "vp8.webm", "interlaced.mp4"):
        with pytest.raises(video.UncertainNumbers):
            video._count_packets(films[name])


@pytest.mark.parametrize("threads", [0, 2, 4])
@pytest.mark.parametrize("name", ["open.mp4", "vp9.webm", "mpeg4.avi"])
def test_threads_change_nothing(films, name, threads):
    wanted = [7, 25, 39]
    np.testing.assert_array_equal(read_frames(films[name], wanted, threads=threads), read_frames(films[name], wanted))


@pytest.mark.parametrize(("name", "codec", "options"), [("a.mp4", "libx264", X264), ("a.webm", "libvpx-vp9", VP9)])
def test_frames_are_counted_not_timed(tmp_path, name, codec, options):
    times = np.cumsum(np.random.default_rng(0).integers(1, 60, 30)).tolist()
    file = write(tmp_path / name, codec, options, frames=30, times=times)
    assert count_frames(file) == 30
    np.testing.assert_array_equal(numbers(read_frames(file, [[0, 9], [27, 29]])), [[0, 9], [27, 29]])


def test_empty_chunks_of_an_avi_are_no_frames(tmp_path):
    times = [4 * (number + 3 * (number > 10)) for number in range(20)]
    file = write(tmp_path / "gap.avi", "mpeg4", {"g": "5"}, frames=20, times=times)
    assert file.read_bytes().count(b"00dc" + bytes(4)) >= 3
    assert count_frames(file) == 20
    np.testing.assert_array_equal(numbers(read_frames(file, range(20))), np.arange(20))


def remux(source, file, change):
    """Copies the packets for which `change`, called with the number and the packet, gives something true."""
    with av.open(str(source)) as old, av.open(str(file), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for number, packet in enumerate(old.demux(stream)):
            if packet.size and change(number, packet):
                packet.stream = copy
                new.mux(packet)
    return file


def test_frames_cut_out_by_an_edit_list_have_no_number(films, tmp_path):
    def earlier(number, packet):
        packet.pts -= int(5 / 25 / packet.time_base)
        packet.dts -= int(5 / 25 / packet.time_base)
        return True

    file = remux(films["closed.mp4"], tmp_path / "cut.mp4", earlier)
    assert count_frames(file) == 35
    np.testing.assert_array_equal(numbers(read_frames(file, [0, 20, 34])), [5, 25, 39])


@pytest.mark.parametrize(("name", "passed"), [("open.mkv", 2), ("open_hevc.mp4", 1)])
def test_pictures_that_need_what_was_cut_away_have_no_number(films, tmp_path, name, passed):
    """The file starts with a later key frame; those sent after it and shown before it cannot be decoded."""
    keys = []

    def late(number, packet):
        keys.append(packet.is_keyframe)
        return sum(keys) > passed

    file = remux(films[name], tmp_path / "cut.mkv", late)
    with av.open(str(file)) as container:
        shown = [packet.pts for packet in container.demux() if packet.size]
    count = sum(pts >= shown[0] for pts in shown)
    assert count < len(shown)
    assert count_frames(file) == count
    np.testing.assert_array_equal(numbers(read_frames(file, range(count))), np.arange(40 - count, 40))
    assert numbers(read_frames(file, [count - 1])) == [39]


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


def test_frames_are_resized_one_by_one(films):
    file = films["closed.mp4"]
    native = read_frames(file, [4, 30])
    np.testing.assert_array_equal(read_frames(file, [4, 30], resize=short_side(24)), resize(native, (24, 36)))
    np.testing.assert_array_equal(read_frames(file, [30, 4], resize=square(48))[::-1], resize(native, (48, 48)))


def test_the_file_name_does_not_matter(films, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("film.txt", "film", "a:b.mp4", "http:film", "-i", "é %d ?.webm"):
        file = Path(name)
        file.write_bytes(films["vp9.webm"].read_bytes())
        assert count_frames(file) == 40
        assert numbers(read_frames(str(file), [33])) == [33]


def test_tags_need_not_be_utf8(tmp_path):
    file = write(tmp_path / "a.avi", "mpeg4", {}, frames=8, title="a title")
    file.write_bytes(file.read_bytes().replace(b"a title", b"\xe4\xff tit\xfe"))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(file)).close()
    assert count_frames(file) == 8
    np.testing.assert_array_equal(numbers(read_frames(file, range(8))), np.arange(8))


def test_a_number_beyond_the_end_is_an_error_with_both_numbers(films):
    for name in ("closed.mp4", "vp9.webm", "mpeg4.avi"):
        with pytest.raises(UserError, match=r"has 40 frames .* frame 40 \(from 0\) was asked for"):
            read_frames(films[name], [3, 40])


@pytest.mark.parametrize("wanted", [[], [-1], [0.5], [True, False]])
def test_frame_numbers_are_integers_from_zero(films, wanted):
    with pytest.raises(UserError, match="integers from 0"):
        read_frames(films["closed.mp4"], wanted)


def test_a_negative_number_of_threads_is_refused(films):
    with pytest.raises(UserError, match="-1 decoder threads"):
        read_frames(films["closed.mp4"], [0], threads=-1)


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
