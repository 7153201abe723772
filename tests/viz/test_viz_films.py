"""Films and strips hold the panels, in order and whole."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from rvm_bench.errors import UserError
from rvm_bench.media.frame_sampling import spread
from rvm_bench.viz.films import check_suffix, write_panels
from rvm_bench.viz.panels import BAND_PX, GAP_PX, Panel, sheet, side_by_side

COLOURS = np.array([[230, 159, 0], [0, 114, 178], [0, 158, 115]], np.uint8)


def panels(length=6, size_hw=(33, 45)):
    """Two panels of one colour each per frame, which goes round in time, of an odd size."""
    films = [
        np.broadcast_to(COLOURS[(np.arange(length) + i) % 3][:, None, None], (length, *size_hw, 3)) for i in (0, 1)
    ]
    return [Panel(caption=f"panel {i}", frames=film) for i, film in enumerate(films)]


def middles(picture, height, width=45):
    """Colours in the middles of the two pictures of a film's frame; captions are wider than the pictures."""
    row = BAND_PX + height // 2
    starts = [
        GAP_PX,
        int(np.flatnonzero((picture[row] != 255).any(-1) & (np.arange(picture.shape[1]) > width + 20))[0]),
    ]
    return [picture[row, start + width // 2].tolist() for start in starts]


def test_panels_stand_side_by_side_under_their_captions():
    picture = side_by_side(panels(), 4, height_px=33)
    assert all(side % 2 == 0 for side in picture.shape[:2])
    assert middles(picture, 33) == [COLOURS[1].tolist(), COLOURS[2].tolist()]
    assert (picture[: BAND_PX - 1] < 100).any()
    taller = side_by_side(panels(), 4, height_px=66)
    assert taller.shape[0] == 66 + BAND_PX + GAP_PX + (66 + BAND_PX + GAP_PX) % 2


def test_a_sheet_has_a_row_for_each_panel_and_leaves_gaps_white():
    first, second = panels()
    gap = Panel(caption="gap", frames=[first.frames[0], None])
    picture = sheet([first.at([0, 3]), second.at([1, 2]), gap], ["start", "end"], height_px=20)
    filled = [np.unique(picture[BAND_PX + i * (20 + GAP_PX) + 2].reshape(-1, 3), axis=0).tolist() for i in range(3)]
    assert COLOURS[0].tolist() in filled[0]
    assert {tuple(c) for c in filled[1]} >= {tuple(COLOURS[2].tolist()), tuple(COLOURS[0].tolist())}
    rows = [(picture[BAND_PX + i * (20 + GAP_PX) + 2] != 255).any(-1).sum() for i in (0, 2)]
    assert rows[1] * 2 == rows[0]


def test_columns_go_from_the_first_to_the_last_frame():
    assert spread(64, 4) == [0, 21, 42, 63]
    assert spread(2, 4) == [0, 1]
    assert spread(9, 1) == [0]


def test_a_film_can_be_read_back_frame_by_frame(tmp_path):
    file = tmp_path / "new/film.mp4"
    write_panels(file, panels(), [""] * 6, fps=12.5, columns=4, height_px=64)
    with av.open(str(file)) as container:
        (stream,) = container.streams.video
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == Fraction(25, 2)
    assert len(frames) == 6
    for t, frame in enumerate(frames):
        for found, i in zip(middles(np.where(frame > 240, 255, frame), 64, 87), (0, 1), strict=True):
            np.testing.assert_allclose(found, COLOURS[(t + i) % 3], atol=12)
    assert [f.name for f in file.parent.iterdir()] == ["film.mp4"]


def test_a_gif_holds_every_frame_in_its_colours(tmp_path):
    file = tmp_path / "film.gif"
    write_panels(file, panels(), [""] * 6, fps=10, columns=4, height_px=40)
    with Image.open(file) as image:
        assert image.n_frames == 6
        assert image.info["loop"] == 0
        for t in range(6):
            image.seek(t)
            assert image.info["duration"] == 100
            for found, i in zip(middles(np.asarray(image.convert("RGB")), 40, 54), (0, 1), strict=True):
                np.testing.assert_allclose(found, COLOURS[(t + i) % 3], atol=3)


def test_a_png_holds_a_column_for_each_chosen_frame(tmp_path):
    write_panels(tmp_path / "strip.png", panels(7), [f"frame {t}" for t in range(7)], fps=1, columns=3, height_px=33)
    picture = np.asarray(Image.open(tmp_path / "strip.png"))
    line = picture[BAND_PX + 16]
    shown = [c for c in COLOURS.tolist() if (line == c).all(-1).any()]
    assert shown == [COLOURS[0].tolist()]
    assert (line == COLOURS[0]).all(-1).sum() == 3 * 45


@pytest.mark.parametrize("name", ["film.avi", "film", "mp4"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"must end in \.mp4, \.gif, \.png"):
        check_suffix(tmp_path / name)


def test_what_cannot_be_written_is_said_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(UserError, match="in the way"):
        check_suffix(tmp_path / "taken.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="in the way"):
        check_suffix(tmp_path / "file/film.gif")
    monkeypatch.setattr(av, "codecs_available", {"vp9"})
    with pytest.raises(UserError, match=r"no H\.264 encoder .* write \.gif or \.png"):
        check_suffix(tmp_path / "film.mp4")
    check_suffix(tmp_path / "film.gif")


def test_a_film_that_breaks_off_leaves_nothing_behind(tmp_path):
    broken = Panel(caption="broken", frames=[np.zeros((16, 16, 3), np.uint8), None])
    for name in ("film.gif", "film.mp4"):
        with pytest.raises(AssertionError, match="a picture at every time"):
            write_panels(tmp_path / name, [broken], ["", ""], fps=5, columns=2, height_px=16)
    assert list(tmp_path.iterdir()) == []
