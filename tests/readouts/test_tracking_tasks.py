"""Point and box tracking from the command line to the score, on tiny procedural copies and with raw pixels."""

import io
import math
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from small_tasks import HEADLINES, OFFICIAL, SCORED, SMALL, TRACKING, opened, result_of
from tensor_protos import tensor_to_proto

from readouts.fitting.features import encode_clips
from readouts.heads.tracking import PointTracks
from readouts.tasks import waymo as waymo_task
from readouts.tasks.perception_test import PerceptionProtocol, PerceptionTask
from readouts.tasks.waymo import WaymoProtocol, WaymoTask
from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ImageEncoder
from rvm_bench.errors import UserError
from rvm_bench.fetch.load import load_encoder
from rvm_bench.formats.tf_example import encode_sequence_example
from rvm_bench.formats.tfrecord import write_records

NAMES = ("perception_test", "waymo")


@pytest.fixture
def copies(tracking_copies):
    return tracking_copies


@pytest.fixture
def own_copy(copies, tmp_path):
    """A data root that a test may damage."""
    return shutil.copytree(copies, tmp_path / "data")


def spoil(file):
    """Other bytes in the middle of a file, its size kept."""
    content = bytearray(file.read_bytes())
    middle = slice(len(content) // 3, 2 * len(content) // 3)
    content[middle] = bytes(byte ^ 0x5A for byte in content[middle])
    file.write_bytes(content)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_an_estimate_is_made_of_one_clip_and_one_step(name, copies):
    task, dataset = opened(name, copies)
    assert 0 < task.estimate_seconds(load_encoder("pixels", device="cpu"), dataset) < math.inf


@pytest.mark.parametrize("name", NAMES)
def test_a_run_fits_a_head_scores_it_beside_its_floor_and_goes_on_after_a_cut(run, copies, tmp_path, name):
    code, out, err = run(name, copies)
    assert code == 0, err
    assert f"pixels on {name}: {HEADLINES[name]} " in out
    folder, result = result_of(tmp_path)
    assert result["metric"]["key"] == HEADLINES[name]
    assert 0 <= result["score"][result["metric"]["floor"]] <= 100
    assert result["videos"] == SCORED[name]
    assert result["coverage"]["official"] == OFFICIAL[name]
    assert not result["official_split"]
    assert not result["partial"]
    assert result["off_protocol"].keys() == SMALL.keys() | TRACKING[name].keys()

    records = (folder / "records.jsonl").read_bytes()
    (folder / "records.jsonl").write_bytes(records[: len(records) // 2])
    (folder / "result.json").unlink()
    code, out, err = run(name, copies)
    assert code == 0, err
    assert "this readout is fitted; it is only read" in out
    assert (folder / "records.jsonl").read_bytes() == records
    assert result_of(tmp_path)[1]["score"] == result["score"]


def test_the_official_constants_are_the_papers():
    points, boxes = PerceptionTask(), WaymoTask()
    assert (points.protocol.params, points.protocol.heads, points.protocol.side_px) == (1024, 8, 224)
    assert (boxes.protocol.params, boxes.protocol.heads, boxes.protocol.side_px) == (1024, 4, 256)
    for task, millions in ((points, 11.07), (boxes, 11.16)):
        config = task.readout(384)
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in config.build().parameters())
        assert round(size / 1e6, 2) == millions
        assert set(task.protocol.sources()) >= {"stride", "width", "bases", "temporal_tile_size"}


def test_a_head_that_holds_the_first_point_scores_the_floor(copies, pixels, monkeypatch):
    task, dataset = opened("perception_test", copies)

    def held(self, encoder, clips, queries):
        points = queries[:, None].expand(-1, clips.shape[1], -1, -1)
        sure = torch.full((*points.shape[:-1], 1), 9.0)
        return PointTracks(points, sure, sure)

    monkeypatch.setattr(PerceptionTask, "outputs", held)
    score = task.score([task.measure(pixels, video) for video in dataset.videos])
    assert score["AJ"] == pytest.approx(score["first point held AJ"])
    assert 0 < score["AJ"] < 50
    assert score["windows"] == 2


def test_a_head_that_knows_the_boxes_scores_one_hundred_and_one_that_holds_the_first_the_floor(
    copies, pixels, monkeypatch
):
    task, dataset = opened("waymo", copies)
    seen = []
    cut = waymo_task.clip_boxes

    def clip_boxes(*arguments, **options):
        seen.append(cut(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(waymo_task, "clip_boxes", clip_boxes)
    answers = {
        "truth": lambda self, encoder, clips, queries: torch.from_numpy(seen[-1][0][None]),
        "first": lambda self, encoder, clips, queries: queries[:, None].expand(-1, clips.shape[1], -1, -1),
    }
    scores = {}
    for name, answer in answers.items():
        monkeypatch.setattr(WaymoTask, "outputs", answer)
        scores[name] = task.score([task.measure(pixels, video) for video in dataset.videos])
    assert scores["truth"]["mIoU"] == pytest.approx(100)
    assert scores["first"]["mIoU"] == pytest.approx(scores["first"]["first box held mIoU"])
    assert scores["first"]["mIoU"] < 80


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fixed", [False, True])
def test_a_source_draws_the_same_from_equal_generators_and_goes_to_other_processes(copies, name, fixed):
    task, _ = opened(name, copies, fixed_clips=fixed)
    source = task.training()
    other = pickle.loads(pickle.dumps(source))
    assert source.names == other.names
    first, again = (s.train_item(0, np.random.default_rng(3)) for s in (source, other))
    np.testing.assert_array_equal(first.clip(), again.clip())
    np.testing.assert_array_equal(first.queries, again.queries)
    for key, value in first.target.items():
        np.testing.assert_array_equal(value, again.target[key])
    assert first.key == again.key
    assert (first.key is not None) == fixed
    assert first.clip().shape == (16, 32, 32, 3)
    # The windows of one video are on the same side of the split.
    assert len(set(source.names)) == {"perception_test": 4, "waymo": 3}[name]
    assert (len(source.names) > len(set(source.names))) == fixed


def test_fixed_clips_have_other_points_at_every_visit(copies):
    task, _ = opened("perception_test", copies, fixed_clips=True)
    source = task.training()
    one, two = (source.train_item(0, np.random.default_rng(seed)) for seed in (0, 1))
    assert one.key == two.key
    assert not np.array_equal(one.queries, two.queries)
    held = [source.held_out_item(0).queries for _ in range(2)]
    np.testing.assert_array_equal(*held)


def test_stored_tracks_that_are_hidden_at_first_are_masked_and_not_replaced(copies, tmp_path):
    rng = np.random.default_rng(0)
    visible = np.ones((20, 8), np.float32)
    visible[:, ::2] = 0
    lists = {
        "image/encoded": [[png(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))] for _ in range(20)],
        "tracks/2d": [[tensor_to_proto(rng.random((8, 2), dtype=np.float32))] for _ in range(20)],
        "tracks/visibility": [[tensor_to_proto(seen)] for seen in visible],
    }
    shutil.copytree(copies / "perception_test", tmp_path / "data/perception_test")
    (tmp_path / "data/full/movi").mkdir(parents=True)
    shard = tmp_path / "data/full/movi/train.tfrecord-00000-of-00001"
    write_records(shard, [encode_sequence_example({}, lists)] * 2)
    task, _ = opened("perception_test", tmp_path / "data", tracks=12)
    item = task.training().train_item(0, np.random.default_rng(1))
    asked = item.target["query_mask"]
    assert asked.sum() == 4
    assert (item.queries[~asked] == -1).all()
    assert (item.target["points"][:, ~asked] == -1).all()
    assert not item.target["visible"][:, ~asked].any()
    assert item.target["visible"][:, asked].all()
    np.testing.assert_array_equal(item.queries, item.target["points"][0])


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_in_parts_is_the_whole_batch_for_heads_too(copies, pixels, tmp_path, name):
    for parts in (1, 2):
        task, _ = opened(name, copies, accumulate=parts, fixed_clips=True)
        task.cache = "off"
        task.fit(pixels, tmp_path / str(parts))
    one, two = (load_file(tmp_path / f"{parts}/readout.safetensors") for parts in (1, 2))
    assert one.keys() == two.keys()
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, atol=2e-6)


def test_without_movi_one_line_says_where_it_should_be(run, copies, tmp_path):
    shutil.copytree(copies / "perception_test", tmp_path / "alone/perception_test")
    code, _, err = run("perception_test", tmp_path / "alone")
    assert code == 2
    assert "no MOVi-E below" in err
    assert len([line for line in err.splitlines() if line.startswith("rvm-bench:")]) == 1


@pytest.mark.parametrize(
    ("name", "file", "told"),
    [
        ("perception_test", "perception_test/videos/video_90001.mp4", "video_90001.mp4"),
        ("perception_test", "movi_e/256x256/1.0.0/movi_e-train.tfrecord-00001-of-00002", "movi_e-train"),
        ("waymo", "waymo/validation/camera_image", "camera_image"),
    ],
)
def test_damaged_files_are_one_line_or_left_out_and_counted(run, own_copy, tmp_path, name, file, told):
    target = own_copy / file
    spoil(sorted(target.iterdir())[0] if target.is_dir() else target)
    code, _, err = run(name, own_copy, steps=8)
    assert code == 2
    assert told in err
    code, _, err = run(name, own_copy, "--allow-missing", steps=8)
    assert code == 0, err
    _, result = result_of(tmp_path)
    assert result["partial"]
    assert any(told in line for line in result["coverage"]["missing"])


@pytest.mark.parametrize("name", NAMES)
def test_data_check_names_what_differs_from_the_official_copy(cli, copies, name):
    code, out, _ = cli("data", "check", name, "--data", copies)
    assert code == 1
    assert str(OFFICIAL[name]) in out


class Fourteen(ImageEncoder):
    """Patches of 14 pixels, and a note of the sizes that came in."""

    card = EncoderCard(name="fourteen", family="toy", patch=14, width=4)

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward_frames(self, frames):
        self.sizes.append(tuple(frames.shape[2:]))
        pooled = torch.nn.functional.avg_pool2d(frames, 14)
        return torch.cat([pooled, pooled[:, :1]], dim=1).permute(0, 2, 3, 1)


def test_pictures_of_256_px_go_through_patches_of_14_px_as_252_px():
    encoder = Fourteen()
    rows = np.linspace(0, 255, 256).astype(np.uint8)
    clips = np.broadcast_to(rows[None, None, :, None, None], (1, 2, 256, 256, 3)).copy()
    features = encode_clips(encoder, clips)
    assert set(encoder.sizes) == {(252, 252)}
    assert features.shape == (1, 2, 18 * 18, 4)
    # The last row of the picture is seen: a crop would have lost it.
    assert features[0, 0, -1, 0] == pytest.approx((255 - 255 / 36) / 255, abs=0.01)


def test_protocols_refuse_what_makes_no_sense():
    with pytest.raises(UserError, match="temporal tiles"):
        PerceptionProtocol(temporal_tile_size=5).head(8)
    with pytest.raises(UserError, match="box_loss"):
        WaymoProtocol(box_loss="l1")  # type: ignore[arg-type]
