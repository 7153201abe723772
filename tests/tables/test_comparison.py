"""Two runs side by side: only what can be compared is, and what differs is named."""

import csv
import io
import json
import re

import pytest
from runs_on_disk import write_run

from propagation.tasks.davis import DavisProtocol
from propagation.tasks.jhmdb import JhmdbTask
from readouts.tasks.scannet import ScanNetTask
from readouts.tasks.ssv2 import SSv2Task
from rvm_bench.api.registry import find_task
from rvm_bench.errors import UserError
from rvm_bench.runs.diff import stamp_differences
from rvm_bench.runs.finished import read_run
from rvm_bench.tables.comparison import compare_runs, seed_spread, task_of

PROTOCOL = json.loads(json.dumps(DavisProtocol().to_dict()))
HARD = {"swan": 0.9, "dog": 0.7, "bike": 0.4, "car": 0.6, "goat": 0.5, "train": 0.8}


def record(video, *objects):
    told = [{"id": i, "J": score, "F": score} for i, score in enumerate(objects)]
    return {"video": video, "objects": told, "first_mask": told}


@pytest.fixture
def davis(tmp_path):
    """Writes a finished run of DAVIS from the scores of the objects of each video."""

    def write(model, videos, **options):
        records = [record(video, *objects) for video, objects in videos.items()]
        score = find_task("davis").score(records)["J&F"]
        settings = {"protocol": PROTOCOL, "out": tmp_path / "runs", "model": model} | options
        return read_run(write_run(score=score, records=records, **settings))

    return write


def better(by, **changes):
    return {video: [score + by] for video, score in HARD.items()} | changes


def test_a_constant_lead_is_that_lead_in_every_draw(davis):
    found = compare_runs(davis("a", better(0.05)), davis("b", better(0)))
    assert found.scores == pytest.approx((70, 65))
    assert found.paired.difference == pytest.approx(5)
    assert found.paired.interval == pytest.approx((5, 5))
    assert found.paired.p_value < 0.05
    assert found.notes == ()


def test_objects_are_averaged_as_the_task_does_and_drawn_with_their_video(davis):
    found = compare_runs(davis("a", better(0, dog=[0.1, 0.2, 0.3])), davis("b", better(0)))
    assert found.paired.groups == 6
    assert found.scores[0] == pytest.approx(100 * (0.9 + 0.4 + 0.6 + 0.5 + 0.8 + 0.1 + 0.2 + 0.3) / 8)
    assert found.videos[0].video == "dog"
    assert found.videos[0].difference == pytest.approx(20 - 70)


def test_videos_that_differ_most_come_first_whichever_way(davis):
    found = compare_runs(davis("a", better(0.01, car=[0.2], goat=[0.8])), davis("b", better(0)))
    assert [pair.video for pair in found.videos[:2]] == ["car", "goat"]
    assert found.videos[1].difference == pytest.approx(30)
    assert len(found.videos) == 6


def test_only_videos_of_both_runs_count(davis):
    short = {video: scores for video, scores in better(0).items() if video != "dog"}
    found = compare_runs(davis("a", better(0.05)), davis("b", short, missing=["dog"], data="e" * 64))
    assert found.paired.difference == pytest.approx(5)
    assert found.left_out == (1, 0)
    assert any("videos are matched by name" in note for note in found.notes)
    assert "B: partial" in found.notes


def test_few_videos_are_warned_of(davis):
    found = compare_runs(davis("a", {"x": [0.5], "y": [0.6]}), davis("b", {"x": [0.4], "y": [0.4]}))
    assert found.paired.p_value > 0.05
    assert any("fewer than 5 videos" in note for note in found.notes)
    single = compare_runs(davis("c", {"x": [0.5]}), davis("d", {"x": [0.4]}))
    assert single.paired.interval is None


def test_runs_that_measured_different_things_are_refused(davis):
    a = davis("a", better(0))
    with pytest.raises(UserError, match=r"different protocols: topk \(7 and 5\)"):
        compare_runs(a, davis("b", better(0), protocol=PROTOCOL | {"topk": 5}))
    with pytest.raises(UserError, match="measured on different data"):
        compare_runs(a, davis("c", better(0), data="e" * 64))
    with pytest.raises(UserError, match="have no video in common"):
        compare_runs(a, davis("d", {"other": [0.5]}))
    with pytest.raises(UserError, match=r"is a run of davis, .* of vip"):
        compare_runs(a, davis("e", better(0), task="vip"))


def test_records_that_do_not_give_the_stated_score_are_refused(davis):
    a, b = davis("a", better(0)), davis("b", better(0.1))
    (a.path / "records.jsonl").write_text("".join(json.dumps(record(video, 0.5)) + "\n" for video in HARD))
    with pytest.raises(UserError, match=r"result.json says"):
        compare_runs(a, b)


def test_a_protocol_with_other_constants_than_todays_is_refused(davis):
    run = davis("a", better(0), protocol=PROTOCOL | {"once": 1})
    with pytest.raises(UserError, match=r"with other constants \(once\)"):
        task_of(run)


def test_the_protocol_of_a_run_is_built_again_with_its_tuples(tmp_path):
    for name in ("davis", "jhmdb", "vip", "scannet", "ssv2", "kinetics", "waymo", "perception_test"):
        protocol = find_task(name).protocol
        stated = json.loads(json.dumps(protocol.to_dict()))
        assert task_of(read_run(write_run(tmp_path, task=name, protocol=stated))).protocol == protocol


def test_clips_of_one_film_and_scans_of_one_room_go_together():
    assert JhmdbTask().scene("April_09_brush_hair_u_nm_np1_ba_goo_1") == "April_09_brush_hair_u_nm_np1_ba_goo"
    assert JhmdbTask().scene("demo_cross_left") == "demo_cross_left"
    assert ScanNetTask().scene("scene0011_01") == "scene0011"
    assert find_task("davis").scene("car-shadow") == "car-shadow"


def test_seeds_of_the_chosen_learning_rate_are_a_second_source_of_variance(davis):
    run = davis("a", better(0))
    task = SSv2Task()
    assert seed_spread(task_of(run), run) is None
    assert seed_spread(task, run) is None
    (run.path / "fit").mkdir()
    heads = [(1e-3, 0, 0.5, False), (1e-3, 1, 0.7, False), (1e-3, 2, None, True), (1e-4, 0, 0.1, False)]
    keys = ("learning_rate", "seed", "score", "diverged")
    fit = {
        "metric": "top-1",
        "held_out_examples": 64,
        "chosen": {"learning_rate": 1e-3, "seed": 1},
        "replicas": [dict(zip(keys, head, strict=True)) for head in heads],
        "readout_sha256": "abc",
    }
    (run.path / "fit/fit.json").write_text(json.dumps(fit))
    spread = seed_spread(task, run)
    assert spread.scores == {0: 0.5, 1: 0.7}
    assert spread.deviation == pytest.approx(0.2 / 2**0.5)


def test_compare_on_the_command_line(cli, davis):
    davis("a", better(0.05))
    run = davis("b", better(0))
    code, out, _ = cli("compare", "a", "b", "--task", "davis")
    assert code == 0
    assert "A - B  +5.00  [+5.00, +5.00]  p = " in out
    table = cli("compare", "a", run.path, "--task", "davis", "--format", "md")[1]
    assert re.search(r"\| video +\| +A \| +B \| +A - B \|", table)
    rows = list(csv.DictReader(io.StringIO(cli("compare", "a", "b", "--task", "davis", "--format", "csv")[1])))
    assert {row["video"] for row in rows} == set(HARD)
    told = json.loads(cli("compare", "a", "b", "--task", "davis", "--format", "json")[1])
    assert (told["task"], told["metric"], told["resampled"], len(told["videos"])) == ("davis", "J&F", 6, 6)
    assert told["a"]["model"] == "a"
    assert told["a"]["score"] == pytest.approx(70)
    code, _, err = cli("compare", "a", "b")
    assert code == 2
    assert "give --task, too" in err


def test_equal_stamps_are_told_by_the_exit_code_alone(cli, davis):
    a, b = davis("a", better(0), name="one"), davis("a", better(0), name="two")
    assert cli("diff", a.path, b.path)[:2] == (0, "")


def test_every_stamp_that_differs_has_a_line(cli, davis):
    a = davis("a", better(0))
    changed = {
        "protocol": PROTOCOL | {"topk": 5},
        "dtype": "bfloat16",
        "weights": ("random", "r" * 64, None),
        "data": "e" * 64,
        "libraries": {"torch": "3", "numpy": "2"},
    }
    b = davis("a", better(0, dog=[0.2]), name="other", **changed)
    code, out, _ = cli("diff", a.path, b.path)
    assert code == 1
    assert out.splitlines() == [
        "protocol: topk: 7 | 5",
        "weights: kind: file | random",
        f"weights: sha256: {'w' * 64} | {'r' * 64}",
        "dtype: dtype: float32 | bfloat16",
        "data: manifest_sha256: dddddddddddd | eeeeeeeeeeee",
        "versions: torch: 2 | 3",
        "versions: numpy: none | 2",
        "records: 1 of 6 common videos were measured differently, the first is dog",
    ]


def test_surroundings_count_where_both_runs_are_finished(davis):
    a, b = davis("a", better(0)), davis("a", better(0), name="two")
    result = json.loads((b.path / "result.json").read_text())
    result["stamp"]["environment"]["processor"] = "another"
    (b.path / "result.json").write_text(json.dumps(result))
    assert [str(d) for d in stamp_differences(a.path, b.path)] == [
        "surroundings: environment.processor: this one | another"
    ]
    (b.path / "result.json").unlink()
    assert {d.section for d in stamp_differences(a.path, b.path)} == {"surroundings"}


def test_a_folder_that_is_no_run_is_refused(cli, tmp_path):
    assert "is not a run folder" in cli("diff", tmp_path, tmp_path)[2]
