"""Tables say what was measured, and set the paper's number only beside what it can be compared with."""

import csv
import io
import json

import pytest

from rvm_bench.tables.published import published_row, published_score
from rvm_bench.tables.run_list import as_csv, as_markdown, as_text, run_rows


def result(model="rvm-l", score=65.4321, **changes):
    return {
        "model": model,
        "task": "davis",
        "metric": {"key": "J&F", "unit": "%", "higher_is_better": True, "floor": "first_mask J&F"},
        "score": {"J&F": score, "first_mask J&F": 30.0},
        "interval": [60.0, 70.0],
        "videos": 30,
        "frames": 1999,
        "partial": False,
        "official_split": True,
        "random_weights": False,
        "stamp": {
            "encoder": {"dtype": "float32", "card": {"published": "RVM-L"}},
            "wall_s": 1.5,
            "finished": "2026-01-01",
            "fingerprint": "0" * 64,
        },
    } | changes


@pytest.fixture
def rows(tmp_path):
    def make(*results):
        files = [tmp_path / f"{number}.json" for number in range(len(results))]
        for file, content in zip(files, results, strict=True):
            file.write_text(json.dumps(content))
        return run_rows(files)

    return make


def test_the_published_tables_are_read_by_the_papers_names():
    assert published_score("RVM-L", "davis") == 66.0
    assert published_score("RVM-S", "vip") == 35.9
    assert published_score("4DS-L", "davis") is None
    assert published_score("", "davis") is None
    assert published_row("4DS-B (dist from e)")["table"] == "Table 2"


def test_the_best_comes_first_and_lower_is_better_turns_the_order(rows):
    assert [row["model"] for row in rows(result("a", 1.0), result("b", 2.0))] == ["b", "a"]
    lower = {"key": "J&F", "unit": "%", "higher_is_better": False, "floor": ""}
    assert [row["model"] for row in rows(result("a", 1.0, metric=lower), result("b", 2.0, metric=lower))] == ["a", "b"]


def test_the_papers_number_stands_only_beside_a_comparable_score(rows):
    assert rows(result())[0]["paper"] == 66.0
    for flag in ({"partial": True}, {"official_split": False}, {"random_weights": True}):
        assert rows(result(**flag))[0]["paper"] is None


def test_csv_keeps_all_digits_and_text_rounds(rows):
    table = rows(result())
    assert next(csv.DictReader(io.StringIO(as_csv(table))))["score"] == "65.4321"
    assert "65.4" in as_text(table)
    assert "65.43" not in as_text(table)
    assert "60.0 to 70.0" in as_markdown(table)


def test_flags_are_explained_below_the_table(rows):
    text = as_text(rows(result(random_weights=True, partial=True)))
    assert "partial; random weights" in text
    assert "random weights: the network was not trained" in text
    assert "own split:" not in text


def test_a_single_video_has_no_interval(rows):
    row = rows(result(interval=None))[0]
    assert (row["low"], row["high"]) == (None, None)
    assert "None" not in as_text([row])
