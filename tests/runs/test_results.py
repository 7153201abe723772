"""`evaluate` with names and lists, and its results as rows, text and HTML."""

import json

import pytest
from layouts import the_run
from toys import Ones, ToyTask

import rvm_bench
from rvm_bench.api.task import Metric
from rvm_bench.errors import UserError
from rvm_bench.runs.engine import _overrides, evaluate
from rvm_bench.runs.results import Result, Results


@pytest.fixture
def numbers(tmp_path):
    folder = tmp_path / "TOY"
    folder.mkdir()
    for name, value in {"a": 1, "b": 2, "c": 6}.items():
        (folder / f"{name}.txt").write_text(str(value))
    return folder


def result(**changes):
    facts = {
        "model": "m",
        "task": "t",
        "score": {"acc": 0.5},
        "headline": Metric(key="acc", label="accuracy", scale=100),
        "interval": (0.25, 0.75),
        "records": [{}, {}],
        "remaining": (),
    }
    return Result(**(facts | changes), path="runs/t/m")


def test_a_pair_gives_a_result_and_lists_give_results_models_outermost(tmp_path, numbers):
    one = evaluate(Ones(), ToyTask(), data=numbers, out=tmp_path)
    assert isinstance(one, Result)
    some = evaluate([Ones(), Ones(level=2.0)], [ToyTask()], data=numbers, out=tmp_path)
    assert isinstance(some, Results)
    assert [found.value for found in some] == [6.0, 12.0]
    assert some[0].path == one.path
    assert isinstance(evaluate(Ones(), [ToyTask()], data=numbers, out=tmp_path), Results)


def test_a_row_is_in_the_printed_unit():
    frame = Results([result(), result(interval=None, score={}, remaining=("v",))]).to_frame()
    assert frame.loc[0, ["value", "low", "high"]].tolist() == [50.0, 25.0, 75.0]
    assert frame.loc[1, ["value", "low", "high"]].isna().all()
    assert frame["remaining"].tolist() == [0, 1]
    assert list(Results([]).to_frame().columns) == list(frame.columns)


def test_a_result_is_short_as_text_and_escaped_as_html():
    assert repr(result()) == "<Result m on t: acc 50.0 [25.0, 75.0] %, 2 videos>"
    assert repr(Results([result()] * 2)).splitlines()[0] == "<Results: 2>"
    html = result(model="<b>")._repr_html_()
    assert "<td>&lt;b&gt;</td>" in html
    assert "25.0 to 75.0" in html
    assert "not finished" in result(score={}, remaining=("v",))._repr_html_()


@pytest.mark.parametrize("set", [{"topk": 5}, ["topk=5"], "topk=5"], ids=["dict", "list", "text"])
def test_constants_of_a_task_given_by_name_are_set(davis_copy, tmp_path, set):
    evaluate("pixels", "davis", data=davis_copy, out=tmp_path / "runs", set=set, device="cpu")
    stored = json.loads((the_run(tmp_path / "runs") / "result.json").read_text())
    assert stored["off_protocol"] == {"topk": [7, 5]}
    (row,) = rvm_bench.load_results(tmp_path / "runs").to_dict("records")
    assert (row["model"], row["task"], row["metric"]) == ("pixels", "davis", "J&F")
    assert row["low"] <= row["value"] <= row["high"]


def test_a_tuple_of_a_protocol_can_be_set_in_python():
    assert _overrides({"alphas": (0.1, 0.2), "topk": 5}) == ["alphas=0.1,0.2", "topk=5"]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("pixels", "davis"), {"set": {"topq": 5}}, "did you mean topk"),
        (("pixels", "davis"), {"set": "topq=5"}, "did you mean topk"),
        (("pixels", "davis"), {"protocol": "dinho"}, "did you mean dino"),
        (("pixels", "dvis"), {}, "did you mean davis"),
        ((["pixels", "pxels"], "davis"), {}, "did you mean pixels"),
        (("pixels", ToyTask()), {"set": {"factor": 3}}, "apply to tasks given by name"),
        ((Ones(), "davis"), {"dtype": "bfloat16"}, "apply to encoders given by name"),
    ],
)
def test_a_wrong_argument_is_one_line_before_anything_is_evaluated(davis_copy, tmp_path, arguments, options, message):
    with pytest.raises(UserError, match=message) as error:
        evaluate(*arguments, data=davis_copy, out=tmp_path / "runs", **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()
