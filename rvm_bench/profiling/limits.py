"""What a point may cost. A pass that goes beyond ends its process, whatever it is in the middle of.

A thread watches, since nothing else can stop an encoder inside a single call; torch lets it run during one.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rvm_bench.profiling.memory import MemoryMeter

OVER_TIME, OVER_MEMORY = 83, 84
"""Exit codes of a process that went beyond a limit."""

WATCH_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Attributes:
    pass_s: seconds of one pass over the video.
    memory_mb: memory above model and input, in MB; None: no limit.
    """

    pass_s: float
    memory_mb: float | None

    def reason(self, exit_code: int) -> str:
        """Why a process that ended with this code has no result; "" where no limit is the reason."""
        if exit_code == OVER_TIME:
            return f"a pass takes more than {self.pass_s:g} s"
        if exit_code == OVER_MEMORY:
            return f"it needs more than {self.memory_mb:.0f} MB above model and input"
        if exit_code == -9:
            return "the system killed it, as it does when memory runs out"
        return ""


@contextlib.contextmanager
def enforced(limits: Limits, meter: MemoryMeter) -> Iterator[None]:
    """Ends this process with `OVER_TIME` or `OVER_MEMORY` when what is done inside goes beyond the limits."""
    done = threading.Event()
    start = time.perf_counter()

    def watch() -> None:
        while not done.wait(WATCH_S):
            if time.perf_counter() - start > limits.pass_s:
                os._exit(OVER_TIME)
            if limits.memory_mb is not None and meter.now_mb() > limits.memory_mb:
                os._exit(OVER_MEMORY)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
