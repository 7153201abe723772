"""One point measured on encoders of known cost, and processes that go beyond their limits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rvm_bench.profiling import worker
from rvm_bench.profiling.limits import OVER_MEMORY, OVER_TIME, Limits
from rvm_bench.profiling.memory import MemoryMeter
from rvm_bench.profiling.points import AT_ONCE, STREAM
from rvm_bench.profiling.request import Request, Subject

COSTLY = Path(__file__).with_name("costly.py")
STEP_S, STEP_MB = 0.004, 3
ROOMY = Limits(pass_s=60, memory_mb=None)

needs_memory = pytest.mark.skipif(not MemoryMeter().available, reason="peak memory cannot be measured anew here")


def cost(name, frames, way=STREAM, what="time", **more):
    subject = Subject(model=f"{COSTLY}:{name}", device="cpu")
    request = Request(subject=subject, what=what, way=way, frames=frames, size_px=32, **{"limits": ROOMY, **more})
    return {"time": worker.time_cost, "memory": worker.memory_cost}[what](request)


def test_time_holds_every_frame_and_the_spread_of_passes():
    found = cost("Steady", 6, repeats=3)
    assert found["passes"] == 3
    assert 6 * STEP_S <= found["wall_low_s"] <= found["wall_s"] <= found["wall_high_s"]
    # Asleep it uses no processor.
    assert found["cpu_high_s"] < found["wall_low_s"]


@needs_memory
def test_memory_is_what_the_state_holds_above_model_and_video():
    few, many = (cost("Hoarder", frames, what="memory")["peak_mb"] for frames in (4, 20))
    assert many - few == pytest.approx(16 * STEP_MB, abs=3)
    assert cost("Steady", 20, what="memory")["peak_mb"] < 2 * STEP_MB


def test_all_frames_at_once_are_one_clip():
    assert cost("Windows", 40, AT_ONCE)["wall_low_s"] >= 40**2 * 5e-5
    assert cost("Windows", 40, STREAM)["wall_low_s"] >= 5 * 8**2 * 5e-5


def test_an_architecture_of_one_length_is_told_apart_from_a_failure():
    for what in ("time", "memory"):
        assert "positions for 8 frames only" in cost("Rigid", 16, AT_ONCE, what)["stopped"]
    assert "stopped" not in cost("Rigid", 16, STREAM)


def test_no_pass_is_begun_that_would_not_end_in_time():
    found = cost("Steady", 100, repeats=50, limits=Limits(pass_s=1.0, memory_mb=None))
    assert 1 <= found["passes"] <= 2


def test_facts_say_what_is_measured_and_how_it_can_be():
    found = worker.facts(Request(subject=Subject(model=f"{COSTLY}:Windows", device="cpu"), what="facts"))
    assert found["ways"] == (STREAM, AT_ONCE)
    assert (found["model"], found["kind"], found["device"], found["weights"]) == (
        "windows",
        "clip",
        "cpu",
        "not stated",
    )


@pytest.mark.parametrize(
    ("limits", "code", "why"),
    [
        ("pass_s=0.2, memory_mb=None", OVER_TIME, "more than 0.2 s"),
        pytest.param("pass_s=60, memory_mb=50", OVER_MEMORY, "more than 50 MB", marks=needs_memory),
    ],
)
def test_a_process_beyond_its_limits_ends_and_the_code_says_why(limits, code, why):
    program = f"""
import time
from rvm_bench.profiling.limits import Limits, enforced
from rvm_bench.profiling.memory import MemoryMeter
meter = MemoryMeter()
meter.restart()
with enforced(Limits({limits}), meter):
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(30)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == code
    assert why in eval(f"Limits({limits})").reason(code)


def test_a_mistake_is_an_answer(tmp_path, monkeypatch):
    request = {"subject": {"model": "no-such-model"}, "what": "facts", "limits": None}
    (tmp_path / "q.json").write_text(json.dumps(request))
    monkeypatch.setattr(sys, "argv", ["worker", str(tmp_path / "q.json"), str(tmp_path / "a.json")])
    worker.main()
    assert "unknown model" in json.loads((tmp_path / "a.json").read_text())["mistake"]
