"""Every frame is the one that was asked for, however it is reached."""

from pathlib import Path

import av
import numpy as np
import pytest
from films import KINDS, VP9, X264, numbers, write

from rvm_bench.errors import UserError
from rvm_bench.media.frame_sampling import linspaced_clips
from rvm_bench.media.resize import resize, short_side, square
from rvm_bench.media.video import container
from rvm_bench.media.video import reader as video
from rvm_bench.media.video.reader import count_frames, read_frames


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
    sound = container.checked_frame

    def noted(path, number, frame):
        decoded.append(number)
        return sound(path, number, frame)

    for module in (container, video):
        monkeypatch.setattr(module, "checked_frame", noted)
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
