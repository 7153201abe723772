"""Waymo v1 frames are read by their published field numbers, and damaged ones are told in one line at bounded cost."""

import io
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from waymo_tables import tracks

from readouts.datasets.waymo.v1 import open_segment_v1, read_frames
from rvm_bench.errors import UserError
from rvm_bench.formats.tfrecord import check_records, record_index, write_records

FRONT, LEFT = 1, 2
START_US = 1_553_735_853_462_203


def varint(value):
    groups = b""
    while value > 0x7F:
        groups, value = groups + bytes([value & 0x7F | 0x80]), value >> 7
    return groups + bytes([value])


def whole(number, value):
    return varint(number << 3) + varint(value)


def double(number, value):
    return varint(number << 3 | 1) + struct.pack("<d", value)


def lengthy(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def label(name, kind=1, *, x=100.0, y=50.0, dx=40.0, dy=20.0):
    """A label as label.proto numbers it: length (5) is along x, width (4) along y."""
    box = double(1, x) + double(2, y) + double(4, dy) + double(5, dx)
    return lengthy(1, box) + whole(3, kind) + lengthy(4, name.encode())


def jpeg(t, camera=FRONT):
    content = io.BytesIO()
    Image.fromarray(np.full((24, 32, 3), 20 * t + 5 * camera, np.uint8)).save(content, "JPEG")
    return content.getvalue()


def frame(t, labels=(), *, segment="1024_3580_000", cameras=(LEFT, FRONT), labelled=(FRONT, LEFT), time_us=None):
    """A frame as dataset.proto numbers it, with calibrations, poses and lasers around what is read."""
    time_us = START_US + 100_000 * t if time_us is None else time_us
    message = lengthy(1, lengthy(1, segment.encode()) + lengthy(2, b"\x08\x01" + double(2, 0.5)))
    message += whole(2, time_us) + lengthy(3, double(1, 1.0))
    for camera in cameras:
        message += lengthy(4, whole(1, camera) + lengthy(2, jpeg(t, camera)) + double(5, 1.5) + lengthy(10, b"seg"))
    message += lengthy(5, bytes(3000)) + lengthy(6, label("laser"))
    for camera in labelled:
        wanted = labels if camera == FRONT else [label("other camera")]
        message += lengthy(8, whole(1, camera) + b"".join(lengthy(2, content) for content in wanted))
    return message + lengthy(9, whole(1, FRONT) + lengthy(2, label("projected")))


def segment(tmp_path, *frames):
    write_records(tmp_path / "segment.tfrecord", frames)
    return tmp_path / "segment.tfrecord"


def test_names_times_pictures_and_boxes_come_back(tmp_path):
    file = segment(
        tmp_path, frame(0, [label("a"), label("b", 2, x=10.0, y=8.0, dx=4.0, dy=16.0)]), frame(1, cameras=())
    )
    first, second = read_frames(file)
    assert (first.segment, first.time_us) == ("1024_3580_000", START_US)
    assert first.boxes.keys() == {FRONT, LEFT} == first.jpegs.keys()
    assert first.boxes[FRONT].ids == ("a", "b")
    assert first.boxes[LEFT].ids == ("other camera",)
    np.testing.assert_array_equal(first.boxes[FRONT].types, [1, 2])
    np.testing.assert_array_equal(first.boxes[FRONT].yxyx_px, [[40, 80, 60, 120], [0, 8, 16, 12]])
    start, length = first.jpegs[LEFT]
    assert file.read_bytes()[start : start + length] == jpeg(0, LEFT)
    assert (second.time_us, second.jpegs) == (START_US + 100_000, {})
    assert check_records(file) == 2


def test_a_segment_is_a_video_of_the_front_camera_in_the_order_of_time(tmp_path):
    frames = [frame(2, [label("a")]), frame(0, [label("a"), label("b")]), frame(1)]
    video = pickle.loads(pickle.dumps(open_segment_v1(segment(tmp_path, *frames))))
    assert (video.name, video.length, video.size_hw) == ("1024_3580_000", 3, (24, 32))
    assert video.ids == ("a", "b")
    boxes, present = tracks(video)
    np.testing.assert_array_equal(present, [[True, True], [False, False], [True, False]])
    np.testing.assert_array_equal(boxes[0, 0], [40, 80, 60, 120])
    np.testing.assert_allclose(video.frames([2, 0]).mean(axis=(1, 2, 3)), [45, 5], atol=1)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "has no frame"),
        ([frame(0), frame(1, segment="other")], "more than one segment"),
        ([frame(0), frame(1, cameras=(LEFT,))], f"no picture of camera 1 at time {START_US + 100_000}"),
        ([frame(0, labelled=(LEFT,))], r"has no boxes of camera 1; expected a file \*_with_camera_labels"),
        ([frame(0, [label("")])], "has no object id"),
        ([frame(0, cameras=(FRONT, FRONT))], "record 0: image of camera 1 twice"),
        ([frame(0), frame(1, labelled=(FRONT, FRONT))], "record 1: labels of camera 1 twice"),
        ([frame(0, [lengthy(1, double(1, 3.0)) + lengthy(4, b"a")])], "camera 1, label 0: a box without its center"),
        ([frame(0, [label("a", x=float("nan"))])], "is not finite"),
        ([frame(0, segment="")], r"no segment name or no time in it; is this a Waymo v1 frame\?"),
        ([frame(0, segment="two\nlines")], "is no text"),
        ([lengthy(1, lengthy(1, b"\xff\xfe")) + whole(2, 5)], "is no text"),
        ([lengthy(1, b"\xff")], "context: its 1 bytes are no Context message"),
        ([b""], "is this a Waymo v1 frame"),
        ([frame(0, time_us=1 << 63)], "is this a Waymo v1 frame"),
    ],
)
def test_a_segment_that_is_not_as_it_should_be_is_told(tmp_path, frames, message):
    with pytest.raises(UserError, match=rf"segment\.tfrecord.*{message}") as told:
        open_segment_v1(segment(tmp_path, *frames))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "content",
    [
        lengthy(4, b"")[:-1] + varint(2**40),
        varint(4 << 3 | 2) + b"\xff" * 9 + b"\x01",
        b"\x08" + b"\xff" * 11,
        b"\x0b" * 50_000,
        b"\x00\x00",
        b"\x0a",
        lengthy(4, varint(2 << 3 | 2) + varint(500) + b"abc"),
        lengthy(4, whole(2, 7) + whole(1, 1)),
        lengthy(4, lengthy(1, b"x") + lengthy(2, b"y")),
    ],
    ids=["1 TB", "2^64 bytes", "endless number", "groups", "field 0", "cut", "image too long", "number", "text"],
)
def test_what_is_no_frame_is_told_and_takes_no_memory(tmp_path, content):
    file = segment(tmp_path, content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"segment\.tfrecord, record 0"):
            list(read_frames(file))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_pictures_of_a_file_that_shrinks_are_told(tmp_path):
    file = segment(tmp_path, frame(0), frame(1))
    video = open_segment_v1(file)
    file.write_bytes(file.read_bytes()[: record_index(file)[1][0]])
    video.frames([0])
    with pytest.raises(UserError, match="has become shorter"):
        video.frames([1])


@settings(max_examples=250, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_does_worse_than_a_user_error(tmp_path, data):
    """Damage within records whose checksums fit it."""
    content = bytearray(GOOD)
    places = st.tuples(st.one_of(st.integers(0, 60), st.integers(0, len(GOOD) - 1)), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, max_size=5)):
        content[place] = value
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    content[start:end] = data.draw(st.one_of(st.just(bytes(content[start:end])), st.binary(max_size=20)))
    file = segment(tmp_path, bytes(content))
    told = []
    tracemalloc.start()
    for read in (lambda: list(read_frames(file)), lambda: open_segment_v1(file).frames([0])):
        try:
            read()
        except UserError as error:
            told.append(str(error))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20
    assert not any("\n" in line for line in told)


GOOD = frame(0, [label("a"), label("b", 4)])
