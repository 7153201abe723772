"""The JHMDB task: the protocol's constants, the reader's strictness, and a score that is PCK over all clips."""

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from propagation.datasets.jhmdb import OFFICIAL_ACTIONS, OFFICIAL_CLIPS
from propagation.labels import heat_to_pose, pose_to_heat
from propagation.metrics import pck
from propagation.tasks.base import soft_labels
from propagation.tasks.jhmdb import JhmdbProtocol, JhmdbTask
from rvm_bench.demo import jhmdb as demo
from rvm_bench.errors import UserError
from rvm_bench.fetch.load import load_encoder
from rvm_bench.runs.engine import evaluate

SIZE_HW = (48, 64)
FRAMES = {"jump/alpha": 4, "jump/beta": 3, "run/gamma": 5}


@pytest.fixture
def task():
    """The official protocol at a smaller input, so that a clip takes a fraction of a second."""
    return JhmdbTask(JhmdbProtocol(input_height_px=96, input_width_px=96, radius=4))


@pytest.fixture
def pixels():
    return load_encoder("pixels", device="cpu")


@pytest.fixture
def copy(tmp_path):
    """A tiny data set in the JHMDB layout: a patch with 15 joints that moves over noise, 3 pixels a frame."""
    root, rng = tmp_path / "jhmdb", np.random.default_rng(0)
    (root / "splits").mkdir(parents=True)
    (root / "splits/jump_test_split1.txt").write_text("alpha.avi 2\ntrained.avi 1\nbeta.avi 2 \n\n")
    (root / "splits/run_test_split1.txt").write_text("gamma.avi 2\n")
    (root / "splits/run_test_split2.txt").write_text("another.avi 2\n")
    for name, frames in FRAMES.items():
        (root / "Rename_Images" / name).mkdir(parents=True)
        (root / "joint_positions" / name).mkdir(parents=True)
        background = rng.integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
        patch = rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)
        pose = rng.uniform((8, 10), (26, 38), (15, 2))
        for t in range(frames):
            frame = background.copy()
            frame[9:39, 7 + 3 * t : 27 + 3 * t] = patch
            Image.fromarray(frame).save(root / "Rename_Images" / name / f"{t + 1:05d}.png")
        write_poses(root, name, [pose + np.array([3 * t, 0]) for t in range(frames)])
    return root


def poses_file(root, name):
    return root / "joint_positions" / name / "joint_positions.mat"


def write_poses(root, name, poses):
    """poses: [T, 15, 2], the centre of the top left pixel at (0, 0)."""
    savemat(poses_file(root, name), {"pos_img": np.asarray(poses).transpose(2, 1, 0) + 1, "scale": 1.0})


def test_the_protocol_is_the_papers_and_every_constant_says_where_it_comes_from():
    protocol = JhmdbProtocol()
    assert protocol.input_hw == (320, 320)
    assert (protocol.topk, protocol.temperature, protocol.n_context, protocol.radius) == (7, 0.7, 20, 20)
    assert (protocol.readout_cells, protocol.box_share) == (5, 0.6)
    assert protocol.thresholds == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert JhmdbProtocol.sources().keys() == {f.name for f in dataclasses.fields(protocol)} - {"id"}


def test_the_official_split_has_268_clips_in_21_actions():
    assert OFFICIAL_CLIPS == 268
    assert len(OFFICIAL_ACTIONS) == 21


def test_only_test_clips_of_split_1_are_read(task, copy):
    dataset = task.open(copy)
    assert {video.name: video.length for video in dataset.videos} == FRAMES
    coverage = dataset.coverage
    assert (coverage.listed, coverage.usable, coverage.in_official, coverage.official) == (3, 3, 3, 268)
    assert not coverage.complete
    assert not coverage.partial


def test_poses_count_pixels_from_zero(task, copy):
    positions = np.arange(60.0).reshape(2, 15, 2)
    savemat(poses_file(copy, "jump/alpha"), {"pos_img": positions})
    poses = task.open(copy).videos[0].poses
    assert poses.dtype == np.float32
    np.testing.assert_array_equal(poses[1, 4], [positions[0, 4, 1] - 1, positions[1, 4, 1] - 1])


def test_a_still_clip_keeps_its_pose(task, pixels, copy):
    folder = copy / "Rename_Images/jump/alpha"
    for t in range(2, 5):
        (folder / f"{t:05d}.png").write_bytes((folder / "00001.png").read_bytes())
    write_poses(copy, "jump/alpha", np.tile(task.open(copy).videos[0].poses[:1], (4, 1, 1)))
    record = task.measure(pixels, task.open(copy).videos[0])
    assert record["first_pose"]["hits"] == [[3] * 15] * 5
    assert task.score([record])["PCK@0.5"] > 90


def test_holding_the_first_pose_scores_how_little_the_joints_move(task, pixels, copy):
    video = task.open(copy).videos[0]
    record = task.measure(pixels, video)
    box = 0.6 * np.linalg.norm(np.ptp(video.poses[0], axis=0))
    expected = [[sum(3 * t <= threshold * box for t in (1, 2, 3))] * 15 for threshold in task.protocol.thresholds]
    assert record["first_pose"] == {"hits": expected, "counted": [3] * 15}


def test_the_score_from_records_is_pck_over_all_clips(task, pixels, copy):
    videos = task.open(copy).videos
    truth, predicted, visible = [], [], []
    for video in videos:
        heat = pose_to_heat(video.poses[0], pixels.grid(96, 96), SIZE_HW)
        soft = np.stack([s.numpy() for s in soft_labels(pixels, video.frames, heat, task.protocol)])
        keypoints, seen = heat_to_pose(soft, SIZE_HW)
        truth, predicted, visible = [*truth, video.poses], [*predicted, keypoints], [*visible, seen]
    records = [json.loads(json.dumps(task.measure(pixels, video))) for video in videos]
    thresholds = task.protocol.thresholds
    score = task.score(records)
    expected = pck(truth, predicted, visible, thresholds)
    assert [score[f"PCK@{threshold}"] for threshold in thresholds] == expected.tolist()
    held = [np.tile(poses[:1], (len(poses), 1, 1)) for poses in truth]
    everything = [np.ones(seen.shape) for seen in visible]
    assert score["first_pose PCK@0.1"] == pck(truth, held, everything, [0.1])[0]
    assert (score["joints"], score["clips"]) == (15, 3)
    assert 0 < score["PCK@0.1"] < 100


def test_joints_outside_the_first_frame_are_left_out_of_the_score(task, pixels, copy):
    for name, frames in FRAMES.items():
        poses = np.tile(np.linspace((10, 10), (30, 40), 15), (frames, 1, 1))
        poses[:, 6] += 1000
        write_poses(copy, name, poses)
    records = [task.measure(pixels, video) for video in task.open(copy).videos]
    assert all(record["counted"][6] == 0 < record["first_pose"]["counted"][6] for record in records)
    score = task.score(records)
    assert score["joints"] == 14
    assert all(np.isfinite(value) for value in score.values())


def test_the_same_clip_gives_the_same_record_and_a_tick_for_every_frame(task, pixels, copy):
    video, ticks = task.open(copy).videos[2], []
    assert task.measure(pixels, video, lambda: ticks.append(1)) == task.measure(pixels, video)
    assert len(ticks) == video.length


def test_images_beyond_the_last_pose_are_encoded_but_not_scored(task, pixels, copy):
    before = task.measure(pixels, task.open(copy).videos[2])
    folder = copy / "Rename_Images/run/gamma"
    (folder / "00006.png").write_bytes((folder / "00005.png").read_bytes())
    video = task.open(copy).videos[2]
    assert task.measure(pixels, video) == {**before, "frames": 6}
    assert (before["frames"], before["poses"]) == (5, 5)
    assert any("run/gamma: 6 images, 5 poses" in line for line in task.check(copy))


def cut(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def spoil(root, **change):
    poses = np.full((2, 15, 4), 20.0)
    savemat(poses_file(root, "jump/alpha"), change.get("whole") or {"pos_img": change["make"](poses)})


def with_nan(poses):
    poses[1, 3, 2] = np.nan
    return poses


IMAGES = "Rename_Images/jump/alpha"
DAMAGE = {
    "no image": (lambda d: [file.unlink() for file in (d / IMAGES).iterdir()], "jump/alpha is missing or empty"),
    "a hole": (lambda d: (d / IMAGES / "00002.png").unlink(), "alpha/00002.png is missing"),
    "no first image": (lambda d: (d / IMAGES / "00001.png").unlink(), "alpha/00001.png is missing"),
    "no last image": (lambda d: (d / IMAGES / "00004.png").unlink(), "alpha ends at 00003.png, expected 4 images"),
    "an image too many": (
        lambda d: (d / IMAGES / "00000.png").write_bytes((d / IMAGES / "00001.png").read_bytes()),
        "alpha/00000.png is one too many",
    ),
    "a stray image": (
        lambda d: (d / IMAGES / "thumb.png").write_bytes((d / IMAGES / "00001.png").read_bytes()),
        "alpha/thumb.png is not named like 00001.png",
    ),
    "a truncated image": (lambda d: cut(d / IMAGES / "00003.png"), "alpha/00003.png cannot be read"),
    "an image of another size": (lambda d: Image.new("RGB", (7, 7)).save(d / IMAGES / "00003.png"), "00003.png is 7x7"),
    "no poses": (lambda d: poses_file(d, "jump/alpha").unlink(), "alpha/joint_positions.mat is missing"),
    "truncated poses": (lambda d: cut(poses_file(d, "jump/alpha")), "alpha/joint_positions.mat cannot be read"),
    "text for poses": (lambda d: poses_file(d, "jump/alpha").write_text("gone"), "joint_positions.mat cannot be read"),
    "no pos_img": (lambda d: spoil(d, whole={"pos_world": np.ones(3)}), "joint_positions.mat holds no pos_img"),
    "too few joints": (lambda d: spoil(d, make=lambda p: p[:, :14]), "mat: pos_img is float64 (2, 14, 4)"),
    "axes in another order": (lambda d: spoil(d, make=lambda p: p.T), "mat: pos_img is float64 (4, 15, 2)"),
    "words": (lambda d: spoil(d, whole={"pos_img": "none"}), "joint_positions.mat: pos_img is"),
    "a pose that is not finite": (lambda d: spoil(d, make=with_nan), "mat: pos_img holds values that are not finite"),
    "a single pose": (lambda d: spoil(d, make=lambda p: p[..., :1]), "joint_positions.mat"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_data_is_refused_by_file_name_before_anything_runs(task, copy, damage):
    harm, told = DAMAGE[damage]
    harm(copy)
    with pytest.raises(UserError) as error:
        task.open(copy)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert any(told in line for line in task.check(copy))


@pytest.mark.parametrize("damage", DAMAGE)
def test_allowed_damage_leaves_the_clip_out_and_says_so(task, copy, damage):
    harm, told = DAMAGE[damage]
    harm(copy)
    dataset = task.open(copy, allow_missing=True)
    assert [video.name for video in dataset.videos] == ["jump/beta", "run/gamma"]
    assert dataset.coverage.partial
    assert told in dataset.coverage.missing[0]


def test_an_action_that_lost_its_split_file_is_named(task, copy):
    (copy / "splits/run_test_split1.txt").unlink()
    with pytest.raises(UserError, match=r"run_test_split1\.txt is missing"):
        task.open(copy)
    assert len(task.open(copy, allow_missing=True).videos) == 2


def test_a_clip_that_is_not_there_is_named(task, copy):
    with (copy / "splits/run_test_split1.txt").open("a") as file:
        file.write("delta.avi 2\n")
    with pytest.raises(UserError, match=r"run/delta/joint_positions\.mat is missing"):
        task.open(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gamma.avi 2\ngamma.avi 1\n", "names gamma more than once"),
        ("gamma.avi\n", 'line 1 is "gamma.avi", expected'),
        ("gamma.avi two\n", 'line 1 is "gamma.avi two", expected'),
        ("\n gamma.avi 3\n", 'line 2 is " gamma.avi 3", expected'),
    ],
)
def test_a_split_that_cannot_be_understood_is_refused(task, copy, text, message):
    (copy / "splits/run_test_split1.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        task.open(copy)


def test_a_folder_without_splits_or_without_test_clips_is_refused(task, copy, tmp_path):
    with pytest.raises(UserError, match="is --data right"):
        task.open(tmp_path)
    for file in (copy / "splits").iterdir():
        file.write_text("alpha.avi 1\n")
    with pytest.raises(UserError, match="names no test clip"):
        task.open(copy)


def test_hidden_files_of_an_archiver_are_not_data(task, copy):
    before = task.open(copy).manifest_sha256
    (copy / "splits/._run_test_split1.txt").write_bytes(b"\0\5\26\7")
    (copy / IMAGES / "._00001.png").write_bytes(b"\0")
    (copy / "Rename_Images/.AppleDouble").mkdir()
    assert task.open(copy).manifest_sha256 == before


def test_what_a_copy_lacks_of_the_official_split_is_listed(task, copy):
    lines = task.check(copy)
    assert sum("not in splits" in line for line in lines) == 19
    assert "splits names 3 test clips, the official split has 268" in lines
    (copy / "splits/run_test_split1.txt").rename(copy / "splits/swim_test_split1.txt")
    assert "swim: not an official action" in task.check(copy)


@pytest.mark.parametrize("file", ["Rename_Images/run/gamma/00003.png", "splits/run_test_split1.txt"])
def test_the_manifest_follows_every_byte_of_the_data(task, copy, file):
    before = task.open(copy).manifest_sha256
    assert task.open(copy).manifest_sha256 == before
    (copy / file).write_bytes((copy / file).read_bytes() + b"\n")
    assert task.open(copy).manifest_sha256 != before


def test_the_manifest_follows_the_poses(task, copy):
    before = task.open(copy).manifest_sha256
    write_poses(copy, "run/gamma", task.open(copy).videos[2].poses + 1)
    assert task.open(copy).manifest_sha256 != before


def test_the_estimate_is_some_positive_number_of_seconds(task, pixels, copy):
    assert 0 < task.estimate_seconds(pixels, task.open(copy)) < 60


@pytest.mark.parametrize(
    ("constants", "told"),
    [
        ({"thresholds": (0.2, 0.5)}, "thresholds"),
        ({"thresholds": (0.1, -0.2)}, "thresholds"),
        ({"readout_cells": 0}, "readout_cells=0"),
        ({"box_share": 0.0}, "box_share=0"),
        ({"frames_scored": "0..T-1"}, "frames_scored"),
        ({"topk": 0}, "topk"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(constants, told):
    with pytest.raises(UserError, match=told):
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
