"""A .sens file gives back what was recorded, and a damaged one is told in one line at bounded cost."""

import io
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from readouts.datasets.scannet.sens import SensFile
from rvm_bench.demo.sens import write_sens
from rvm_bench.errors import UserError

FRAMES = 4
HEADER_BYTES = 12 + 4 + 4 * 64 + 8 + 16 + 4 + 8
"""With the sensor's name "demo"; the number of frames is the last of them."""


def recorded(frames=FRAMES):
    """Smooth colour [18, 24, 3], which JPEG keeps, depth [12, 16] up to 65535 with holes, and poses."""
    rng = np.random.default_rng(0)
    for t in range(frames):
        ramp = np.linspace(40, 200, 24)[None, :, None] + np.linspace(0, 40, 18)[:, None, None]
        colour = np.rint(ramp + np.array([0, 5, 10]) + t).astype(np.uint8)
        depth = rng.integers(0, 65536, (12, 16)).astype(np.uint16)
        depth[:2] = 0
        pose = np.eye(4, dtype=np.float32)
        pose[:3, 3] = t, 2 * t, -t
        yield colour, depth, pose


@pytest.fixture
def good(tmp_path):
    write_sens(tmp_path / "good.sens", recorded(), depth_intrinsics=np.diag([100.0, 90.0, 1.0]))
    return tmp_path / "good.sens"


@pytest.mark.parametrize("colour_codec", ["jpeg", "png", "raw"])
@pytest.mark.parametrize("depth_codec", ["zlib", "raw"])
def test_what_was_written_comes_back_in_any_order(tmp_path, colour_codec, depth_codec):
    file = tmp_path / "a.sens"
    write_sens(file, recorded(), colour_codec=colour_codec, depth_codec=depth_codec, sensor="Kinect é")
    sens = SensFile(file)
    assert (sens.frames, sens.header.sensor) == (FRAMES, "Kinect é")
    assert (sens.header.colour_hw, sens.header.depth_hw) == ((18, 24), (12, 16))
    frames = list(recorded())
    for i in (2, 0, 3, 1, 2):
        colour, depth, pose = frames[i]
        assert sens.colour(i).dtype == np.uint8
        np.testing.assert_allclose(sens.colour(i).astype(int), colour, atol=8 if colour_codec == "jpeg" else 0)
        assert sens.depth(i).dtype == np.uint16
        np.testing.assert_array_equal(sens.depth(i), depth)
        np.testing.assert_array_equal(sens.pose(i), pose)


def test_a_file_packed_by_hand_from_the_published_layout_is_read(tmp_path):
    """Independent of the writer: every field as SensorData.py of ScanNet reads it."""
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    png = io.BytesIO()
    Image.fromarray(rgb).save(png, "PNG")
    depth = np.array([[0, 1], [1000, 65535]], np.uint16)
    packed = zlib.compress(depth.tobytes())
    content = struct.pack("<I", 4) + struct.pack("<Q", 3) + b"cam"
    for scale in (1, 2, 3, 4):
        content += struct.pack("<16f", *(scale * np.eye(4)).ravel())
    content += struct.pack("<i", 1) + struct.pack("<i", 1)
    content += struct.pack("<I", 3) + struct.pack("<I", 2) + struct.pack("<I", 2) + struct.pack("<I", 2)
    content += struct.pack("<f", 1000.0) + struct.pack("<Q", 1)
    content += struct.pack("<16f", *range(16)) + struct.pack("<QQ", 7, 8)
    content += struct.pack("<QQ", len(png.getvalue()), len(packed)) + png.getvalue() + packed
    file = tmp_path / "hand.sens"
    file.write_bytes(content)
    sens = SensFile(file)
    assert sens.frames == 1
    np.testing.assert_array_equal(sens.colour(0), rgb)
    np.testing.assert_array_equal(sens.depth(0), depth)
    np.testing.assert_array_equal(sens.pose(0), np.arange(16).reshape(4, 4))
    np.testing.assert_array_equal(sens.header.colour_intrinsics, np.eye(4))
    np.testing.assert_array_equal(sens.header.depth_intrinsics, 3 * np.eye(4))


@pytest.mark.parametrize(("shift", "expected"), [(1000, [0, 1, 2000, 65535]), (5000, [0, 0, 400, 13107])])
def test_depth_is_millimetres_whatever_the_shift(tmp_path, shift, expected):
    depth = np.array([[0, 1, 2000, 65535]], np.uint16)
    write_sens(tmp_path / "a.sens", [(np.zeros((2, 2, 3), np.uint8), depth, np.eye(4))], depth_shift=shift)
    np.testing.assert_array_equal(SensFile(tmp_path / "a.sens").depth(0)[0], expected)


def test_depth_that_does_not_fit_in_millimetres_is_none(tmp_path):
    depth = np.array([[0, 6553, 6554, 65535]], np.uint16)
    write_sens(tmp_path / "a.sens", [(np.zeros((2, 2, 3), np.uint8), depth, np.eye(4))], depth_shift=100)
    np.testing.assert_array_equal(SensFile(tmp_path / "a.sens").depth(0)[0], [0, 65530, 0, 0])


def test_a_file_cut_in_half_says_how_many_frames_are_whole(good):
    whole = SensFile(good)
    content = good.read_bytes()
    for end, expected in ((int(whole.offsets[2]) + 50, 2), (int(whole.offsets[3]) + 97, 3), (HEADER_BYTES, 0)):
        good.write_bytes(content[:end])
        with pytest.raises(UserError, match=rf"good\.sens .*: {expected} of 4 frames are complete; get the file again"):
            SensFile(good)


def patched(file, offset, form, *values):
    content = bytearray(file.read_bytes())
    struct.pack_into(form, content, offset, *values)
    file.write_bytes(content)


CODECS = 16 + 256


@pytest.mark.parametrize(
    ("offset", "form", "value", "message"),
    [
        (0, "<I", 3, "is not a .sens file of version 4"),
        (4, "<Q", 2**63, "sensor name of 9223372036854775808 bytes"),
        (4, "<Q", 4097, "sensor name of 4097 bytes"),
        (CODECS, "<i", 7, "colour codec 7"),
        (CODECS + 4, "<i", 2, "depth codec 2"),
        (CODECS + 8, "<I", 2**31, "colour images of 2147483648x18 px"),
        (CODECS + 20, "<I", 0, "depth images of 16x0 px"),
        (CODECS + 24, "<f", float("nan"), "a depth shift of nan"),
        (CODECS + 24, "<f", 0.0, "a depth shift of 0"),
        (CODECS + 28, "<Q", 2**64 - 1, "4 of 18446744073709551615 frames are complete"),
        (HEADER_BYTES + 80, "<Q", 2**64 - 1, "0 of 4 frames are complete"),
        (HEADER_BYTES + 88, "<Q", 2**40, "0 of 4 frames are complete"),
    ],
)
def test_a_damaged_header_is_one_line(good, offset, form, value, message):
    patched(good, offset, form, value)
    with pytest.raises(UserError) as told:
        SensFile(good)
    assert message in str(told.value)
    assert str(good) in str(told.value)
    assert "\n" not in str(told.value)


def test_another_file_an_empty_one_and_none_are_told(tmp_path):
    for content in (b"", b"\x04", b"PK\x03\x04 an archive", b"\x04\0\0\0\x04\0\0\0\0\0\0\0demo"):
        (tmp_path / "a.sens").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.sens"):
            SensFile(tmp_path / "a.sens")
    with pytest.raises(UserError, match=r"none\.sens cannot be read"):
        SensFile(tmp_path / "none.sens")


def test_a_damaged_payload_names_the_frame_and_leaves_the_others_readable(good):
    sens = SensFile(good)
    start = int(sens.offsets[1]) + 96
    patched(good, start, "<16s", bytes(16))
    patched(good, start + int(sens.colour_bytes[1]), "<8s", bytes(8))
    with pytest.raises(UserError, match=r"good\.sens, frame 1: damaged colour \(.*\); get the file again"):
        sens.colour(1)
    with pytest.raises(UserError, match=r"good\.sens, frame 1: damaged depth \(.*\); get the file again"):
        sens.depth(1)
    for i in (0, 2, 3):
        sens.colour(i), sens.depth(i)


def replaced_depth(file, payload):
    """A one-frame file whose depth payload is `payload`."""
    write_sens(file, recorded(1))
    sens = SensFile(file)
    content = file.read_bytes()[: int(sens.offsets[0]) + 96 + int(sens.colour_bytes[0])]
    file.write_bytes(content + payload)
    patched(file, HEADER_BYTES + 88, "<Q", len(payload))
    return SensFile(file)


def test_depth_that_unpacks_to_another_size_is_damage(tmp_path):
    for pixels, message in ((100, "200 bytes, expected 384 for 16x12 px"), (193, "more than 384 bytes")):
        sens = replaced_depth(tmp_path / "a.sens", zlib.compress(bytes(2 * pixels)))
        with pytest.raises(UserError, match=message):
            sens.depth(0)
    with pytest.raises(UserError, match="its end is missing"):
        replaced_depth(tmp_path / "a.sens", zlib.compress(bytes(384))[:-3]).depth(0)


def test_a_payload_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    bomb = zlib.compressobj(9)
    payload = b"".join(bomb.compress(bytes(2**20)) for _ in range(40)) + bomb.flush()
    sens = replaced_depth(tmp_path / "a.sens", payload)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="more than 384 bytes"):
            sens.depth(0)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_colour_of_another_size_than_the_header_is_damage(good):
    patched(good, CODECS + 8, "<I", 25)
    with pytest.raises(UserError, match=r"frame 0: damaged colour \(24x18 px, the header says 25x18\)"):
        SensFile(good).colour(0)


def test_identity_changes_with_sizes_and_header_only(good, tmp_path):
    before = SensFile(good).identity()
    assert SensFile(good).identity() == before
    patched(good, HEADER_BYTES, "<f", 5.0)
    assert SensFile(good).identity() == before, "a pose is content"
    write_sens(tmp_path / "other.sens", recorded(), sensor="omed", depth_intrinsics=np.diag([100.0, 90.0, 1.0]))
    assert SensFile(tmp_path / "other.sens").identity() != before


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bytes of a file of two frames of a few pixels."""
    file = tmp_path_factory.mktemp("sens") / "small.sens"
    write_sens(file, recorded(2))
    return file.read_bytes()


@settings(max_examples=250, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_does_worse_than_a_user_error(small, tmp_path, data):
    """Cut anywhere and any bits flipped, most of them where the numbers are."""
    content = bytearray(small)
    places = st.one_of(st.integers(0, HEADER_BYTES + 96 - 1), st.integers(0, len(content) - 1))
    for place, bit in data.draw(st.lists(st.tuples(places, st.integers(0, 7)), max_size=6)):
        content[place] ^= 1 << bit
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    file = tmp_path / "fuzz.sens"
    file.write_bytes(content[:end])
    told = []
    tracemalloc.start()
    with warnings.catch_warnings():
        # Pillow warns of odd metadata; the picture is what counts.
        warnings.simplefilter("ignore")
        try:
            sens = SensFile(file)
        except UserError as error:
            told.append(str(error))
        else:
            assert sens.frames * 96 <= end
            for i in range(sens.frames):
                for read in (sens.colour, sens.depth, sens.pose):
                    try:
                        read(i)
                    except UserError as error:
                        told.append(str(error))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20
    assert not any("\n" in line for line in told)
