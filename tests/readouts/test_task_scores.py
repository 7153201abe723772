"""Protocols, records and scores of classification and depth, with heads whose answers are known."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from small_tasks import TASKS, opened

from readouts.datasets.scannet.scans import load_clip
from readouts.heads.attention import released_names
from readouts.metrics import abs_rel
from readouts.tasks.classification import ClassificationProtocol
from readouts.tasks.kinetics import KineticsProtocol
from readouts.tasks.scannet import ScanNetProtocol
from readouts.tasks.ssv2 import SSv2Protocol, SSv2Task
from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ImageEncoder
from rvm_bench.fetch.load import load_encoder

NAMES = ("ssv2", "kinetics", "scannet")


def test_features_of_fixed_clips_are_cached_unless_one_says_otherwise(copies):
    for fixed, mode in ((True, "write"), (False, "off")):
        task, _ = opened("ssv2", copies, fixed_clips=fixed)
        assert ("features" in task.describe()) == fixed
        task.cache = "off" if fixed else "write"
        assert ("features" in task.describe()) != fixed, mode


@pytest.mark.parametrize("name", NAMES)
def test_an_estimate_counts_clips_and_steps_of_the_heads(name, copies, monkeypatch):
    pixels = load_encoder("pixels", device="cpu")
    task, dataset = opened(name, copies, fixed_clips=True, steps=10_000)
    assert 0 < task.estimate_seconds(pixels, dataset) < math.inf
    monkeypatch.setattr("readouts.tasks.base.step_seconds", lambda *_: 3600.0)
    assert 10_000 < task.estimate_seconds(pixels, dataset) / 3600 < 10_100
    task.protocol = dataclasses.replace(task.protocol, steps=100)
    assert 100 < task.estimate_seconds(pixels, dataset) / 3600 < 200


def test_the_official_protocol_can_be_asked_for_on_any_copy_and_has_the_papers_constants():
    sizes = {
        "ssv2": (SSv2Protocol(), 174, 768, 12, 1, 174, 7.04),
        "kinetics": (KineticsProtocol(), 700, 1024, 16, 1, 700, 12.28),
        "scannet": (ScanNetProtocol(), 0, 1024, 16, 6272, 128, 18.12),
    }
    for name, (protocol, classes, params, heads, queries, outputs, millions) in sizes.items():
        assert (protocol.frames, protocol.side_px, protocol.params, protocol.heads) == (16, 224, params, heads)
        task = TASKS[name]()
        assert task.protocol == protocol
        task._copy = type("Copy", (), {"classes": range(classes)})
        config = task.readout(1024)
        assert (config.queries, config.outputs, config.frames, config.channels) == (queries, outputs, 16, 1024)
        count = sum(math.prod(shape) for _, shape in released_names(config).values())
        assert count / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("protocol", [SSv2Protocol, KineticsProtocol, ScanNetProtocol])
def test_the_recipe_is_scivids_and_every_constant_says_where_it_comes_from(protocol):
    p = protocol()
    assert (p.steps, p.warmup_steps, p.batch, p.weight_decay, p.final_rate) == (40_000, 1000, 32, 1e-4, 1e-7)
    assert p.learning_rates == (1e-4, 3e-4, 1e-3)
    assert not p.fixed_clips
    assert protocol.sources().keys() == {field.name for field in dataclasses.fields(protocol)} - {"id"}
    assert not issubclass(protocol, ClassificationProtocol) or (p.stride == 2 and not p.flip and p.colour_augmentation)
    assert getattr(p, "test_clips", 1) == (7 if protocol is KineticsProtocol else 1)


def test_kinetics_averages_the_probabilities_of_seven_clips(copies, pixels, monkeypatch):
    task, dataset = opened("kinetics", copies)
    logits = torch.randn(7, 2, generator=torch.Generator().manual_seed(0)) * 3
    seen = []

    def outputs(encoder, clips):
        seen.append(clips)
        return logits

    monkeypatch.setattr(task, "outputs", outputs)
    record = task.measure(pixels, dataset.videos[0])
    (clips,) = seen
    assert clips.shape == (7, 16, 32, 32, 3)
    assert len({clip.tobytes() for clip in clips}) == 7
    expected = logits.softmax(-1).mean(0)
    assert record["predicted"] == expected.argsort(descending=True).tolist()
    assert record["probabilities"] == pytest.approx(sorted(expected.tolist(), reverse=True), rel=1e-5)
    assert dataset.frames == 7 * 16 * 4


def test_top1_and_top5_are_shares_of_videos_and_the_floor_is_the_commonest_training_class():
    records = [
        {"label": 3, "predicted": [3, 1, 2, 0, 4], "majority": 1},
        {"label": 1, "predicted": [3, 1, 2, 0, 4], "majority": 1},
        {"label": 9, "predicted": [3, 1, 2, 0, 4], "majority": 1},
        {"label": 8, "predicted": [3, 1, 2, 0, 4], "majority": 1},
    ]
    assert SSv2Task().score(records) == {"top1": 25.0, "top5": 50.0, "majority top1": 25.0, "videos": 4}


def test_a_head_that_always_says_the_median_scores_the_constant_floor(copies, pixels, monkeypatch):
    task, dataset = opened("scannet", copies)
    scans = [load_clip(scan, [0], 32)[1] for scan in task.training().scans]
    median = np.median(np.concatenate([depth[depth > 0] for depth in scans]))
    logs = torch.full((1, 16, 32, 32, 1), float(np.log(median)))
    monkeypatch.setattr(task, "outputs", lambda *_: logs)
    records = [task.measure(pixels, scan) for scan in dataset.videos]
    score = task.score(records)
    assert score["AbsRel"] == pytest.approx(score["constant AbsRel"], rel=1e-5)
    depths = [load_clip(scan, range(32), 32)[1] for scan in dataset.videos]
    truth = np.stack(depths)
    assert score["AbsRel"] == pytest.approx(abs_rel(np.full_like(truth, median), truth, truth > 0), rel=1e-5)


def test_a_head_that_is_right_has_no_error(copies, pixels, monkeypatch):
    task, dataset = opened("scannet", copies)
    windows = iter([load_clip(scan, np.arange(s, s + 16), 32)[1] for scan in dataset.videos for s in (0, 16)])

    def outputs(encoder, clips):
        return torch.from_numpy(np.log(np.maximum(next(windows), 1e-3)))[None, ..., None]

    monkeypatch.setattr(task, "outputs", outputs)
    score = task.score([task.measure(pixels, scan) for scan in dataset.videos])
    assert score["AbsRel"] < 1e-5
    assert score["delta1"] == 100
    assert score["constant AbsRel"] > 0.05


def test_depth_beyond_the_range_is_not_scored(copies, pixels, monkeypatch):
    near, _ = opened("scannet", copies, farthest_m=2.0)
    whole, dataset = opened("scannet", copies)
    for task in (near, whole):
        monkeypatch.setattr(task, "outputs", lambda *_: torch.zeros(1, 16, 32, 32, 1))
    scan = dataset.videos[0]
    assert 0 < near.measure(pixels, scan)["pixels"] < whole.measure(pixels, scan)["pixels"]


def test_a_task_opened_on_another_copy_forgets_the_first(own_copy, copies, pixels, monkeypatch):
    task, first = opened("ssv2", copies)
    monkeypatch.setattr(task, "outputs", lambda *_: torch.zeros(1, 4))
    assert task.measure(pixels, first.videos[0])["majority"] == 0
    file = own_copy / "ssv2/something-something-v2-train.json"
    entries = json.loads(file.read_text())
    template = "Pushing [something] from right to left"
    kept = [entry for i, entry in enumerate(entries) if entry["template"] == template or i < 3]
    file.write_text(json.dumps(kept))
    again = task.open(own_copy / "ssv2")
    assert task.measure(pixels, again.videos[0])["majority"] == 3


class Fourteen(ImageEncoder):
    """Patches of 14 pixels, as those of DINOv2: 16 x 16 of them in a clip of 224."""

    card = EncoderCard(name="fourteen", family="toy", patch=14, width=4)
    chunk = 16

    def forward_frames(self, frames):
        pooled = torch.nn.functional.avg_pool2d(frames, 14)
        return torch.cat([pooled, pooled.mean(1, keepdim=True)], dim=1).permute(0, 2, 3, 1)


@pytest.mark.parametrize("name", ["ssv2", "scannet"])
def test_a_model_with_patches_of_14_pixels_is_read_at_224(copies, tmp_path, name):
    encoder = Fourteen()
    assert encoder.grid(224, 224) == (16, 16)
    sizes = {"side_px": 224, "steps": 2, "batch": 1, "params": 8, "held_out_least": 1, "held_out": 0.0}
    task, dataset = opened(name, copies, **sizes)
    task.fit(encoder, tmp_path / "fit")
    record = task.measure(encoder, dataset.videos[0])
    assert np.isfinite(record["abs_rel" if name == "scannet" else "probabilities"]).all()
