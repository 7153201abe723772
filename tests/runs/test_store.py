"""Runs on disk: killed at any byte, resumed to the same bytes; never mixed with another run."""

import json

import pytest

from rvm_bench.errors import UserError
from rvm_bench.formats.files import whole_lines
from rvm_bench.runs.store import RunFolder, gather, shard_of

DESCRIPTION = {"encoder": {"card": {"name": "model"}}, "task": {"name": "task"}, "x": 1}
VIDEOS = ["a", "b", "ü"]


def record(video):
    return {"video": video, "J": 0.1 + len(video) / 3, "F_frames": [0.1, 1 / 3]}


def fill(run, videos, shard=(1, 1)):
    with run.appender(shard) as records:
        for video in videos:
            if video not in run.lines():
                records.append(record(video))


@pytest.fixture
def finished(tmp_path):
    run = RunFolder(tmp_path / "unbroken", DESCRIPTION)
    fill(run, VIDEOS)
    return (run.path / "records.jsonl").read_bytes()


def test_a_run_cut_at_any_byte_resumes_to_the_same_bytes(tmp_path, finished):
    for cut in range(len(finished) + 1):
        run = RunFolder(tmp_path / f"cut{cut}", DESCRIPTION)
        (run.path / "records.jsonl").write_bytes(finished[:cut])
        fill(run, VIDEOS)
        run.merge(VIDEOS)
        assert (run.path / "records.jsonl").read_bytes() == finished


@pytest.mark.parametrize("shards", [1, 2, 3, 5])
def test_shards_merge_to_the_bytes_of_one_process_in_any_order(tmp_path, finished, shards):
    run = RunFolder(tmp_path / "shards", DESCRIPTION)
    for index in range(shards, 0, -1):
        fill(run, shard_of(VIDEOS, (index, shards)), (index, shards))
    run.merge(VIDEOS)
    assert [file.name for file in run.path.glob("records*")] == ["records.jsonl"]
    assert (run.path / "records.jsonl").read_bytes() == finished


def test_shards_from_several_machines_are_gathered_once(tmp_path, finished):
    parts = []
    for index in (1, 2):
        run = RunFolder(tmp_path / f"machine{index}", DESCRIPTION)
        fill(run, shard_of(VIDEOS, (index, 2)), (index, 2))
        run.add_timing({"video": VIDEOS[index - 1], "seconds": 1.0})
        parts.append(run.path)
    for _ in range(2):
        path, count = gather(parts, tmp_path / "all")
    whole = RunFolder(tmp_path / "all", DESCRIPTION)
    whole.merge(VIDEOS)
    assert (path, count) == (whole.path, 3)
    assert (path / "records.jsonl").read_bytes() == finished
    assert len(whole.timings()) == 2


def test_runs_of_different_fingerprints_are_not_merged(tmp_path):
    paths = [RunFolder(tmp_path / str(x), {**DESCRIPTION, "x": x}).path for x in (1, 2)]
    with pytest.raises(UserError, match="2 fingerprints"):
        gather(paths, tmp_path / "all")


def test_contradicting_records_are_not_merged(tmp_path):
    runs = [RunFolder(tmp_path / name, DESCRIPTION) for name in "ab"]
    for run, value in zip(runs, (1, 2), strict=True):
        with run.appender((1, 1)) as records:
            records.append({"video": "a", "J": value})
    with pytest.raises(UserError, match="record 'a' differently"):
        gather([run.path for run in runs], tmp_path / "all")


def test_any_change_of_the_description_is_another_folder(tmp_path):
    names = {RunFolder(tmp_path, {**DESCRIPTION, "x": x}).path.name for x in (1, 1.5, "1", None)}
    assert len(names) == 4


def test_a_folder_of_another_fingerprint_is_never_reused(tmp_path):
    run = RunFolder(tmp_path, DESCRIPTION)
    content = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**content, "fingerprint": "0" * 64}))
    with pytest.raises(UserError, match="another fingerprint"):
        RunFolder(tmp_path, DESCRIPTION)


def test_two_writers_of_one_run_are_refused(tmp_path):
    run = RunFolder(tmp_path, DESCRIPTION)
    with run.appender((1, 1)), pytest.raises(UserError, match="written by another process"), run.appender((1, 1)):
        pass


def test_a_damaged_line_is_named_with_its_place(tmp_path):
    run = RunFolder(tmp_path, DESCRIPTION)
    fill(run, VIDEOS)
    file = run.path / "records.jsonl"
    file.write_bytes(file.read_bytes().replace(b'{"video": "b"', b'{"video" "b"'))
    with pytest.raises(UserError, match=r"records\.jsonl:2 is not a record"):
        run.lines()


def test_numbers_that_json_cannot_hold_are_refused_and_leave_no_line(tmp_path):
    run = RunFolder(tmp_path, DESCRIPTION)
    with run.appender((1, 1)) as records, pytest.raises(ValueError, match="Out of range"):
        records.append({"video": "a", "J": float("nan")})
    assert whole_lines(run.path / "records.jsonl") == []
