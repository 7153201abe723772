"""Encoded images come back as stored, and what is damaged or too large is refused before it is decoded."""

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rvm_bench.errors import UserError
from rvm_bench.media.encoded_images import decode_image, image_header

RNG = np.random.default_rng(0)
PIXELS = {
    "gray": RNG.integers(0, 256, (5, 7)).astype(np.uint8),
    "16-bit gray": RNG.integers(0, 65536, (5, 7)).astype(np.uint16),
    "RGB": RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8),
    "16-bit RGB": RNG.integers(0, 65536, (5, 7, 3)).astype(np.uint16),
}


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_by_hand(image, *, width=None, height=None, rows=None):
    """A PNG of unfiltered rows, from the specification; `width`, `height` and `rows` let it lie."""
    bits, colour = 8 * image.dtype.itemsize, 2 if image.ndim == 3 else 0
    head = struct.pack(">IIBBBBB", width or image.shape[1], height or image.shape[0], bits, colour, 0, 0, 0)
    big = image.astype(image.dtype.newbyteorder(">"))
    content = b"".join(b"\0" + row.tobytes() for row in big[:rows])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def jpeg(image):
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=95)
    return content.getvalue()


@pytest.mark.parametrize("pixels", PIXELS)
def test_a_png_comes_back_as_stored(pixels):
    image = PIXELS[pixels]
    for data in (png_by_hand(image), cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()):
        assert image_header(data, where="here") == ((5, 7), pixels)
        found = decode_image(data, pixels=pixels, size_hw=(5, 7), where="here")
        assert found.dtype == image.dtype
        np.testing.assert_array_equal(found, image)


def test_a_jpeg_comes_back_in_red_green_blue():
    image = np.zeros((16, 24, 3), np.uint8)
    image[..., 0] = 250
    found = decode_image(jpeg(image), where="here")
    assert (found.shape, found.dtype) == ((16, 24, 3), np.uint8)
    np.testing.assert_allclose(found.astype(int), image, atol=6)
    assert image_header(jpeg(image[..., 0]), where="here") == ((16, 24), "gray")


@pytest.mark.parametrize("size", [(60000, 60000), (2**31 - 1, 2**31 - 1), (5000, 5000), (0, 7)])
def test_a_header_that_claims_too_much_is_refused_before_decoding(size):
    bomb = png_by_hand(np.zeros((1, 1, 3), np.uint8)).replace(struct.pack(">II", 1, 1), struct.pack(">II", *size), 1)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=rf"^here: its header claims {size[0]}x{size[1]} px"):
            decode_image(bomb, where="here")
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


def test_a_jpeg_that_claims_too_much_is_refused_before_decoding():
    data = jpeg(PIXELS["RGB"]).replace(b"\x00\x11\x08\x00\x05\x00\x07", b"\x00\x11\x08\xea\x60\xea\x60")
    with pytest.raises(UserError, match=r"^here: "):
        decode_image(data, where="here")


def test_an_image_of_other_pixels_or_another_size_is_refused():
    data = png_by_hand(PIXELS["16-bit RGB"])
    with pytest.raises(UserError, match="its pixels are 16-bit RGB, expected RGB"):
        decode_image(data, where="here")
    with pytest.raises(UserError, match="7x5 px, expected 5x5 as before"):
        decode_image(data, pixels="16-bit RGB", size_hw=(5, 5), where="here")
    palette = io.BytesIO()
    Image.fromarray(PIXELS["gray"]).convert("P").save(palette, "PNG")
    with pytest.raises(UserError, match="colour type 3, expected 8 or 16 bits and gray or RGB"):
        image_header(palette.getvalue(), where="here")


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0" + bytes(99)]
)
def test_what_is_no_image_is_told(data):
    with pytest.raises(UserError, match=r"^here: "):
        image_header(data, where="here")


def test_a_cut_or_altered_file_is_never_half_an_image(capfd):
    """OpenCV alone would take some of these."""
    png, photo = png_by_hand(PIXELS["16-bit RGB"]), jpeg(np.tile(PIXELS["RGB"], (20, 20, 1)))
    for end in range(33, len(png) - 1):
        with pytest.raises(UserError, match="here: a damaged image"):
            decode_image(png[:end], pixels="16-bit RGB", where="here")
    for place in range(33, len(png)):
        with pytest.raises(UserError, match="here: a damaged image"):
            decode_image(png[:place] + bytes([png[place] ^ 1]) + png[place + 1 :], pixels="16-bit RGB", where="here")
    with pytest.raises(UserError, match="here: a damaged image"):
        decode_image(png_by_hand(PIXELS["16-bit RGB"], rows=3), pixels="16-bit RGB", where="here")
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(UserError, match="here: a damaged image"):
            decode_image(photo[: int(part * len(photo))], where="here")
    capfd.readouterr()


@settings(max_examples=150, deadline=2000)
@given(data=st.data())
def test_no_damage_does_worse_than_a_user_error(data):
    """Also with checksums that fit the damage."""
    kind = data.draw(st.sampled_from(["RGB", "16-bit RGB", "jpeg"]))
    good = jpeg(PIXELS["RGB"]) if kind == "jpeg" else png_by_hand(PIXELS[kind])
    content = bytearray(good)
    for place, value in data.draw(st.lists(st.tuples(st.integers(8, len(good) - 1), st.integers(0, 255)), max_size=4)):
        content[place] = value
    if kind != "jpeg" and data.draw(st.booleans()):
        offset = 8
        while offset + 12 <= len(content) and (length := int.from_bytes(content[offset : offset + 4])) < len(content):
            end = offset + 8 + length
            content[end : end + 4] = struct.pack(">I", zlib.crc32(content[offset + 4 : end]))
            offset = end + 4
    tracemalloc.start()
    try:
        decode_image(bytes(content), pixels="RGB" if kind == "jpeg" else kind, size_hw=(5, 7), where="here")
    except UserError as error:
        told = str(error)
    else:
        told = ""
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 << 20
    assert "\n" not in told
