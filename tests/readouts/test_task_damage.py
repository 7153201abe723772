"""Missing and damaged files of the readout tasks: refused in one line, or left out and counted."""

import json

import pytest
from small_tasks import fitted, opened, result_of

NAMES = ("ssv2", "kinetics", "scannet")


def spoil(file):
    """Other content of the same size, which nobody takes for a video, an image or a scan."""
    file.write_bytes(b"\x5a" * file.stat().st_size)


@pytest.mark.parametrize("name", NAMES)
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
