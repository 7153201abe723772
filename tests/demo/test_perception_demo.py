"""The demo copy has the official layout of Perception Test, and its tracks are those of its worlds."""

import json

import av
import numpy as np
import pytest

from readouts.datasets.perception_test import open_perception
from rvm_bench.demo.movi import draw_truth
from rvm_bench.demo.perception import FPS, POINTS, SIZES_HW, STRIDE, draw_world, write
from rvm_bench.errors import UserError
from rvm_bench.procedural.world import WINDOW, make_world

VIDEOS, FRAMES = 3, 34
NAMES = [f"video_{90_000 + number}" for number in range(VIDEOS)]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "PerceptionTest"
    calls = []
    write(folder, videos=VIDEOS, frames=FRAMES, progress=lambda name, frames: calls.append((name, frames)))
    assert calls == [(name, FRAMES) for name in NAMES]
    return folder


@pytest.fixture(scope="module")
def entries(copy):
    return json.loads((copy / "point_tracking_valid.json").read_text())


def test_the_copy_is_in_the_official_layout_and_the_reader_finds_all_of_it(copy, entries):
    names = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert names == {"point_tracking_valid.json", *(f"videos/{name}.mp4" for name in NAMES)}
    assert list(entries) == NAMES
    opened = open_perception(copy)
    assert [video.name for video in opened.videos] == NAMES
    assert not opened.missing
    assert len(opened.problems()) == 1, "only that it has another number of videos"


def test_an_entry_has_the_official_fields_and_points_as_two_rows_y_and_x(entries):
    for number, (name, entry) in enumerate(entries.items()):
        assert entry["metadata"] == {
            "split": "valid",
            "video_id": name,
            "frame_rate": 30.0,
            "num_frames": FRAMES,
            "resolution": list(SIZES_HW[number]),
            "is_cup_game": False,
            "is_camera_moving": True,
        }
        assert len(entry["point_tracking"]) == POINTS
        for i, track in enumerate(entry["point_tracking"]):
            assert list(track) == ["id", "label", "parent_objects", "frame_ids", "points"]
            assert track["id"] == i
            assert np.shape(track["points"]) == (2, len(track["frame_ids"]))
            assert (np.diff(track["frame_ids"]) > 0).all()


def test_tracks_are_where_the_world_has_them_and_absent_where_they_are_not_seen(copy):
    for number, video in enumerate(open_perception(copy).videos):
        height, width = SIZES_HW[number]
        tracks = draw_world(0, number, FRAMES).tracks(POINTS, number, height, width)
        np.testing.assert_array_equal(video.visible, tracks.visible)
        seen = video.visible
        np.testing.assert_allclose(video.tracks_xy[seen] * (width, height), tracks.xy[seen], atol=1e-3)
        assert 0.6 < seen.mean() < 0.97


def test_videos_are_h264_and_show_the_worlds(copy):
    for number, name in enumerate(NAMES):
        with av.open(str(copy / "videos" / f"{name}.mp4")) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.average_rate) == ("h264", FPS)
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert np.shape(frames) == (FRAMES, *SIZES_HW[number], 3)
        truth = draw_world(0, number, FRAMES).photograph(20, *SIZES_HW[number])
        assert np.abs(frames[20].astype(int) - truth).mean() < 12
        assert np.abs(frames[20].astype(int) - frames[8]).mean() > 20


def test_the_colour_around_a_point_stays_much_the_same(copy):
    """From the files alone: nearer than that of other points."""
    (video, *_), margin = open_perception(copy).videos, 2
    with av.open(str(video.file)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)
    frames = np.pad(frames, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="edge")
    both = video.visible[:, 0] & video.visible[:, 12]
    column, row = np.floor(video.tracks_xy[both][:, [0, 12]] * SIZES_HW[0][::-1]).astype(int).transpose(2, 1, 0)
    window = range(2 * margin + 1)
    around = np.mean([[frames[t, row[k] + dy, column[k] + dx] for dy in window for dx in window]
                      for k, t in enumerate((0, 12))], axis=1)  # fmt: skip
    apart = np.linalg.norm(around[0][:, None] - around[1][None], axis=-1)
    assert np.median(np.diag(apart)) < 0.35 * np.median(apart)


def test_keeping_the_first_place_scores_low(copy):
    """Average Jaccard of a window of 16 frames at the task's stride, in pixels of a raster of 256, all points taken as
    seen."""
    scores = []
    for video in open_perception(copy).videos:
        frames = np.arange(WINDOW) * STRIDE
        queries = video.visible[:, 0]
        xy, seen = video.tracks_xy[queries][:, frames] * 256, video.visible[queries][:, frames[1:]]
        off = np.linalg.norm(xy[:, 1:] - xy[:, :1], axis=-1)
        for threshold in (1, 2, 4, 8, 16):
            hit = seen & (off < threshold)
            scores.append(hit.sum() / (seen.sum() + (~hit).sum()))
        assert 9 < off[seen].mean() < 45
    assert np.mean(scores) < 0.15


def test_no_video_shows_a_world_that_is_trained_on():
    ours = draw_world(0, 0).photograph(0, 64, 64)
    theirs = draw_truth(make_world((0, 0), frames=1), 64)["video"][0]
    assert np.abs(ours.astype(int) - theirs).mean() > 20


def test_the_copy_is_the_same_every_time_and_changes_with_the_seed(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write(tmp_path / name, seed=seed, videos=1, frames=3)
    one, two, three = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*") if path.is_file()}
        for name in ("one", "two", "three")
    )
    assert one == two
    assert all(one[name] != three[name] for name in one)


def test_an_existing_copy_is_never_overwritten(copy):
    with pytest.raises(UserError, match=r"point_tracking_valid\.json exists"):
        write(copy)
