"""The JHMDB task: the protocol's constants, the reader's rules, and a score that is PCK over all clips."""

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest
from copies import JHMDB_CLIPS, JHMDB_HW, poses_file, write_poses
from scipy.io import savemat

from propagation.datasets.jhmdb import OFFICIAL_ACTIONS, OFFICIAL_CLIPS
from propagation.labels import heat_to_pose, pose_to_heat
from propagation.metrics import pck
from propagation.tasks.base import soft_labels
from propagation.tasks.jhmdb import JhmdbProtocol
from rvm_bench.demo import jhmdb as demo
from rvm_bench.errors import UserError
from rvm_bench.runs.engine import evaluate


def test_the_constants_are_those_of_the_paper_and_each_has_a_source():
    protocol = JhmdbProtocol()
    assert protocol.input_hw == (320, 320)
    assert (protocol.topk, protocol.temperature, protocol.n_context, protocol.radius) == (7, 0.7, 20, 20)
    assert (protocol.readout_cells, protocol.box_share) == (5, 0.6)
    assert protocol.thresholds == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert JhmdbProtocol.sources().keys() == {f.name for f in dataclasses.fields(protocol)} - {"id"}


def test_the_official_split_has_268_clips_in_21_actions():
    assert OFFICIAL_CLIPS == 268
    assert len(OFFICIAL_ACTIONS) == 21


def test_only_test_clips_of_split_1_are_read(jhmdb, jhmdb_copy):
    dataset = jhmdb.open(jhmdb_copy)
    assert {video.name: video.length for video in dataset.videos} == JHMDB_CLIPS
    coverage = dataset.coverage
    assert (coverage.listed, coverage.usable, coverage.in_official, coverage.official) == (3, 3, 3, 268)
    assert not coverage.complete
    assert not coverage.partial


def test_poses_count_pixels_from_zero(jhmdb, jhmdb_copy):
    positions = np.arange(60.0).reshape(2, 15, 2)
    savemat(poses_file(jhmdb_copy, "jump/alpha"), {"pos_img": positions})
    poses = jhmdb.open(jhmdb_copy).videos[0].poses
    assert poses.dtype == np.float32
    np.testing.assert_array_equal(poses[1, 4], [positions[0, 4, 1] - 1, positions[1, 4, 1] - 1])


def test_a_still_clip_keeps_its_pose(jhmdb, pixels, jhmdb_copy):
    folder = jhmdb_copy / "Rename_Images/jump/alpha"
    for t in range(2, 5):
        (folder / f"{t:05d}.png").write_bytes((folder / "00001.png").read_bytes())
    write_poses(jhmdb_copy, "jump/alpha", np.tile(jhmdb.open(jhmdb_copy).videos[0].poses[:1], (4, 1, 1)))
    record = jhmdb.measure(pixels, jhmdb.open(jhmdb_copy).videos[0])
    assert record["first_pose"]["hits"] == [[3] * 15] * 5
    assert jhmdb.score([record])["PCK@0.5"] > 90


def test_holding_the_first_pose_scores_how_little_the_joints_move(jhmdb, pixels, jhmdb_copy):
    video = jhmdb.open(jhmdb_copy).videos[0]
    record = jhmdb.measure(pixels, video)
    box = 0.6 * np.linalg.norm(np.ptp(video.poses[0], axis=0))
    expected = [[sum(3 * t <= threshold * box for t in (1, 2, 3))] * 15 for threshold in jhmdb.protocol.thresholds]
    assert record["first_pose"] == {"hits": expected, "counted": [3] * 15}


def test_the_score_from_records_is_pck_over_all_clips(jhmdb, pixels, jhmdb_copy):
    videos = jhmdb.open(jhmdb_copy).videos
    truth, predicted, visible = [], [], []
    for video in videos:
        heat = pose_to_heat(video.poses[0], pixels.grid(96, 96), JHMDB_HW)
        soft = np.stack([s.numpy() for s in soft_labels(pixels, video.frames, heat, jhmdb.protocol)])
        keypoints, seen = heat_to_pose(soft, JHMDB_HW)
        truth, predicted, visible = [*truth, video.poses], [*predicted, keypoints], [*visible, seen]
    records = [json.loads(json.dumps(jhmdb.measure(pixels, video))) for video in videos]
    thresholds = jhmdb.protocol.thresholds
    score = jhmdb.score(records)
    expected = pck(truth, predicted, visible, thresholds)
    assert [score[f"PCK@{threshold}"] for threshold in thresholds] == expected.tolist()
    held = [np.tile(poses[:1], (len(poses), 1, 1)) for poses in truth]
    everything = [np.ones(seen.shape) for seen in visible]
    assert score["first_pose PCK@0.1"] == pck(truth, held, everything, [0.1])[0]
    assert (score["joints"], score["clips"]) == (15, 3)
    assert 0 < score["PCK@0.1"] < 100


def test_joints_outside_the_first_frame_are_left_out_of_the_score(jhmdb, pixels, jhmdb_copy):
    for name, frames in JHMDB_CLIPS.items():
        poses = np.tile(np.linspace((10, 10), (30, 40), 15), (frames, 1, 1))
        poses[:, 6] += 1000
        write_poses(jhmdb_copy, name, poses)
    records = [jhmdb.measure(pixels, video) for video in jhmdb.open(jhmdb_copy).videos]
    assert all(record["counted"][6] == 0 < record["first_pose"]["counted"][6] for record in records)
    score = jhmdb.score(records)
    assert score["joints"] == 14
    assert all(np.isfinite(value) for value in score.values())


def test_the_same_clip_gives_the_same_record_and_a_tick_for_every_frame(jhmdb, pixels, jhmdb_copy):
    video, ticks = jhmdb.open(jhmdb_copy).videos[2], []
    assert jhmdb.measure(pixels, video, lambda: ticks.append(1)) == jhmdb.measure(pixels, video)
    assert len(ticks) == video.length


def test_images_beyond_the_last_pose_are_encoded_but_not_scored(jhmdb, pixels, jhmdb_copy):
    before = jhmdb.measure(pixels, jhmdb.open(jhmdb_copy).videos[2])
    folder = jhmdb_copy / "Rename_Images/run/gamma"
    (folder / "00006.png").write_bytes((folder / "00005.png").read_bytes())
    video = jhmdb.open(jhmdb_copy).videos[2]
    assert jhmdb.measure(pixels, video) == {**before, "frames": 6}
    assert (before["frames"], before["poses"]) == (5, 5)
    assert any("run/gamma: 6 images, 5 poses" in line for line in jhmdb.check(jhmdb_copy))


def test_an_action_without_a_split_file_is_named(jhmdb, jhmdb_copy):
    (jhmdb_copy / "splits/run_test_split1.txt").unlink()
    with pytest.raises(UserError, match=r"run_test_split1\.txt is missing"):
        jhmdb.open(jhmdb_copy)
    assert len(jhmdb.open(jhmdb_copy, allow_missing=True).videos) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gamma.avi 2\ngamma.avi 1\n", "names gamma more than once"),
        ("gamma.avi\n", 'line 1 is "gamma.avi", expected'),
        ("gamma.avi two\n", 'line 1 is "gamma.avi two", expected'),
        ("\n gamma.avi 3\n", 'line 2 is " gamma.avi 3", expected'),
    ],
)
def test_a_split_that_cannot_be_parsed_is_refused(jhmdb, jhmdb_copy, text, message):
    (jhmdb_copy / "splits/run_test_split1.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        jhmdb.open(jhmdb_copy)


def test_a_folder_without_splits_or_without_test_clips_is_refused(jhmdb, jhmdb_copy, tmp_path):
    with pytest.raises(UserError, match="is --data right"):
        jhmdb.open(tmp_path)
    for file in (jhmdb_copy / "splits").iterdir():
        file.write_text("alpha.avi 1\n")
    with pytest.raises(UserError, match="names no test clip"):
        jhmdb.open(jhmdb_copy)


def test_hidden_files_of_an_archiver_are_not_data(jhmdb, jhmdb_copy):
    before = jhmdb.open(jhmdb_copy).manifest_sha256
    (jhmdb_copy / "splits/._run_test_split1.txt").write_bytes(b"\0\5\26\7")
    (jhmdb_copy / "Rename_Images/jump/alpha" / "._00001.png").write_bytes(b"\0")
    (jhmdb_copy / "Rename_Images/.AppleDouble").mkdir()
    assert jhmdb.open(jhmdb_copy).manifest_sha256 == before


def test_what_a_copy_lacks_of_the_official_split_is_listed(jhmdb, jhmdb_copy):
    lines = jhmdb.check(jhmdb_copy)
    assert sum("not in splits" in line for line in lines) == 19
    assert "splits names 3 test clips, the official split has 268" in lines
    (jhmdb_copy / "splits/run_test_split1.txt").rename(jhmdb_copy / "splits/swim_test_split1.txt")
    assert "swim: not an official action" in jhmdb.check(jhmdb_copy)


def test_the_estimate_is_some_positive_number_of_seconds(jhmdb, pixels, jhmdb_copy):
    assert 0 < jhmdb.estimate_seconds(pixels, jhmdb.open(jhmdb_copy)) < 60


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"thresholds": (0.2, 0.5)}, "thresholds"),
        ({"thresholds": (0.1, -0.2)}, "thresholds"),
        ({"readout_cells": 0}, "readout_cells=0"),
        ({"box_share": 0.0}, "box_share=0"),
        ({"frames_scored": "0..T-1"}, "frames_scored"),
        ({"topk": 0}, "topk"),
    ],
)
def test_a_constant_out_of_range_is_refused(constants, message):
    with pytest.raises(UserError, match=message):
        JhmdbProtocol(**constants)


def test_pixels_on_the_demo_at_the_official_protocol(tmp_path):
    clip = replace(demo.CLIPS[0], frames=6)
    demo.write(tmp_path / "jhmdb", clips=(clip,))
    result = evaluate("pixels", "jhmdb", data=tmp_path / "jhmdb", out=tmp_path / "runs")
    record = result.records[0]
    assert record["video"] == f"{clip.action}/{clip.name}"
    assert (record["frames"], record["poses"], max(record["counted"])) == (6, 6, 5)
    assert record["first_pose"]["counted"] == [5] * 15
    assert 0 < result.value <= result.score["PCK@0.2"] <= result.score["PCK@0.5"] <= 100
    stored = json.loads((result.path / "result.json").read_text())
    assert stored["score"] == result.score
    assert stored["score"].keys() >= {"PCK@0.1", "PCK@0.5", "first_pose PCK@0.1", "clips"}
    assert not stored["official_split"]
