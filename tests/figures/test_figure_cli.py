"""`rvm-bench figure` as a user meets it."""

import sys

import pytest
from finished_runs import write_curve, write_run
from PIL import Image
from reading import read_svg, words


def test_pareto_of_the_paper_alone_and_beside_runs(cli, tmp_path):
    assert cli("figure", "pareto", "--paper", "--out", "paper.svg")[0] == 0
    write_run(tmp_path / "runs", "rvm-s", "davis", 61.5, (55, 66))
    assert cli("figure", "pareto", "--task", "davis", "--out", "both.svg")[0] == 0
    assert "rvm-s" not in words(read_svg((tmp_path / "paper.svg").read_text()))
    assert {"rvm-s", "RVM-S"} <= set(words(read_svg((tmp_path / "both.svg").read_text())))


def test_every_figure_can_be_a_png_that_says_what_it_shows(cli, tmp_path):
    write_curve(tmp_path / "runs", "rvm-s", 1.0)
    assert cli("figure", "stability", "--out", "pictures/stability.png")[0] == 0
    assert cli("figure", "ablation", "--out", "ablation.png")[0] == 0
    with Image.open("pictures/stability.png") as image:
        assert image.size[0] > 900
        assert "rvm-s: 16 frames 100.0" in image.text["Description"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pareto", "--out", "a.pdf"), "a.pdf: expected a name that ends in .svg or .png"),
        (("pareto", "--out", "a.svg", "--task", "davos"), "did you mean davis"),
        (("pareto", "--out", "a.svg", "--runs", "nowhere"), "no finished run in nowhere"),
        (("pareto", "--out", "a.svg", "--paper", "--runs", "runs"), "give either --paper or --runs runs"),
        (("stability", "--out", "a.svg"), "no finished run of davis-stability in runs"),
        (("noise", "--out", "a.svg", "--csv", "iou.csv"), "no such file: iou.csv"),
        (("profile", "--out", "a.svg", "--points", "p.json"), "no such file: p.json"),
    ],
)
def test_mistakes_are_one_line(cli, arguments, message):
    code, _, err = cli("figure", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_without_matplotlib_one_sentence_says_what_to_install(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = cli("figure", "ablation", "--out", "a.svg")
    assert code == 2
    assert "pip install 'rvm-bench[figures]'" in err
