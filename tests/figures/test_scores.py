"""Scores of the paper and of runs, and the averages over them."""

import math

import pytest
from finished_runs import write_run

from rvm_bench.errors import UserError
from rvm_bench.figures.scores import AXES, Score, left_out, measured, normalized, published
from rvm_bench.runs.finished import find_runs
from rvm_bench.tables.columns import COLUMNS, normalized_average
from rvm_bench.tables.paper_table import published_best
from rvm_bench.tables.published import published_table

WHOLE = {"ssv2": 59.7, "kinetics": 49.6, "waymo": 70.5, "perception_test": 76.5}
WHOLE |= {"scannet": 0.97, "davis": 62.9, "jhmdb": 47.5, "vip": 35.9}


def column(task):
    return next(column for column in COLUMNS if column.task == task)


def test_averages_are_those_of_the_tables():
    averages = {model.name: model.score.value for model in published("average")}
    for table in ("Table 1", "Table 2"):
        for row in published_table(table):
            expected = normalized_average(row.scores, published_best())
            assert averages.get(row.model) == (None if expected is None else pytest.approx(expected))
            # The one that lies on a rounding edge is a digit off at most.
            assert row.average is None or abs(averages[row.model] - row.average) < 0.051


def test_every_column_and_average_has_an_axis_and_a_row_without_a_number_has_none():
    assert set(AXES) == {*(column.task for column in COLUMNS), "average", "video", "spatial"}
    assert "4DS-L" not in {m.name for m in published("davis")}
    assert "4DS-L" in {m.name for m in published("video")}
    with pytest.raises(UserError, match="unknown column 'davos'; did you mean davis"):
        published("davos")


def test_less_is_better_only_for_depth():
    best = published_best()
    assert normalized({"scannet": Score(value=2 * best["scannet"])}, (column("scannet"),)).value == pytest.approx(50)
    assert normalized({"davis": Score(value=best["davis"] / 2)}, (column("davis"),)).value == pytest.approx(50)


def test_an_average_has_the_interval_of_a_sum_of_independent_numbers():
    best, both = published_best(), (column("davis"), column("scannet"))
    davis = Score(value=best["davis"], interval=(0.9 * best["davis"], 1.1 * best["davis"]))
    depth = Score(value=best["scannet"], interval=(best["scannet"] / 1.1, best["scannet"] / 0.9))
    found = normalized({"davis": davis, "scannet": depth}, both)
    assert found.value == pytest.approx(100)
    half = 10 * math.sqrt(2) / 2
    assert found.interval == pytest.approx((100 - half, 100 + half))
    assert normalized({"davis": davis, "scannet": Score(value=1.0)}, both).interval is None


def test_a_run_of_every_column_has_an_average_and_the_newest_counts(tmp_path):
    for task, value in WHOLE.items():
        scale = 10 if task == "scannet" else 1
        write_run(tmp_path, "rvm-s", task, value, (0.9 * value, 1.1 * value), scale=scale)
    write_run(tmp_path, "rvm-s", "davis", 12.0, finished="2020-01-01")
    write_run(tmp_path, "dinov2-s", "davis", 60.0)
    (found,) = measured("average", tmp_path)
    (paper,) = (m for m in published("average") if m.name == "RVM-S")
    assert found.score.value == pytest.approx(paper.score.value)
    assert found.score.interval[0] < found.score.value < found.score.interval[1]
    assert (found.origin, found.params_m, found.row, found.remarks) == ("run", 34, "RVM-S", ())
    assert {m.name: m.score.value for m in measured("davis", tmp_path)} == {"rvm-s": 62.9, "dinov2-s": 60.0}
    runs = find_runs(tmp_path)
    assert left_out("davis", runs) == []
    lacking = "SSv2, Kinetics, Waymo, PT, ScanNet, JHMDB, VIP"
    assert left_out("average", runs) == [f"dinov2-s was not run on {lacking}: left out"]


def test_what_is_not_on_the_papers_terms_says_so_and_networks_are_told_apart(tmp_path):
    write_run(tmp_path, "rvm-s", "davis", 20.0, random_weights=True, weights="1" * 64, folder="one")
    write_run(tmp_path, "rvm-s", "davis", 60.0, weights="2" * 64, folder="two")
    found = {m.name: m.remarks for m in measured("davis", tmp_path)}
    assert found == {"rvm-s (11111111)": ("random weights",), "rvm-s (22222222)": ()}


def test_two_networks_of_one_model_do_not_make_up_for_one_another(tmp_path):
    for number, column in enumerate(COLUMNS):
        write_run(tmp_path, "rvm-s", column.task, 50.0, weights=str(1 + number % 2) * 64)
    assert measured("average", tmp_path) == []
    lines = left_out("average", find_runs(tmp_path))
    assert {line.split(" was ")[0] for line in lines} == {"rvm-s (11111111)", "rvm-s (22222222)"}
    assert all(len(line.split(", ")) == 4 for line in lines)


def test_a_folder_without_runs_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match="no finished run in"):
        measured("davis", tmp_path)
