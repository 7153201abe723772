"""The readout tasks from the command line to the score, on tiny procedural copies and with raw pixels for features."""

import dataclasses
import json
import math
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from readouts.datasets.scannet.scans import load_clip
from readouts.fitting.sampling import split
from readouts.heads.attention import released_names
from readouts.metrics import abs_rel
from readouts.tasks.classification import ClassificationProtocol
from readouts.tasks.kinetics import KineticsProtocol, KineticsTask
from readouts.tasks.scannet import ScanNetProtocol, ScanNetTask
from readouts.tasks.ssv2 import SSv2Protocol, SSv2Task
from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ImageEncoder
from rvm_bench.api.registry import find_task
from rvm_bench.demo import kinetics, scannet, ssv2
from rvm_bench.demo.scannet import DemoScan
from rvm_bench.errors import UserError
from rvm_bench.fetch.load import load_encoder
from rvm_bench.fetch.locate import data_folder, demo_folder

TASKS = {"ssv2": SSv2Task, "kinetics": KineticsTask, "scannet": ScanNetTask}
SMALL = {
    "side_px": 32,
    "params": 16,
    "heads": 2,
    "learning_rates": (1e-3,),
    "steps": 6,
    "warmup_steps": 1,
    "batch": 4,
    "held_out_least": 2,
}
"""Constants with which a fit takes a second."""
HEADLINES = {"ssv2": "top1", "kinetics": "top1", "scannet": "AbsRel"}
SCORED = {"ssv2": 4, "kinetics": 4, "scannet": 2}
OFFICIAL = {"ssv2": 24_777, "kinetics": 34_125, "scannet": 312}


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A data root: 12 + 4 videos of SSv2, 6 + 4 of Kinetics, 3 + 2 scans of ScanNet."""
    root = tmp_path_factory.mktemp("data")
    ssv2.write(root / "ssv2", training=3, validation=1)
    kinetics.write(root / "kinetics700_2020", actions=kinetics.ACTIONS[:2], training=3, validation=2)
    scans = [DemoScan(room=9000 + k, sens=k == 1) for k in range(3)]
    scans += [DemoScan(room=9100 + k, sens=k == 1, split="val") for k in range(2)]
    scannet.write(root / "scannet", scans=tuple(scans), frames=32)
    return root


@pytest.fixture
def own_copy(copies, tmp_path):
    """A data root that a test may damage."""
    return shutil.copytree(copies, tmp_path / "data")


@pytest.fixture
def run(cli):
    """`rvm-bench run` of pixels with the small constants: (exit code, standard output, standard error)."""

    def call(task, data, *arguments, **changes):
        return cli("run", "--model", "pixels", "--task", task, "--data", data, *settings(changes), *arguments)

    return call


@pytest.fixture
def pixels():
    return load_encoder("pixels", device="cpu")


def settings(changes):
    for name, value in (SMALL | changes).items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
        yield from ("--set", f"{name}={text}")


def opened(name, copies, **changes):
    """A task with the small constants, and its data set."""
    task = TASKS[name]()
    task.protocol = dataclasses.replace(task.protocol, **(SMALL | changes))
    return task, task.open(data_folder(task, copies))


def fitted(name, copies, folder, **changes):
    task, dataset = opened(name, copies, **changes)
    task.fit(load_encoder("pixels", device="cpu"), folder)
    return task, dataset


def result_of(path):
    (file,) = path.glob("runs/*/*/result.json")
    return file.parent, json.loads(file.read_text())


def spoil(file):
    """Other content of the same size, which nobody takes for a video, an image or a scan."""
    file.write_bytes(b"\x5a" * file.stat().st_size)


@pytest.mark.parametrize("name", TASKS)
def test_a_run_fits_a_head_and_scores_it_and_a_second_call_only_reads(run, copies, tmp_path, name):
    code, out, err = run(name, copies)
    assert code == 0, err
    assert f"pixels on {name}: {HEADLINES[name]} " in out
    folder, result = result_of(tmp_path)
    assert (folder / "fit/readout.safetensors").exists()
    assert result["metric"]["key"] == HEADLINES[name]
    low, high = result["interval"]
    assert low <= result["score"][HEADLINES[name]] <= high
    assert result["videos"] == SCORED[name]
    assert result["coverage"]["official"] == OFFICIAL[name]
    assert result["coverage"]["in_official"] == 0
    assert not result["official_split"]
    assert not result["partial"]
    assert result["off_protocol"].keys() == SMALL.keys()
    assert result["stamp"]["task"]["protocol"]["steps"] == 6
    assert "features" not in result["stamp"]["task"]
    floor = result["metric"]["floor"]
    assert floor in result["score"]

    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    code, again, err = run(name, copies)
    assert code == 0, err
    assert again.splitlines()[-1] == out.splitlines()[-1]
    assert "readouts of" not in again
    changed = {file.name for file, at in before.items() if file.stat().st_mtime_ns != at}
    assert changed <= {"records.jsonl"}


@pytest.mark.parametrize("name", TASKS)
def test_a_run_whose_records_were_cut_goes_on_with_the_same_head(run, copies, tmp_path, name):
    run(name, copies)
    folder, before = result_of(tmp_path)
    records = (folder / "records.jsonl").read_bytes()
    readout = (folder / "fit/readout.safetensors").stat().st_mtime_ns
    (folder / "records.jsonl").write_bytes(records[: len(records) // 2])
    (folder / "result.json").unlink()
    code, out, err = run(name, copies)
    assert code == 0, err
    assert "this readout is fitted; it is only read" in out
    assert (folder / "records.jsonl").read_bytes() == records
    assert (folder / "fit/readout.safetensors").stat().st_mtime_ns == readout
    assert result_of(tmp_path)[1]["score"] == before["score"]


def test_cached_and_uncached_runs_are_different_runs_and_reading_or_writing_the_cache_is_not(
    run, copies, tmp_path, monkeypatch
):
    monkeypatch.setenv("RVM_BENCH_CACHE", str(tmp_path / "cache"))
    scores = {}
    for mode in ("off", "write", "read"):
        code, out, err = run("ssv2", copies, "--cache", mode, fixed_clips=True)
        assert code == 0, err
        scores[mode] = out.splitlines()[-1]
        kept = [name for file in (tmp_path / "cache").rglob("*.safetensors") for name in load_file(file)]
        # The 12 training videos, each once; a scored clip is seen once and not kept.
        assert len(kept) == (0 if mode == "off" else 12)
    assert scores["write"] == scores["read"]
    runs = sorted((tmp_path / "runs/ssv2").iterdir())
    told = [json.loads((path / "run.json").read_text()) for path in runs]
    assert len(runs) == 2
    assert {content["task"].get("features") for content in told} == {None, "bfloat16"}


def test_features_of_fixed_clips_are_cached_unless_one_says_otherwise(copies):
    for fixed, mode in ((True, "write"), (False, "off")):
        task, _ = opened("ssv2", copies, fixed_clips=fixed)
        assert ("features" in task.describe()) == fixed
        task.cache = "off" if fixed else "write"
        assert ("features" in task.describe()) != fixed, mode


@pytest.mark.parametrize("name", TASKS)
def test_an_estimate_counts_clips_and_steps_of_the_heads(name, copies, monkeypatch):
    pixels = load_encoder("pixels", device="cpu")
    task, dataset = opened(name, copies, fixed_clips=True, steps=10_000)
    assert 0 < task.estimate_seconds(pixels, dataset) < math.inf
    monkeypatch.setattr("readouts.tasks.base.step_seconds", lambda *_: 3600.0)
    assert 10_000 < task.estimate_seconds(pixels, dataset) / 3600 < 10_100
    task.protocol = dataclasses.replace(task.protocol, steps=100)
    assert 100 < task.estimate_seconds(pixels, dataset) / 3600 < 200


def test_cache_and_workers_are_refused_where_nothing_is_fitted(cli, davis_copy):
    for option in (("--cache", "write"), ("--workers", "2")):
        code, _, err = cli("run", "--model", "pixels", "--task", "davis", "--data", davis_copy, *option)
        assert code == 2
        assert err == "rvm-bench: davis fits no head; leave out --cache and --workers\n"


def test_an_unknown_cache_mode_is_refused_with_the_known_ones(run, copies):
    code, _, err = run("ssv2", copies, "--cache", "wrote")
    assert code == 2
    assert err.count("\n") == 1
    assert "wrote" in err
    assert "write" in err


def test_an_unknown_protocol_is_refused_with_the_known_ones(run, copies):
    code, _, err = run("kinetics", copies, "--protocol", "demos")
    assert code == 2
    assert "demo" in err


def test_demo_data_brings_its_own_protocol_and_other_data_does_not(cli, copies, tmp_path, monkeypatch):
    monkeypatch.setenv("RVM_BENCH_CACHE", str(tmp_path / "cache"))
    task = find_task("ssv2")
    monkeypatch.setattr(
        SSv2Task, "write_demo", lambda self, to: shutil.copytree(copies / "ssv2", to, dirs_exist_ok=True)
    )
    assert demo_folder(task).is_relative_to(tmp_path)
    few = ("--set", "steps=5", "--set", "warmup_steps=1", "--set", "batch=2", "--set", "held_out_least=2")
    for data, out in (("demo", "of-demo"), (copies, "of-folder")):
        small = few if data == "demo" else tuple(settings({}))
        code, _, err = cli("run", "--model", "pixels", "--task", "ssv2", "--data", data, "--out", out, *small)
        assert code == 0, err
        (file,) = (tmp_path / out).glob("ssv2/*/result.json")
        result = json.loads(file.read_text())
        assert result["stamp"]["task"]["protocol"]["fixed_clips"] == (data == "demo")
        assert ("fixed_clips" in result["off_protocol"]) == (data == "demo")
        assert "steps" in result["off_protocol"]


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


@pytest.mark.parametrize("name", TASKS)
def test_equal_generators_draw_equal_clips_and_others_draw_others(copies, name):
    task, _ = opened(name, copies)
    source = task.training()

    def drawn(seed, index=0):
        return source.train_item(index, np.random.default_rng(seed)).clip()

    assert drawn(0).shape == (16, 32, 32, 3)
    assert drawn(0).dtype == np.uint8
    assert np.array_equal(drawn(0), drawn(0))
    assert len({drawn(seed).tobytes() for seed in range(6)}) > 2
    held_out = [source.held_out_item(1) for _ in range(2)]
    assert np.array_equal(held_out[0].clip(), held_out[1].clip())
    assert held_out[0].key == held_out[1].key
    assert source.train_item(1, np.random.default_rng(0)).key is None
    assert source.distinct == 0


@pytest.mark.parametrize("name", TASKS)
def test_fixed_clips_are_the_held_out_ones_and_have_keys_of_their_own(copies, name):
    task, _ = opened(name, copies, fixed_clips=True)
    source = task.training()
    count = len(source.names)
    items = [source.train_item(index, np.random.default_rng(index)) for index in range(count)]
    assert len({item.key for item in items}) == count == source.distinct
    assert items[0].key == source.held_out_item(0).key


@pytest.mark.parametrize("name", TASKS)
def test_a_source_can_be_sent_to_the_processes_that_load_clips(copies, name):
    task, _ = opened(name, copies)
    source = task.training()
    there = pickle.loads(pickle.dumps(source))
    index = len(source.names) - 2
    assert np.array_equal(there.held_out_item(index).clip(), source.held_out_item(index).clip())


def test_crop_start_and_colour_are_all_drawn(copies):
    def distinct(**changes):
        source = opened("ssv2", copies, frames=1, **changes)[0].training()
        return len({source.train_item(0, np.random.default_rng(seed)).clip().tobytes() for seed in range(12)})

    # A clip that spans the whole video has one start; pictures are wider than the crop.
    crops = distinct(stride=1000, colour_augmentation=False)
    starts = distinct(stride=1, colour_augmentation=False)
    assert 1 < crops < starts
    assert distinct(stride=1000) > crops


def test_clips_are_flipped_only_where_one_asks_for_it(copies):
    sources = [opened("kinetics", copies, colour_augmentation=False, flip=flip)[0].training() for flip in (False, True)]
    flipped = set()
    for seed in range(10):
        plain, maybe = (source.train_item(0, np.random.default_rng(seed)).clip() for source in sources)
        mirrored = np.array_equal(maybe, plain[:, :, ::-1])
        assert mirrored or np.array_equal(maybe, plain)
        flipped.add(mirrored)
    assert flipped == {True, False}


def test_windows_of_one_scan_are_held_out_together(copies):
    task, _ = opened("scannet", copies, fixed_clips=True)
    names = task.training().names
    assert len(names) == 3 * 5  # from frames 0, 4, ..., 16
    training, held_out = split(names, 0.05, 1)
    assert {names[i] for i in training}.isdisjoint(names[i] for i in held_out)
    assert len(held_out) == 5


@pytest.mark.parametrize("name", TASKS)
def test_the_scored_split_is_not_read_while_a_head_is_fitted(own_copy, pixels, tmp_path, name):
    whole, dataset = fitted(name, own_copy, tmp_path / "whole")
    assert {video.name for video in dataset.videos}.isdisjoint(whole.training().names)
    task, dataset = opened(name, own_copy)
    for video in dataset.videos:
        files = [video.file] if hasattr(video, "label") else (own_copy / "scannet/scans" / video.name).rglob("*.*")
        for file in files:
            if file.is_file():
                spoil(file)
    task.fit(pixels, tmp_path / "spoilt")
    first, second = (tmp_path / f"{which}/readout.safetensors" for which in ("whole", "spoilt"))
    assert first.read_bytes() == second.read_bytes()


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


def test_a_missing_video_is_refused_or_left_out_and_counted(run, own_copy, tmp_path):
    gone = sorted((own_copy / "kinetics700_2020/val").glob("*.mp4"))[0]
    gone.unlink()
    code, _, err = run("kinetics", own_copy)
    assert code == 2
    assert err.count("\n") == 1
    assert gone.name in err
    assert "--allow-missing" in err
    code, _, err = run("kinetics", own_copy, "--allow-missing")
    assert code == 0, err
    result = result_of(tmp_path)[1]
    assert result["partial"]
    assert (result["coverage"]["listed"], result["coverage"]["usable"]) == (4, 3)
    assert gone.name in result["coverage"]["missing"][0]


def test_a_missing_training_video_makes_the_score_partial_too(run, own_copy, tmp_path):
    gone = sorted((own_copy / "kinetics700_2020/train").glob("*.mp4"))[0]
    gone.unlink()
    assert run("kinetics", own_copy)[0] == 2
    code, _, err = run("kinetics", own_copy, "--allow-missing")
    assert code == 0, err
    result = result_of(tmp_path)[1]
    assert result["partial"]
    assert result["coverage"]["usable"] == result["coverage"]["listed"] == 4


@pytest.mark.parametrize("where", ["train", "val"])
def test_a_damaged_video_is_one_line_and_once_it_is_mended_the_run_goes_on(run, own_copy, tmp_path, where):
    video = sorted((own_copy / f"kinetics700_2020/{where}").glob("*.mp4"))[-1]
    content = video.read_bytes()
    spoil(video)
    code, _, err = run("kinetics", own_copy)
    assert code == 2
    (told,) = [line for line in err.splitlines() if "rvm-bench:" in line]
    assert str(video) in told
    assert "Traceback" not in err
    (folder,) = (tmp_path / "runs/kinetics").iterdir()
    readout = folder / "fit/readout.safetensors"
    assert readout.exists() == (where == "val")
    before = readout.read_bytes() if where == "val" else b""
    done = (folder / "records.jsonl").read_bytes() if where == "val" else b""
    video.write_bytes(content)
    code, _, err = run("kinetics", own_copy)
    assert code == 0, err
    assert result_of(tmp_path)[0] == folder
    if where == "val":
        assert readout.read_bytes() == before
        lines = (folder / "records.jsonl").read_bytes().splitlines()
        assert set(done.splitlines()) < set(lines)


@pytest.mark.parametrize("where", ["training", "scored"])
def test_a_damaged_video_is_left_out_and_counted_where_one_asks_for_it(run, own_copy, tmp_path, where):
    annotations = own_copy / f"ssv2/something-something-v2-{'train' if where == 'training' else 'validation'}.json"
    file = own_copy / f"ssv2/20bn-something-something-v2/{json.loads(annotations.read_text())[-1]['id']}.webm"
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 3 :: 97] = bytes(byte ^ 0x55 for byte in damaged[len(whole) // 3 :: 97])
    file.write_bytes(damaged)
    arguments = ("ssv2", own_copy, "--out", tmp_path / "runs")
    assert run(*arguments)[0] == 2
    code, _, err = run(*arguments, "--allow-missing")
    assert code == 0, err
    (result_file,) = (tmp_path / "runs").glob("ssv2/*/result.json")
    result = json.loads(result_file.read_text())
    (line,) = result["coverage"]["missing"]
    assert file.name in line
    assert line.startswith("train: ") == (where == "training")
    assert result["partial"]
    assert result["videos"] == result["coverage"]["usable"] == (4 if where == "training" else 3)
    assert result["score"]["videos"] == result["videos"]
    if where == "scored":
        file.write_bytes(whole)
        assert run(*arguments)[0] == 0
        mended = json.loads(result_file.read_text())
        assert (mended["videos"], mended["partial"]) == (4, False)


def test_scannet_prints_ten_times_what_it_keeps(run, cli, copies, tmp_path):
    code, out, _ = run("scannet", copies)
    assert code == 0
    folder, result = result_of(tmp_path)
    raw = result["score"]["AbsRel"]
    printed = f"{10 * raw:.2f}"
    assert f"AbsRel {printed} [" in out
    assert "] x10, 2 videos" in out
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    assert raw == pytest.approx(sum(r["abs_rel"] for r in records) / sum(r["pixels"] for r in records))
    assert {record["frames"] for record in records} == {32}
    table = cli("table", "--list")[1]
    assert f" {printed} " in table


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


@pytest.mark.parametrize("changes", [{"side_px": 36}, {"frames": 15}])
def test_sizes_that_patches_do_not_fill_are_refused(run, copies, changes):
    code, _, err = run("scannet", copies, **changes)
    assert code == 2
    assert next(iter(changes)) in err
    assert "multiple" in err
    assert err.count("\n") == 1


def test_scans_too_short_for_a_clip_are_refused_and_not_scored_as_perfect(run, copies):
    code, _, err = run("scannet", copies, stride=4)
    assert code == 2
    assert "scene9100_00 has 32 frames" in err
    assert "takes 61" in err
    with pytest.raises(UserError, match="set another stride"):
        opened("scannet", copies, stride=4)


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
