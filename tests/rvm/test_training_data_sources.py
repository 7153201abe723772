"""Where training clips come from: what `--data` may say, listings, shards, and what a damaged one does."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.formats.tf_example import encode_sequence_example
from rvm_bench.formats.tfrecord import write_records
from rvm_bench.media.video.writer import write_video
from rvm_bench.rvm.train.data.mixture import Mixture
from rvm_bench.rvm.train.data.sampling import SampleConfig
from rvm_bench.rvm.train.data.shards import Shards, write_shards
from rvm_bench.rvm.train.data.sources import (
    PAPER_MIXTURE,
    Source,
    digest,
    open_source,
    parse_source,
    parse_sources,
)

SMALL = SampleConfig(size_px=32, patch_px=4)


def write(file, count=70, fps=25, size=48):
    """A video whose gray level is twice the frame's number."""
    frames = [np.full((size, size, 3), 2 * k, np.uint8) for k in range(count)]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_video(file, frames, fps=Fraction(fps))
    return file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("folder:/videos", Source(kind="folder", place=Path("/videos"))),
        (
            "folder:/videos@fps=15,weight=0.2",
            Source(kind="folder", place=Path("/videos"), fps=15, weight=0.2),
        ),
        ("folder:/a:b@c/d=e", Source(kind="folder", place=Path("/a:b@c/d=e"))),
        ("folder:/a@home@weight=3", Source(kind="folder", place=Path("/a@home"), weight=3)),
        ("list:files.txt@fps=native", Source(kind="list", place=Path("files.txt"))),
        ("shards:/data/ssv2", Source(kind="shards", place=Path("/data/ssv2"))),
        ("procedural", Source(kind="procedural")),
        ("procedural@weight=0.5", Source(kind="procedural", weight=0.5)),
        ("ssv2=folder:/s", Source(kind="folder", place=Path("/s"), fps=25, weight=0.056, name="ssv2")),
        ("ytbb=list:l@weight=1", Source(kind="list", place=Path("l"), fps=10, weight=1, name="ytbb")),
    ],
)
def test_a_source_is_read_as_written(text, expected):
    assert parse_source(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/videos", "cannot read the source '/videos'; expected folder:DIR"),
        ("files:/videos", "cannot read the source"),
        ("folder:", "cannot read the source"),
        ("procedural:/x", "cannot read the source"),
        ("folder:/v@rate=3", "unknown setting in .* 'rate'"),
        ("folder:/v@fps=fast", "fps in .* is 'fast'; expected a number or native"),
        ("folder:/v@weight=native", "weight in .* is 'native'"),
        ("folder:/v@weight=0", "weight of a source is 0.0; expected a number above 0"),
        ("folder:/v@fps=nan", "fps of a source is nan"),
        ("procedural@fps=10", "procedural source has no frame rate"),
        ("ssv3=folder:/v", "unknown source of the paper 'ssv3'; did you mean ssv2"),
    ],
)
def test_a_source_that_cannot_be_read_is_said_in_one_line(text, said):
    with pytest.raises(UserError, match=said) as raised:
        parse_source(text)
    assert "\n" not in str(raised.value)


def test_a_mixture_has_sources_with_names_of_their_own():
    names = [source.name for source in parse_sources(["folder:/a/x", "folder:/b/x", "folder:/c/x", "procedural"])]
    assert names == ["x", "x#2", "x#3", "procedural"]
    with pytest.raises(UserError, match="--data procedural, which needs none"):
        parse_sources([])


def test_the_papers_weights_sum_to_one():
    assert sum(source.weight for source in PAPER_MIXTURE.values()) == pytest.approx(1)


def test_a_folder_is_searched_at_every_depth_and_its_order_is_that_of_names(tmp_path):
    for name in ("b.mp4", "a/z.webm", "a/y.MP4", "notes.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    clips = open_source(Source(kind="folder", place=tmp_path), 32)
    assert list(clips.names()) == ["a/y.MP4", "a/z.webm", "b.mp4"]
    assert len(clips) == 3


def test_a_list_holds_paths_relative_to_itself_and_absolute_ones(tmp_path):
    near, far = write(tmp_path / "lists" / "v" / "near.mp4"), write(tmp_path / "far.mp4", count=66)
    listing = tmp_path / "lists" / "all.txt"
    listing.write_text(f"v/near.mp4\n\n{far}\n")
    clips = open_source(Source(kind="list", place=listing), 32)
    assert [len(clips.clip(k).times_s) for k in range(2)] == [70, 66]
    assert clips.clip(0).name == str(near)
    far.unlink()
    with pytest.raises(DamagedFile, match=r"far\.mp4 is listed and not there"):
        clips.clip(1)


@pytest.mark.parametrize("kind", ["folder", "list", "shards"])
def test_a_source_that_is_not_there_or_empty_is_an_error(kind, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        open_source(Source(kind=kind, place=tmp_path / "nowhere"), 32)
    empty = tmp_path / "empty"
    if kind == "list":
        empty.touch()
    else:
        empty.mkdir()
    with pytest.raises(UserError, match="empty"):
        open_source(Source(kind=kind, place=empty), 32)


def test_the_data_is_the_same_wherever_its_folder_is(tmp_path):
    sources = []
    for parent in ("here", "there"):
        (tmp_path / parent).mkdir()
        (tmp_path / parent / "a.mp4").touch()
        sources.append(Source(kind="folder", place=tmp_path / parent))
    one, two = (Mixture([source], SMALL).describe() for source in sources)
    assert one == two
    (tmp_path / "there" / "b.mp4").touch()
    assert Mixture(sources[1:], SMALL).describe() != one


def test_shards_hold_the_clips_of_their_videos_in_order(tmp_path):
    videos = [write(tmp_path / "v" / "a.mp4", count=110), write(tmp_path / "v" / "b.mp4", count=30)]
    written = write_shards(tmp_path / "s", videos, fps=25, short_side_px=32, clips_per_shard=1)
    assert (written.clips, written.left_out) == (2, [])
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["clips-00000.tfrecord", "clips-00001.tfrecord"]
    shards = Shards(tmp_path / "s", timed=True)
    assert len(shards) == 2
    first, second = shards.clip(0), shards.clip(1)
    assert np.allclose(first.times_s, np.arange(64) / 25)
    assert len(second.times_s) == 30
    frames = first.read(np.array([0, 20, 63]))
    assert frames.shape == (3, 32, 32, 3)
    assert np.allclose(frames.mean(axis=(1, 2, 3)), [0, 40, 126], atol=2)


def test_shards_can_be_slowed_down_again_and_are_sampled_like_videos(tmp_path):
    videos = [write(tmp_path / "v" / "a.mp4", count=100)]
    write_shards(tmp_path / "s", videos, fps=None, short_side_px=48)
    for source, step in (
        (Source(kind="shards", place=tmp_path / "s"), 1),
        (parse_source(f"shards:{tmp_path}/s@fps=5"), 5),
    ):
        sample = Mixture([source], SMALL).sample(3)
        gray = np.rint(sample["source"].mean(axis=(1, 2, 3)) / 2)
        assert np.abs(gray - gray[0] - step * np.arange(4)).max() <= 1


def test_cutting_leaves_out_damaged_videos_by_name_and_stops_beyond_the_limit(tmp_path):
    good = write(tmp_path / "good.mp4")
    bad = [tmp_path / f"bad{k}.mp4" for k in range(2)]
    for file in bad:
        file.write_bytes(good.read_bytes()[:900])
    written = write_shards(tmp_path / "s", [bad[0], good], fps=25, short_side_px=32)
    assert written.clips == 1
    assert len(written.left_out) == 1
    assert "bad0.mp4" in written.left_out[0]
    with pytest.raises(UserError, match=r"2 of 3 videos cannot be cut.*bad0\.mp4"):
        write_shards(tmp_path / "t", [*bad, good], fps=25, short_side_px=32)
    with pytest.raises(UserError, match="holds shards already"):
        write_shards(tmp_path / "s", [good], fps=25)


def test_a_damaged_record_is_named_with_its_file(tmp_path):
    videos = [write(tmp_path / "v" / f"{k}.mp4") for k in "ab"]
    write_shards(tmp_path / "s", videos, fps=25, short_side_px=32)
    file = tmp_path / "s" / "clips-00000.tfrecord"
    data = bytearray(file.read_bytes())
    data[-500] ^= 0xFF
    file.write_bytes(data)
    shards = Shards(tmp_path / "s", timed=False)
    assert len(shards.clip(0).times_s) == 64
    with pytest.raises(DamagedFile, match=r"clips-00000\.tfrecord, record 1"):
        shards.clip(1)


def test_records_of_another_layout_are_refused_at_once(tmp_path):
    write_records(tmp_path / "a.tfrecord", [encode_sequence_example({}, {"frames": [b"x"]})])
    with pytest.raises(UserError, match=r"a\.tfrecord, record 0 has no frames .*image/encoded.* \(expected the layout"):
        Shards(tmp_path, timed=False)


def test_the_digest_follows_the_names_only(tmp_path):
    write(tmp_path / "a.mp4", count=10)
    clips = open_source(Source(kind="folder", place=tmp_path), 32)
    before = digest(clips)
    assert len(before) == 12
    write(tmp_path / "a.mp4", count=12)
    assert digest(open_source(Source(kind="folder", place=tmp_path), 32)) == before
