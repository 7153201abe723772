"""`rvm-bench profile` as a user meets it."""

import json
from pathlib import Path

import pytest

COSTLY = Path(__file__).with_name("costly.py")


def test_a_profile_ends_in_points_exponents_and_a_figure(cli, tmp_path):
    command = ("profile", f"{COSTLY}:Steady", "--frames", "8,2", "--size", "32", "--device", "cpu", "--repeats", "2")
    code, out, _ = cli(*command, "--out", "p.json", "--figure", "p.svg")
    assert code == 0
    assert "steady, recurrent state, 2 frames: " in out
    assert "steady  recurrent state  2-8" in out
    kept = json.loads((tmp_path / "p.json").read_text())
    assert [(point["frames"], point["passes"]) for point in kept["points"]] == [(2, 2), (8, 2)]
    assert {"time", "CPU time"} <= {row["cost"] for row in kept["growth"]}
    assert "steady, recurrent state" in (tmp_path / "p.svg").read_text()
    assert cli("figure", "profile", "--points", "p.json", "--clock", "cpu", "--out", "again.png")[0] == 0
    code, _, err = cli("figure", "profile", "--points", "p.json", "--clock", "sun", "--out", "again.png")
    assert (code, "unknown clock 'sun'" in err) == (2, True)


@pytest.mark.slow
def test_a_curve_ends_at_its_budget_and_goes_on_under_a_larger_one(cli, tmp_path):
    base = ("profile", f"{COSTLY}:Windows", "--frames", "8,200", "--size", "32", "--device", "cpu", "--repeats", "1")
    code, out, _ = cli(*base, "--budget", "1", "--out", "p.csv")
    assert code == 0
    assert "all frames at once, 200 frames: ends here, a pass takes more than 1 s" in out
    code, out, _ = cli(*base, "--budget", "30", "--out", "p.csv")
    assert code == 0
    assert "ends here" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no-such-model",), "unknown model 'no-such-model'"),
        (("pixels", "--frames", "16,many"), "--frames 16,many: expected numbers"),
        (("pixels", "--out", "p.txt"), "ends in .json or .csv"),
        (("pixels", "--figure", "p.pdf"), "ends in .svg or .png"),
        (("rvm-s", "--weights", "missing.npz"), "no such weights file: missing.npz"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(cli, arguments, message):
    code, _, err = cli("profile", *arguments)
    assert code == 2
    assert message in err
