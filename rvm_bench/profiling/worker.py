"""One measurement in a process of its own: `python -m rvm_bench.profiling.worker REQUEST ANSWER`, both JSON.

A process of its own, because memory that an earlier measurement freed would hide what the next one needs, and because a
measurement beyond its limits can only be ended with its process. Time and memory are measured in two: memory is exact
only where every large block goes back to the system as soon as it is freed, and that costs time.
"""

import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rvm_bench.api.encoder import Encoder
from rvm_bench.errors import UserError
from rvm_bench.profiling.flops import NotCounted, count_flops
from rvm_bench.profiling.limits import Limits, enforced
from rvm_bench.profiling.memory import MemoryMeter, available_mb
from rvm_bench.profiling.points import STREAM
from rvm_bench.profiling.request import Request
from rvm_bench.profiling.ways import consume, kind_of, period_of, prepared, ways_of
from rvm_bench.runs.stamp import environment

MEMORY_SHARE = 0.8
"""Of the memory that is free when a measurement starts, where no limit is set: no machine should start to swap."""


def facts(request: Request) -> dict[str, Any]:
    """What a point says of the model and the machine, and in which ways the model can be measured."""
    encoder = request.subject.load()
    around = environment(encoder.device.type)
    return {
        "ways": ways_of(encoder),
        "model": encoder.card.name,
        "published": encoder.card.published,
        "family": encoder.card.family,
        "kind": kind_of(encoder),
        "weights": encoder.provenance.kind,
        "weights_sha256": encoder.weights_sha256() or "",
        "device": str(encoder.device),
        "dtype": str(encoder.dtype).removeprefix("torch."),
        "threads": around["threads"],
        "processor": around["accelerator"] or around["processor"],
        "torch": torch.__version__,
    }


def time_cost(request: Request) -> dict[str, Any]:
    """Time of encoding one video, median and spread over passes, or why the model cannot take it in this way.

    Another pass is begun only while it should end within the time that one pass may take.
    """
    limits, passes = _limits(request), _Passes(request)
    while len(passes.wall_s) < request.repeats and passes.seconds_after_next <= limits.pass_s:
        if why := passes.make(limits):
            return {"stopped": why}
    return {"passes": len(passes.wall_s), **_spread("wall", passes.wall_s), **_spread("cpu", passes.cpu_s)}


def memory_cost(request: Request) -> dict[str, Any]:
    """Peak memory of encoding one video and its FLOPs, or why the model cannot take it in this way.

    The peak is that of the memory in use only in the environment that `Request.environment` gives.
    """
    passes = _Passes(request)
    if why := passes.make(_limits(request)):
        return {"stopped": why}
    return {"peak_mb": passes.meter.peak_mb(), "gflop_per_frame": _gflop_per_frame(passes.encoder, request)}


class _Passes:
    """An encoder and its video, ready to be timed: a first stretch was encoded, so that code and weights were used."""

    def __init__(self, request: Request) -> None:
        self.encoder = request.subject.load()
        shape = (request.frames, request.size_px, request.size_px, 3)
        self._video = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self._way = request.way
        self.meter = MemoryMeter(self.encoder.device)
        self.wall_s: list[float] = []
        self.cpu_s: list[float] = []
        self.meter.restart()
        with enforced(_limits(request), self.meter):
            consume(self.encoder, self._video[: period_of(self.encoder)])
        self._taken = prepared(self.encoder, request.way, request.frames)

    @property
    def seconds_after_next(self) -> float:
        """How long all passes will have taken after another one."""
        return sum(self.wall_s) + max(self.wall_s, default=0.0)

    def make(self, limits: Limits) -> str:
        """One pass over the video; returns why it cannot be made, or ""."""
        self.meter.restart()
        with enforced(limits, self.meter):
            cpu, wall = time.process_time(), time.perf_counter()
            try:
                consume(self._taken, self._video)
            except (UserError, ValueError, RuntimeError) as error:
                if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
                    return "memory ran out"
                if self._way == STREAM:
                    raise
                return f"not in its architecture: {str(error).splitlines()[0]}"
            if self.encoder.device.type == "cuda":
                torch.cuda.synchronize()
            self.wall_s.append(time.perf_counter() - wall)
            self.cpu_s.append(time.process_time() - cpu)
        return ""


def _limits(request: Request) -> Limits:
    """The limits of a request; where it sets none to memory, most of what is free."""
    assert request.limits is not None
    free = available_mb(request.subject.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if request.limits.memory_mb is not None or free is None:
        return request.limits
    return dataclasses.replace(request.limits, memory_mb=MEMORY_SHARE * free)


def _spread(clock: str, seconds: list[float]) -> dict[str, float]:
    return {f"{clock}_s": statistics.median(seconds), f"{clock}_low_s": min(seconds), f"{clock}_high_s": max(seconds)}


def _gflop_per_frame(encoder: Encoder, request: Request) -> float | None:
    try:
        return count_flops(encoder, request.way, request.frames, request.size_px) / request.frames / 1e9
    except NotCounted as error:
        print(f"FLOPs of {encoder.card.name} are not counted: {error}", file=sys.stderr)
        return None


def main() -> None:
    request_file, answer_file = map(Path, sys.argv[1:])
    request = Request.read(request_file)
    try:
        answer = {"facts": facts, "time": time_cost, "memory": memory_cost}[request.what](request)
    except UserError as error:
        answer = {"mistake": str(error)}
    answer_file.write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
