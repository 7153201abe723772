"""Frames: read in full or refused by name, resized as the official evaluation does."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rvm_bench.errors import UserError
from rvm_bench.media.images import FrameFiles, read_labels, read_rgb, resize_lanczos


@pytest.fixture
def frames(tmp_path):
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{t:05d}.png" for t in range(5)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)).save(file)
    return files


def test_slices_of_a_video_are_its_frames(frames):
    video = FrameFiles(frames)
    assert video.shape == (5, 12, 20, 3)
    np.testing.assert_array_equal(video[1:3], np.stack([read_rgb(f) for f in frames[1:3]]))


def test_frames_are_resized_one_by_one_with_lanczos_and_stay_uint8(frames):
    video = FrameFiles(frames, (6, 30))
    assert video.shape == (5, 6, 30, 3)
    expected = Image.open(frames[0]).convert("RGB").resize((30, 6), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(video[:1][0], np.asarray(expected))


def test_resizing_keeps_a_constant_image_and_does_not_keep_the_aspect_ratio():
    out = resize_lanczos(np.full((10, 10, 3), 77, np.uint8), (4, 30))
    assert out.shape == (4, 30, 3)
    assert (out == 77).all()


@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_a_file_that_cannot_be_read_in_full_is_named(tmp_path, damage):
    file = tmp_path / "00007.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file)
    content = {"truncated": file.read_bytes()[:-900], "empty": b"", "text": b"not an image"}[damage]
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"00007\.jpg cannot be read"):
        read_rgb(file)


def test_labels_are_palette_indices_not_colours(tmp_path):
    ids = np.array([[0, 1], [2, 255]], np.uint8)
    image = Image.fromarray(ids)
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0] + [0] * 759)
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png"), ids)


def test_a_colour_image_is_no_label_image(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "mask.png")
    with pytest.raises(UserError, match="mode RGB"):
        read_labels(tmp_path / "mask.png")


def test_gray_of_two_bits_is_no_label_image(tmp_path):
    """Pillow reads such values multiplied by 85."""
    rows = zlib.compress((b"\0" + b"\x55") * 4)  # per row: no filter, then four pixels of value 1
    header = struct.pack(">IIBBBBB", 4, 4, 2, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    (tmp_path / "mask.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    )
    with pytest.raises(UserError, match="of 2 bits"):
        read_labels(tmp_path / "mask.png")


def test_frames_of_two_sizes_are_refused(frames):
    Image.new("RGB", (21, 12)).save(frames[3])
    with pytest.raises(UserError, match=r"00003\.png is 21x12 px"):
        FrameFiles(frames)[0:5]
