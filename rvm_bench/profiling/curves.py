"""The points of several models, measured one after the other, each in a process of its own, and kept as they come."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from rvm_bench.errors import UserError
from rvm_bench.profiling.limits import Limits
from rvm_bench.profiling.points import Point, check_suffix, read_points, write_points
from rvm_bench.profiling.request import Request, Subject


class SavedPoints:
    """The finished points of a file, in the order in which they were measured.

    Args:
        file: .json or .csv; None: points are not saved.

    Raises:
        UserError: the file is there and holds something else.
    """

    def __init__(self, file: Path | None) -> None:
        if file is not None:
            check_suffix(file)
        self._file = file
        found = read_points(file) if file is not None and file.exists() else []
        self._points = {point.place: point for point in found}

    def find(self, wanted: Point) -> Point | None:
        """The finished point that stands where this one would.

        Raises:
            UserError: it was measured on other terms.
        """
        found = self._points.get(wanted.place)
        if found is None:
            return None
        if term := wanted.same_terms(found):
            if found.stopped and term in ("pass_limit_s", "memory_limit_mb"):
                return None
            raise UserError(
                f"{self._file} holds {found.frames} frames of {found.model} with {term} "
                f"{getattr(found, term) or 'none'}, now it is {getattr(wanted, term) or 'none'}; name another --out"
            )
        return found

    def add(self, point: Point) -> None:
        self._points[point.place] = point
        if self._file is not None:
            write_points(self._file, self._points.values())

    def finish(self, **more: Any) -> None:
        """Puts what follows from the points beside them, where the format has room for it."""
        if self._file is not None:
            write_points(self._file, self._points.values(), **more)


def measure(
    subjects: Sequence[Subject],
    frames: Sequence[int],
    *,
    size_px: int,
    repeats: int,
    pass_limit_s: float,
    memory_limit_mb: float | None = None,
    saved: SavedPoints,
    tell: Callable[[Point], object] = lambda point: None,
) -> Iterator[Point]:
    """Every point of every curve, in order; a curve ends at the first point that goes beyond a limit.

    Args:
        subjects: what to measure.
        frames: numbers of frames, ascending.
        size_px: side of the frames.
        repeats: passes per point, at most.
        pass_limit_s, memory_limit_mb: what a point may cost; see `limits.Limits`. None: most of what is free.
        saved: finished points are taken from there, and new ones are added.
        tell: called with what is about to be measured.

    Raises:
        UserError: a mistake in what was asked for, or a model that fails on a video.
    """
    limits = Limits(pass_s=pass_limit_s, memory_mb=memory_limit_mb)
    for subject in subjects:
        facts = _ask(Request(subject=subject, what="facts"))
        for way in facts.pop("ways"):
            for count in frames:
                wanted = Point(
                    **facts,
                    way=way,
                    frames=count,
                    size_px=size_px,
                    options=json.dumps(subject.options, sort_keys=True),
                    repeats=repeats,
                    pass_limit_s=pass_limit_s,
                    memory_limit_mb=memory_limit_mb,
                )
                point = saved.find(wanted)
                if point is None:
                    tell(wanted)
                    point = dataclasses.replace(wanted, **_cost(subject, wanted, limits))
                    saved.add(point)
                yield point
                if point.stopped:
                    break


def _cost(subject: Subject, wanted: Point, limits: Limits) -> dict[str, Any]:
    """Memory and time of a point, or why one of them was not measured."""
    found: dict[str, Any] = {}
    kinds: tuple[Literal["memory", "time"], ...] = ("memory", "time")
    for what in kinds:
        request = Request(
            subject=subject,
            what=what,
            way=wanted.way,
            frames=wanted.frames,
            size_px=wanted.size_px,
            repeats=wanted.repeats,
            limits=limits,
        )
        answer = _ask(request)
        if "stopped" in answer:
            return answer
        found |= answer
    return found


def _ask(request: Request) -> dict[str, Any]:
    """What a worker answers."""
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        question.write_text(json.dumps(dataclasses.asdict(request)))
        command = [sys.executable, "-m", "rvm_bench.profiling.worker", str(question), str(answer)]
        # What a model prints must not come between our lines.
        code = subprocess.run(command, stdout=subprocess.DEVNULL, env={**os.environ, **request.environment}).returncode
        found: dict[str, Any] = json.loads(answer.read_text()) if answer.exists() else {}
    if code == 0 and "mistake" not in found:
        return found
    if request.limits is not None and (reason := request.limits.reason(code)):
        return {"stopped": reason}
    where = f"{request.subject.model} on {request.frames} frames" if request.frames else request.subject.model
    raise UserError(f"{where}: {found.get('mistake') or f'its process ended with code {code}; its error stands above'}")
