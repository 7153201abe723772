"""What the report says, and that nothing in it is run, lost or invented."""

import dataclasses
import html
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from made_runs import HOSTILE, davis_record
from runs_on_disk import write_run

from propagation.tasks.davis import DavisProtocol
from rvm_bench.api.registry import find_task
from rvm_bench.cli.report import gathered
from rvm_bench.errors import UserError
from rvm_bench.report.contents import read_contents
from rvm_bench.report.page import as_data, render, write_report
from rvm_bench.report.pictures import Sources
from rvm_bench.report.reopen import model_of, reopen, worst_videos
from rvm_bench.report.sprites import QUALITIES, Player, fitting, sprite
from rvm_bench.report.stamps import stamp_of
from rvm_bench.runs.finished import read_run
from rvm_bench.tables.comparison import compare_runs

PROTOCOL = json.loads(json.dumps(DavisProtocol().to_dict()))
BAD_VIDEO = "</script><script>alert(2)</script>"


class Reader(HTMLParser):
    """Ids, links, tags and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.links, self.tags = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []


@pytest.fixture
def two_models(tmp_path):
    """Runs of two models on made-up videos, and one of a model with a hostile name on another task."""
    for model, lead in (("good", 0.1), ("poor", 0.0)):
        records = [davis_record(video, 0.5 + lead + 0.05 * i) for i, video in enumerate(("a", BAD_VIDEO, "c"))]
        score = find_task("davis").score(records)["J&F"]
        write_run(tmp_path / "runs", model, score=score, records=records, protocol=PROTOCOL, interval=(40.0, 80.0))
    write_run(tmp_path / "runs", HOSTILE, "vip", 12.3, weights=("random", "r" * 64, ""))
    return tmp_path / "runs"


def page_of(runs, **options):
    return render(gathered(read_contents(runs), **options))[0]


def test_every_number_of_the_table_leads_to_a_stamp_that_is_there(two_models):
    page = page_of(two_models)
    read = Reader(page)
    assert all(link[1:] in read.ids for link in read.links)
    assert len(read.ids) == len(set(read.ids))
    assert sum(link.startswith("#stamp-") for link in read.links) == 3
    assert "40.0 to 80.0" in page
    assert "not run" in page
    assert "<strong>65.0</strong>" in page


def test_what_sets_numbers_apart_is_spelled_out(two_models):
    page = page_of(two_models)
    assert "<strong>random weights</strong>: the network was not trained" in page
    assert "demo data" not in page


def test_text_of_runs_is_text(two_models):
    page = page_of(two_models)
    assert HOSTILE not in page
    assert BAD_VIDEO not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert [tag for tag, _ in Reader(page).tags].count("script") == 2
    data = json.loads(re.search(r'id="data">(.*?)</script>', page).group(1))
    assert data["scatter"]["davis"]["videos"] == ["a", BAD_VIDEO, "c"]


def test_data_in_a_script_element_cannot_end_it():
    value = {"<!--<script>": "</script>&\u2028\u2029"}
    text = as_data(value)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value


def test_differences_are_those_of_compare(two_models):
    (pair,) = gathered(read_contents(two_models)).scatter["davis"]["pairs"]
    good, poor = (read_run(two_models / f"davis/{name}-run") for name in ("good", "poor"))
    paired = compare_runs(good, poor).paired
    assert (pair["difference"], pair["low"], pair["high"], pair["p"]) == (
        paired.difference,
        *paired.interval,
        paired.p_value,
    )
    assert pair["difference"] == pytest.approx(10)
    assert any("fewer than 5 videos" in note for note in pair["notes"])


def test_pairs_that_cannot_be_compared_say_why(two_models):
    write_run(
        two_models,
        "other",
        score=50.0,
        records=[davis_record("a", 0.5)],
        protocol=PROTOCOL | {"topk": 5},
        data="e" * 64,
    )
    pairs = gathered(read_contents(two_models)).scatter["davis"]["pairs"]
    assert sum("different protocols: topk" in pair.get("problem", "") for pair in pairs) == 2


def test_scores_of_single_videos_that_cannot_be_had_are_named(two_models):
    report = gathered(read_contents(two_models))
    assert "vip" not in report.scatter
    (line,) = [line for line in report.problems if line.startswith("vip: no scores of single videos")]
    assert html.escape(line, quote=False)[:60] in render(report)[0]


def test_the_same_runs_give_the_same_bytes(made_runs, made_report):
    report, file, _ = made_report
    contents = read_contents(made_runs)
    again = gathered(contents, sources=Sources(device="cpu"), worst=10, frames=3)
    assert render(again)[0] == render(report)[0] == file.read_text()


def test_the_worst_videos_of_the_best_model_come_first(made_report):
    report, _, said = made_report
    davis = [player for player in report.worst if player.task == "davis"]
    scores = [float(re.search(r"J&F ([\d.]+) %", player.lines[0]).group(1)) for player in davis]
    assert scores == sorted(scores)
    assert len({player.lines[0].split(":")[0] for player in davis}) == 1
    assert all(len(player.sprites) == 1 and len(player.texts) == 3 for player in davis)
    assert not any(player.problem for player in davis)
    assert [line.split(":")[0] for line in said] == [f"features of {HOSTILE}"]
    assert worst_videos({"a": 1, "b": 3, "c": 2}, 2, higher_is_better=True) == ["a", "c"]
    assert worst_videos({"a": 1, "b": 3, "c": 2}, 2, higher_is_better=False) == ["b", "c"]


def test_a_picture_that_cannot_be_made_is_said_in_its_place(made_runs, caplog):
    contents = read_contents(made_runs, models=["pixels"])
    sources = Sources(data=str(made_runs), device="cpu")
    report = gathered(contents, sources=sources)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("davis: no pictures of 3 of 3 videos: ")
    assert all(player.problem and not player.sprites for player in report.worst)
    assert "No pictures: " in render(report)[0]


def test_saved_predictions_are_drawn_and_lacking_ones_named(made_runs, tmp_path):
    contents = read_contents(made_runs, models=["pixels"])
    again = reopen(contents.runs[0], device="cpu")
    assert again.predict("beta", tmp_path / "davis/pixels") == ""
    report = gathered(contents, sources=Sources(predictions=tmp_path, device="cpu"))
    problems = {player.heading: player.problem for player in report.worst}
    assert problems["beta"] == ""
    assert "lacks predictions of this video" in problems["alpha"]


def test_only_the_runs_own_model_and_data_are_taken(made_runs, tmp_path):
    run = read_contents(made_runs, models=["rvm-tiny"]).runs[0]
    assert model_of(run, device="cpu").describe()["weights"] == run.stamp["encoder"]["weights"]
    stamp = json.loads(json.dumps(run.stamp))
    stamp["encoder"]["weights"]["sha256"] = "0" * 64
    other = dataclasses.replace(run, result=run.result | {"stamp": stamp})
    with pytest.raises(UserError, match="differs from the run's in weights"):
        model_of(other, device="cpu")
    stamp["data"]["manifest_sha256"] = "0" * 64
    with pytest.raises(UserError, match="does not hold the data of the run"):
        reopen(other)


def test_pictures_are_made_smaller_and_then_left_out_until_they_fit():
    noise = np.random.default_rng(0).integers(0, 256, (4, 200, 600, 3), dtype=np.uint8)
    players = [Player(heading=str(i), task="t", sprites=(sprite("x", list(noise)),)) for i in range(3)]
    sizes = [players[0].bytes_at(quality) for quality in range(len(QUALITIES))]
    assert sizes == sorted(sizes, reverse=True)
    assert fitting(players, 3 * sizes[0])[0] == 0
    quality, kept, lost = fitting(players, 3 * sizes[1])
    assert (quality, kept) == (1, players)
    assert "pictures are kept at 360 px" in lost
    quality, kept, lost = fitting(players, 2 * sizes[-1])
    assert [bool(player.sprites) for player in kept] == [True, True, False]
    assert "left out to stay below" in kept[2].problem


def test_the_limit_holds_and_an_old_report_survives_a_failure(made_report, tmp_path):
    report, file, _ = made_report
    limit = file.stat().st_size - 2000
    small = tmp_path / "r.html"
    assert write_report(report, small, limit)
    assert small.stat().st_size <= limit
    before = small.read_bytes()
    with pytest.raises(UserError, match="MB without pictures"):
        write_report(report, small, 1000)
    assert small.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_a_stamp_says_all_that_its_run_wrote_down(made_runs):
    contents = read_contents(made_runs)
    run, name = contents.run_of("rvm-tiny", "davis"), "rvm-tiny"
    stamp = stamp_of(run, name)
    told = "\n".join(f"{key}: {value}" for key, value in stamp.facts)
    for value in (
        run.weights_sha256,
        run.protocol["id"],
        run.stamp["data"]["manifest_sha256"],
        run.stamp["fingerprint"],
        run.stamp["code_sha256"],
        run.stamp["environment"]["processor"],
        run.finished,
    ):
        assert value in told
    assert "--weights random" in stamp.command
    assert "--set input_height_px=64" in stamp.command


def test_on_the_command_line(cli, two_models):
    code, out, err = cli("report", "--no-pictures", "--out", "folder/r.html")
    assert (code, out.split(":")[0]) == (0, "folder/r.html")
    assert "vip: no scores of single videos" in err
    assert cli("report", "--models", "good", "--task", "davis", "--no-pictures", "--worst", "0")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--runs", "nowhere"), "no finished run in nowhere"),
        (("--models", "godo"), "did you mean good"),
        (("--task", "davos"), "did you mean davis?"),
        (("--models", "good", "--task", "vip"), "good on vip"),
        (("--out", "r.pdf"), "expected a name that ends in .html"),
        (("--worst-of", "best"), "expected one of"),
        (("--weights", "good"), "expected NAME=FILE"),
        (("--weights", "good=w.npz"), "no such file: w.npz"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(cli, two_models, tmp_path, arguments, message):
    code, _, err = cli("report", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_versions_of_a_protocol_are_not_mixed(cli, two_models):
    write_run(two_models, "older", protocol={"id": "davis-2017-val/0"})
    code, _, err = cli("report")
    assert code == 2
    assert "2 versions of its protocol" in err


def test_without_matplotlib_one_sentence_says_what_to_install(cli, two_models, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = cli("report")
    assert code == 2
    assert "pip install 'rvm-bench[report]'" in err
