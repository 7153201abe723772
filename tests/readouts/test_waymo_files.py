"""The splits of a copy of the Waymo data in either form: what can be used, what is missing, and where clips may run."""

import shutil
import struct

import numpy as np
import pytest
from waymo_tables import NAME, SIZE_Y, START_US, jpeg, some_rows, tracks, write

from readouts.datasets.waymo.box_video import window_starts
from readouts.datasets.waymo.split import OFFICIAL_SEGMENTS, check_waymo, open_waymo
from readouts.datasets.waymo.v2 import open_segment_v2
from readouts.tasks.box_clips import box_windows, random_window
from rvm_bench.errors import UserError
from rvm_bench.formats.tfrecord import write_records


@pytest.fixture
def root(tmp_path):
    """Two segments to train on and one to validate, all of them the same but for the name."""
    for split, names in (("training", ("1_0_000_20_000", "2_0_000_20_000")), ("validation", ("3_0_000_20_000",))):
        for name in names:
            images, boxes = some_rows()
            for row in (*images, *boxes):
                row["key.segment_context_name"] = name
            write(tmp_path / split, images, boxes, name)
    return tmp_path


def test_a_file_without_its_partner_is_a_missing_segment(root):
    (root / "training/camera_box/1_0_000_20_000.parquet").unlink()
    (root / "training/camera_image/2_0_000_20_000.parquet").unlink()
    message = r"camera_box/1_0.*is missing, .*camera_image/1_0.* \(and 1 more of 2\).*data check"
    with pytest.raises(UserError, match=message):
        open_waymo(root, "training")
    with pytest.raises(UserError, match="no segment can be used"):
        open_waymo(root, "training", allow_missing=True)


def test_damaged_segments_can_be_left_out_and_the_coverage_says_so(root):
    file = root / "training/camera_image/2_0_000_20_000.parquet"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"cannot be read as parquet .*--allow-missing"):
        open_waymo(root, "training")
    split = open_waymo(root, "training", allow_missing=True)
    assert [video.name for video in split.videos] == ["1_0_000_20_000"]
    coverage = split.coverage
    assert (coverage.listed, coverage.usable, coverage.official, coverage.in_official) == (2, 1, 798, 0)
    assert coverage.partial
    assert coverage.missing[0].startswith("training: 2_0_000_20_000: ")
    assert not open_waymo(root, "validation").coverage.complete


def test_as_many_segments_as_there_are_officially_count_as_the_official_split(root, monkeypatch):
    monkeypatch.setitem(OFFICIAL_SEGMENTS, "training", 2)
    assert open_waymo(root, "training").coverage.complete


def record_of(t, name, boxes):
    """A v1 Frame of one labelled camera, written out by hand: fields of dataset.proto and label.proto."""

    def field(number, payload):
        return bytes([number << 3 | 2]) + varint(len(payload)) + payload

    def varint(value):
        low, rest = value & 127, value >> 7
        return bytes([low]) if not rest else bytes([low | 128]) + varint(rest)

    def double(number, value):
        return bytes([number << 3 | 1]) + struct.pack("<d", value)

    labels = b""
    for label, (y0, x0, y1, x1) in boxes.items():
        box = double(1, (x0 + x1) / 2) + double(2, (y0 + y1) / 2) + double(4, y1 - y0) + double(5, x1 - x0)
        labels += field(2, field(1, box) + b"\x18" + varint(1) + field(4, label.encode()))
    camera = b"\x08\x01"
    images = field(4, camera + field(2, jpeg(4 * t)))
    time = b"\x10" + varint(START_US + 100_000 * t)
    return field(1, field(1, name.encode())) + time + images + field(8, camera + labels)


def test_records_of_v1_are_the_same_video_as_the_tables_of_v2(root):
    rows = [record_of(t, NAME, {"car": (2, t, 10.5, t + 4)}) for t in range(40)]
    v1 = root / "v1/training"
    v1.mkdir(parents=True)
    write_records(v1 / f"segment-{NAME}_with_camera_labels.tfrecord", rows)
    (one,) = open_waymo(v1.parent, "training").videos
    two = open_segment_v2(write(root / "v2", *some_rows()), NAME)
    assert (one.name, one.size_hw, one.ids) == (NAME, two.size_hw, ("car",))
    np.testing.assert_array_equal(one.time_us, two.time_us)
    np.testing.assert_array_equal(*(tracks(video)[0][:, 0] for video in (one, two)))
    np.testing.assert_array_equal(one.frames([3, 39]), two.frames([3, 39]))
    assert check_waymo(v1.parent, "training") == ["training: 1 segments, the Waymo Open Dataset has 798"]
    write_records(v1 / "copy.tfrecord", rows)
    with pytest.raises(UserError, match=f"holds segment {NAME} again; delete one of the two files"):
        open_waymo(v1.parent, "training")
    write(v1, *some_rows())
    with pytest.raises(UserError, match=r"holds both v2 .* and v1 .* of the data; keep one of them"):
        open_waymo(v1.parent, "training")


def test_what_is_no_copy_is_told(root, tmp_path):
    with pytest.raises(UserError, match="unknown split 'val'"):
        open_waymo(root, "val")
    with pytest.raises(UserError, match="training is missing; expected training/ and validation/"):
        open_waymo(root / "training", "training")
    shutil.rmtree(root / "validation/camera_box"), shutil.rmtree(root / "validation/camera_image")
    with pytest.raises(UserError, match="validation has no segment"):
        open_waymo(root, "validation")


def test_check_lists_everything_after_decoding_every_frame(root):
    assert check_waymo(root, "training") == ["training: 2 segments, the Waymo Open Dataset has 798"]
    images, boxes = some_rows((*range(33), *range(40, 75)))
    images[2 * 50]["[CameraImageComponent].image"] = jpeg(0)[:-40]
    for row in (*images, *boxes):
        row["key.segment_context_name"] = "2_0_000_20_000"
    write(root / "training", images, boxes, "2_0_000_20_000")
    lines = check_waymo(root, "training")
    assert len(lines) == 2
    assert "frame 50 of" in lines[0]
    images[2 * 50]["[CameraImageComponent].image"] = jpeg(0)
    write(root / "training", images, boxes, "2_0_000_20_000")
    assert check_waymo(root, "training")[0] == (
        "training: 2_0_000_20_000 has 68 frames with gaps in time before frame 33; no clip crosses one"
    )


def test_the_manifest_changes_with_names_boxes_and_sizes_and_not_otherwise(root):
    hashes = [open_waymo(root, "training").manifest_sha256 for _ in range(2)]
    assert hashes[0] == hashes[1] != open_waymo(root, "validation").manifest_sha256
    images, boxes = some_rows()
    boxes[3][SIZE_Y] += 0.25
    for row in (*images, *boxes):
        row["key.segment_context_name"] = "2_0_000_20_000"
    write(root / "training", images, boxes, "2_0_000_20_000")
    hashes.append(open_waymo(root, "training").manifest_sha256)
    images[5]["[CameraImageComponent].image"] += bytes(9)
    write(root / "training", images, boxes, "2_0_000_20_000", use_dictionary=False)
    hashes.append(open_waymo(root, "training").manifest_sha256)
    assert len(set(hashes)) == 3


def starts_and_windows(folder, times):
    video = open_segment_v2(write(folder, *some_rows(times)), NAME)
    return window_starts(video).tolist(), [window.tolist() for window in box_windows(video)], video


def test_jitter_is_no_break_and_a_lost_frame_is_one_that_no_clip_runs_across(tmp_path):
    rng = np.random.default_rng(0)
    even = np.arange(70) + rng.uniform(-0.1, 0.1, 70)
    starts, windows, _ = starts_and_windows(tmp_path / "even", even)
    assert starts == list(range(70 - 30))
    assert windows == [list(range(0, 31, 2)), list(range(32, 63, 2))]
    starts, windows, video = starts_and_windows(tmp_path / "gap", np.delete(even, 34))
    assert video.runs == [(0, 34), (34, 35)]
    assert starts == [0, 1, 2, 3, 34, 35, 36, 37, 38]
    assert windows == [list(range(0, 31, 2)), list(range(34, 65, 2))]
    drawn = {int(random_window(video, rng)[0]) for _ in range(200)}
    assert drawn == set(starts)


def test_a_frame_that_comes_too_early_is_a_break_as_well(tmp_path):
    _, _, video = starts_and_windows(tmp_path, (*range(20), 19.3, *range(20, 60)))
    assert [first for first, _ in video.runs] == [0, 20]


def test_a_single_frame_is_a_video_without_clips(tmp_path):
    starts, windows, video = starts_and_windows(tmp_path, (0,))
    assert (starts, windows, video.runs) == ([], [], [(0, 1)])
    with pytest.raises(UserError, match="has no 16 frames with stride 2 without a gap"):
        random_window(video, np.random.default_rng(0))


def test_another_frame_rate_is_refused_and_too_few_frames_are_a_missing_segment(root):
    write(root / "other", *some_rows(tuple(range(0, 80, 2))))
    with pytest.raises(UserError, match=r"FRONT frames are 0\.200 s apart, expected 0\.1 s"):
        open_segment_v2(root / "other", NAME)
    write(root / "training", *some_rows(tuple(range(30))))
    with pytest.raises(UserError, match="has 30 frames; a clip takes 31 without a gap"):
        open_waymo(root, "training")
