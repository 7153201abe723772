"""A copy of Perception Test is read strictly, what is wrong with it is told, and its clips ask for what is seen."""

import copy
import json
import types
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from readouts.datasets.perception_test import MAX_FRAMES, OFFICIAL, open_perception
from readouts.tasks.perception_test import track_windows
from rvm_bench.errors import UserError
from rvm_bench.media.video.writer import write_video

TASK = types.SimpleNamespace(name="perception-test")
LENGTH = 40


def track(number, frame_ids, y, x):
    return {"id": number, "label": "table", "parent_objects": [0], "frame_ids": frame_ids, "points": [y, x]}


def entry(name, tracks, *, split="valid", length=LENGTH):
    metadata = {
        "split": split,
        "video_id": name,
        "frame_rate": 29.97,
        "num_frames": length,
        "resolution": [48, 64],
        "audio_samples": 1000,
        "audio_sample_rate": 48000.0,
        "is_cup_game": False,
        "is_camera_moving": True,
    }
    return {"metadata": metadata, "object_tracking": [], "point_tracking": tracks}


def intact():
    moving = track(0, list(range(LENGTH)), [0.25] * LENGTH, [t / 64 for t in range(LENGTH)])
    late = track(1, [2, 3, 39], [0.5, 0.625, 1.0], [0.125, -0.0625, 0.75])
    still = track(0, [0, 1], [0.25, 0.5], [0.75, 1])
    return {"video_10": entry("video_10", [moving, late]), "video_2": entry("video_2", [still])}


def write_copy(root, content, *, stem="point_tracking_valid"):
    (root / "videos").mkdir(parents=True, exist_ok=True)
    for name in intact():
        (root / "videos" / f"{name}.mp4").write_bytes(name.encode())
    file = root / f"{stem}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return root


@pytest.fixture
def root(tmp_path):
    return write_copy(tmp_path / "perception", intact())


def test_tracks_come_as_xy_and_a_frame_without_an_annotation_is_not_visible(root):
    opened = open_perception(root)
    assert [video.name for video in opened.videos] == ["video_10", "video_2"]
    first, second = opened.videos
    assert (first.length, first.frame_rate, first.file) == (LENGTH, 29.97, root / "videos/video_10.mp4")
    assert (first.tracks_xy.shape, first.tracks_xy.dtype) == ((2, LENGTH, 2), np.float32)
    np.testing.assert_array_equal(first.tracks_xy[0, 8], [0.125, 0.25])
    assert first.visible[0].all()
    assert np.flatnonzero(first.visible[1]).tolist() == [2, 3, 39]
    assert np.isnan(first.tracks_xy[1, 4]).all()
    # Slightly outside the picture is kept; two rows of two values are rows of y and x, not pairs.
    np.testing.assert_array_equal(first.tracks_xy[1, 3], [-0.0625, 0.625])
    np.testing.assert_array_equal(second.tracks_xy[0, :2], [[0.75, 0.25], [1.0, 0.5]])


def test_the_annotations_of_all_tasks_give_the_same_videos(root, tmp_path):
    content = {
        "video_7": entry("video_7", []),
        **intact(),
        "video_8": entry("video_8", [track(0, [0], [0.5], [0.5])], split="train"),
    }
    other = open_perception(write_copy(tmp_path / "all", content, stem="annotations/all_valid"))
    assert [video.name for video in other.videos] == [video.name for video in open_perception(root).videos]
    assert not other.missing
    np.testing.assert_array_equal(other.videos[0].tracks_xy, open_perception(root).videos[0].tracks_xy)


def test_the_manifest_tells_another_annotation_and_another_video(root):
    before = open_perception(root).manifest_sha256()
    assert open_perception(root).manifest_sha256() == before
    (root / "videos/video_2.mp4").write_bytes(b"another size")
    changed = open_perception(root).manifest_sha256()
    (root / "point_tracking_valid.json").write_text(json.dumps(intact(), indent=1))
    assert len({before, changed, open_perception(root).manifest_sha256()}) == 3


def test_a_missing_video_is_an_error_unless_it_may_be_left_out(root):
    (root / "videos/video_10.mp4").unlink()
    opened = open_perception(root)
    with pytest.raises(UserError, match=r"video_10\.mp4 is missing; `rvm-bench data check .* --allow-missing"):
        opened.dataset(TASK, allow_missing=False)
    dataset = opened.dataset(TASK, allow_missing=True)
    assert [video.name for video in dataset.videos] == ["video_2"]
    assert (dataset.coverage.listed, dataset.coverage.usable, dataset.coverage.partial) == (2, 1, True)
    (root / "videos/video_2.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"is missing \(and 1 more of 2\); .*no video can be used"):
        open_perception(root).dataset(TASK, allow_missing=True)


def test_only_as_many_videos_as_the_official_split_has_are_official(root, tmp_path):
    assert not open_perception(root).dataset(TASK, allow_missing=False).coverage.complete
    content = {f"video_{n}": entry(f"video_{n}", [track(0, [0], [0.5], [0.5])]) for n in range(OFFICIAL["valid"][0])}
    folder = write_copy(tmp_path / "full", content)
    for name in content:
        (folder / "videos" / f"{name}.mp4").write_bytes(b"x")
    assert open_perception(folder).dataset(TASK, allow_missing=False).coverage.complete


def test_problems_counts_the_frames_of_every_video(root):
    for name, length in (("video_10", LENGTH), ("video_2", LENGTH - 2)):
        frames = np.zeros((length, 32, 32, 3), np.uint8)
        write_video(root / "videos" / f"{name}.mp4", frames, fps=Fraction(30))
    opened = open_perception(root)
    listed, length = opened.problems()
    assert listed.endswith("lists 2 videos with tracks, the valid split has 73")
    assert "video_2.mp4 has 38 frames, its annotation 40" in length
    opened.videos[0].check_length()


def changed(*path, value):
    """The valid annotation with one value replaced; a value of `...` takes the key away."""
    content = intact()
    place = content["video_10"]
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return content


POINTS = ("point_tracking", 1, "points")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("metadata", value=...), "'video_10' has no metadata; expected an object"),
        (changed("metadata", "split", value=3), "has 3 as its split; expected a string"),
        (changed("metadata", "num_frames", value="40"), "has '40' as its num_frames; expected a whole number"),
        (changed("metadata", "num_frames", value=True), "has True as its num_frames"),
        (changed("metadata", "num_frames", value=10**9), f"expected 1 to {MAX_FRAMES}"),
        (changed("metadata", "frame_rate", value=0), "has 0 as its frame_rate; expected frames per second"),
        (changed("metadata", "frame_rate", value=float("nan")), "has nan as its frame_rate"),
        (changed("metadata", "video_id", value="video_11"), "has the video_id 'video_11'; expected its own name"),
        (changed("point_tracking", value=...), "has no point_tracking; expected a list"),
        (changed("point_tracking", 1, value=[]), r"track 2 of 2 is \[\], expected an object"),
        (changed("point_tracking", 1, "id", value=0), "track 2 of 2 has the id 0 of an earlier track"),
        (changed("point_tracking", 1, "frame_ids", value=...), "track 2 of 2 has no frame_ids"),
        (changed("point_tracking", 1, "frame_ids", value=[]), "has no frame_ids; expected the numbers"),
        (changed("point_tracking", 1, "frame_ids", value=[2, 3, 40]), "has the frame 40; the video has frames 0 to 39"),
        (changed("point_tracking", 1, "frame_ids", value=[-1, 3, 4]), "has the frame -1; the video"),
        (changed("point_tracking", 1, "frame_ids", value=[2, 3.5, 4]), "has the frame 3.5; the video"),
        (changed("point_tracking", 1, "frame_ids", value=[2, 2, 3]), "has frame 2 twice or out of order"),
        (changed("point_tracking", 1, "frame_ids", value=[2, 4, 3]), "has frame 3 twice or out of order"),
        (changed("point_tracking", 1, "frame_ids", value=[2, 3]), "has 3 values of y and 2 frame_ids"),
        (changed(*POINTS, value=[0.5, 0.5]), "has points that are not lists"),
        (changed(*POINTS, value=[[0.5, 0.1], [0.6, 0.1], [1, 0.7]]), r"points of the shape \[3\]\[2\]; expected \[2\]"),
        (changed(*POINTS, value=[[0.5] * 3] * 4), "has 4 lists of points"),
        (changed(*POINTS, value=[[0.5] * 3, [0.5] * 2]), "has 2 values of x and 3 frame_ids"),
        (changed(*POINTS, value=[[0.5] * 3, [0.5, 300.0, 0.5]]), "has 300.0 as x; expected a fraction of the frame"),
        (changed(*POINTS, value=[[0.5, float("nan"), 0.5], [0.5] * 3]), "has nan as y"),
        (changed(*POINTS, value=[[0.5, float("inf"), 0.5], [0.5] * 3]), "has inf as y"),
        (changed(*POINTS, value=[[0.5, None, 0.5], [0.5] * 3]), "has None as y"),
        (changed(*POINTS, value=[[0.5, 10**400, 0.5], [0.5] * 3]), "as y; expected a fraction"),
        ({**intact(), "video_10": []}, r"'video_10' is \[\], expected an object with metadata"),
        ({**intact(), "../video_2": entry("../video_2", [track(0, [0], [0.5], [0.5])])}, "expected its own name"),
    ],
)  # fmt: skip
def test_a_faulty_annotation_is_one_clear_line_and_costs_its_video_only(tmp_path, content, message):
    opened = open_perception(write_copy(tmp_path, content))
    with pytest.raises(UserError, match=message) as error:
        opened.dataset(TASK, allow_missing=False)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500 + 2 * len(str(tmp_path))
    assert "video_2" in [video.name for video in opened.dataset(TASK, allow_missing=True).videos]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"point_tracking_valid\.json cannot be read as JSON"),
        (json.dumps(intact())[:-9], "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "holds no object of videos"),
        ("{}", "lists no video of the valid split with point tracks"),
        ('{"video_1": {}, "video_1": {}}', "the key 'video_1' is twice in one object"),
    ],
)
def test_a_file_that_is_no_annotation_is_one_clear_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as error:
        open_perception(write_copy(tmp_path, text))
    assert "\n" not in str(error.value)


def test_what_is_not_there_is_named(tmp_path, root):
    with pytest.raises(UserError, match=r"point_tracking_valid\.json is missing, nor is annotations/point_tracking_v"):
        open_perception(tmp_path)
    with pytest.raises(UserError, match="unknown split 'test'; known: train, valid"):
        open_perception(root, "test")
    (root / "videos").rename(root / "video")
    with pytest.raises(UserError, match=r"videos is missing; expected a folder of <video id>\.mp4"):
        open_perception(root)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return write_copy(tmp_path_factory.mktemp("fuzz"), intact())


FUZZ = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def opens_or_refuses(root, content):
    """What is read is whole; all else is told in one line."""
    (root / "point_tracking_valid.json").write_bytes(content)
    try:
        opened = open_perception(root)
        lines, videos = opened.missing, opened.videos
    except UserError as error:
        lines, videos = (str(error),), ()
    assert not any("\n" in line for line in lines)
    for video in videos:
        assert np.isfinite(video.tracks_xy[video.visible]).all()
        assert np.abs(video.tracks_xy[video.visible]).max() <= 1.5


@FUZZ
@given(data=st.data())
def test_mutated_bytes_are_read_or_refused(scratch, data):
    content = bytearray(json.dumps(intact()).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    opens_or_refuses(scratch, bytes(content))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@FUZZ
@given(data=st.data())
def test_mutated_structures_are_read_or_refused(scratch, data):
    content = copy.deepcopy(intact())
    place = content
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.integers(0, 3)) == 0:
            break
        place = place[key]
    if data.draw(st.booleans()):
        place[key] = data.draw(VALUES)
    else:
        del place[key]
    opens_or_refuses(scratch, json.dumps(content).encode())


def test_windows_follow_one_another_and_ask_for_the_points_seen_in_their_first_frame():
    xy = np.stack(np.broadcast_arrays(np.arange(3.0)[:, None], np.arange(12.0)), -1).astype(np.float32)
    visible = np.ones((3, 12), bool)
    visible[1, 0] = visible[2, 7:] = False
    first, second = track_windows(xy, visible, length=3, stride=2)
    assert (first.frames.tolist(), second.frames.tolist()) == ([0, 2, 4], [6, 8, 10])
    assert (first.tracks.tolist(), second.tracks.tolist()) == ([0, 2], [0, 1, 2])
    np.testing.assert_array_equal(first.queries_xy, [[0, 0], [2, 0]])
    np.testing.assert_array_equal(second.tracks_xy[1], [[1, 6], [1, 8], [1, 10]])
    np.testing.assert_array_equal(second.visible[2], [True, False, False])


def test_a_window_without_a_visible_point_is_left_out_and_so_is_what_fills_none():
    visible = np.zeros((2, 70), bool)
    visible[0, 32] = True
    (window,) = track_windows(np.zeros((2, 70, 2), np.float32), visible, length=16, stride=2)
    assert window.frames.tolist() == list(range(32, 64, 2))
    assert window.tracks_xy.shape == (1, 16, 2)
    assert track_windows(np.zeros((2, 30, 2)), np.ones((2, 30), bool), length=16, stride=2) == []
    assert track_windows(np.zeros((0, 70, 2)), np.ones((0, 70), bool), length=16, stride=2) == []
    with pytest.raises(UserError, match="stride of a clip is 0"):
        track_windows(np.zeros((2, 70, 2)), visible, length=16, stride=0)
    with pytest.raises(ValueError, match=r"expected \[n, T, 2\]"):
        track_windows(np.zeros((2, 70, 3)), visible, length=16, stride=2)
