"""Which points are measured, kept and reused: the worker is replaced by one that only counts."""

import pytest

from rvm_bench.errors import UserError
from rvm_bench.profiling import curves
from rvm_bench.profiling.curves import SavedPoints, measure
from rvm_bench.profiling.points import AT_ONCE, STREAM, Point, read_points, write_points
from rvm_bench.profiling.request import Subject

FACTS = {
    "published": "",
    "family": "toy",
    "kind": "clip",
    "weights": "random",
    "weights_sha256": "abc",
    "device": "cpu",
    "dtype": "float32",
    "threads": 1,
    "processor": "a processor",
    "torch": "2.13.0",
}
COST = {
    "passes": 2,
    "wall_s": 0.1 + 0.2,
    "wall_low_s": 0.25,
    "wall_high_s": 1 / 3,
    "cpu_s": 0.2,
    "cpu_low_s": 0.2,
    "cpu_high_s": 0.2,
}
MEMORY = {"peak_mb": 12.5, "gflop_per_frame": None}


@pytest.fixture
def asked(monkeypatch):
    """What the worker was asked to measure; `limit` frames at once are too many for it."""
    calls = []

    def ask(request):
        if request.what == "facts":
            return {"ways": (STREAM, AT_ONCE), "model": request.subject.model, **FACTS}
        if request.what == "memory":
            return MEMORY
        calls.append((request.subject.model, request.way, request.frames))
        if request.way == AT_ONCE and request.frames * 0.1 > request.limits.pass_s:
            return {"stopped": "too long"}
        return COST

    monkeypatch.setattr(curves, "_ask", ask)
    return calls


def profile(file, frames=(8, 16, 32, 64), models=("a", "b"), **more):
    subjects = [Subject(model=model) for model in models]
    terms = {"size_px": 64, "repeats": 2, "pass_limit_s": 2, **more}
    return list(measure(subjects, frames, saved=SavedPoints(file), **terms))


def test_a_curve_ends_where_it_exceeds_a_limit_and_the_next_begins(asked):
    points = profile(None)
    assert asked == [
        (model, way, n)
        for model in ("a", "b")
        for way, counts in ((STREAM, (8, 16, 32, 64)), (AT_ONCE, (8, 16, 32)))
        for n in counts
    ]
    assert [(p.model, p.frames) for p in points if p.stopped] == [("a", 32), ("b", 32)]


@pytest.mark.parametrize("name", ["points.json", "points.csv"])
def test_what_is_finished_is_kept_and_not_measured_again(asked, tmp_path, name):
    file = tmp_path / name
    killed = measure(
        [Subject(model="a"), Subject(model="b")],
        (8, 16, 32, 64),
        size_px=64,
        repeats=2,
        pass_limit_s=2,
        saved=SavedPoints(file),
    )
    for _ in range(5):
        next(killed)
    killed.close()
    assert len(read_points(file)) == len(asked) == 5
    done = list(asked)
    asked.clear()
    points = profile(file)
    assert not set(asked) & set(done)
    assert len(asked) == len(points) - 5
    asked.clear()
    assert profile(file) == points == read_points(file)
    assert asked == []


def test_a_larger_budget_measures_what_was_too_long(asked, tmp_path):
    file = tmp_path / "points.json"
    profile(file, models=["a"])
    asked.clear()
    points = profile(file, models=["a"], pass_limit_s=100)
    assert asked == [("a", AT_ONCE, 32), ("a", AT_ONCE, 64)]
    assert not any(point.stopped for point in points)


def test_points_on_other_terms_are_not_taken_for_these(asked, tmp_path):
    file = tmp_path / "points.csv"
    profile(file, frames=[8])
    with pytest.raises(UserError, match="size_px 64, now it is 32; name another --out"):
        profile(file, frames=[8], size_px=32)


def test_a_file_of_something_else_is_refused(tmp_path):
    for name, content in (("a.json", "{}"), ("b.json", '[{"frames": 1}]'), ("c.csv", "frames,way\nmany,stream\n")):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match="holds"):
            SavedPoints(tmp_path / name)
    with pytest.raises(UserError, match=r"\.json or \.csv"):
        SavedPoints(tmp_path / "points.txt")


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_points_come_back_as_they_were(tmp_path, suffix):
    base = Point(
        model="m, v2", way=STREAM, frames=8, size_px=64, options='{"a": "b"}', repeats=2, pass_limit_s=60, **FACTS
    )
    points = [base, Point(**{**vars(base), **COST, **MEMORY, "frames": 16, "memory_limit_mb": 512.0}), base]
    file = tmp_path / f"points{suffix}"
    write_points(file, points)
    assert read_points(file) == points


def test_a_worker_that_ends_otherwise_is_an_error_that_names_the_point(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("def build():\n    raise RuntimeError('out of order')\n")
    with pytest.raises(UserError, match=r"broken\.py:build: its process ended with code 1"):
        list(
            measure(
                [Subject(model=f"{broken}:build")], [8], size_px=32, repeats=1, pass_limit_s=9, saved=SavedPoints(None)
            )
        )
