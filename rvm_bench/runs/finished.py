"""Finished runs as the tables, the ledger and the comparisons read them: what was measured, and on what terms."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvm_bench.errors import UserError
from rvm_bench.runs.fingerprint import SCHEMA

if TYPE_CHECKING:
    import pandas as pd
from rvm_bench.formats.files import read_json

FLAGS = {
    "partial": "incomplete videos were left out",
    "random weights": "the network was not trained",
    "weights not stated": "the plug-in does not say where its weights come from",
    "off protocol": "constants differ from the official protocol (result.json names them)",
    "own split": "not exactly the official split",
    "demo data": "procedural videos, no benchmark",
}
"""What sets a number apart from those of the paper, and what it means."""

_DEMO_COPY = re.compile(r"[/\\]demo[/\\][0-9a-f]{12}[/\\][^/\\]+$")
"""Where `data.demo_folder` writes: <cache>/demo/<version>/<folder>."""

PREFERENCE = (
    "real data before demo data, the official protocol and split before others, whole before partial, "
    "float32 before others, and then the newest"
)


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run folder that holds a result.

    Attributes:
        path: the folder.
        result: what its result.json says.
    """

    path: Path
    result: dict[str, Any]

    @property
    def model(self) -> str:
        return self.result["model"]

    @property
    def task(self) -> str:
        return self.result["task"]

    @property
    def stamp(self) -> dict[str, Any]:
        return self.result["stamp"]

    @property
    def card(self) -> dict[str, Any]:
        """The model's card, as it was when the run was made."""
        return self.stamp["encoder"]["card"]

    @property
    def protocol(self) -> dict[str, Any]:
        return self.stamp["task"]["protocol"]

    @property
    def score(self) -> float:
        """The headline number, as the task computes it."""
        return self.result["score"][self.result["metric"]["key"]]

    @property
    def printed(self) -> float:
        """The headline number in the unit it is printed in, with all its digits."""
        return self.score * self.scale

    @property
    def printed_interval(self) -> tuple[float, float] | None:
        """Its 95 % interval in that unit; None for a single video."""
        interval = self.result["interval"]
        return None if interval is None else (interval[0] * self.scale, interval[1] * self.scale)

    @property
    def finished(self) -> str:
        """When it was finished: ISO 8601 in UTC, so that the order of the texts is that of time."""
        return self.stamp["finished"]

    @cached_property
    def flags(self) -> tuple[str, ...]:
        return flags_of(self.result)

    @property
    def weights_sha256(self) -> str | None:
        return self.stamp["encoder"]["weights"]["sha256"]

    @property
    def left_out(self) -> list[str]:
        """What was left out of the score, one line each."""
        found = self.result.get("coverage", self.stamp["data"])
        return found["missing"]

    @property
    def network(self) -> tuple[Any, ...]:
        """What the network is: name, class, weights and options. Runs that differ here are two rows of a table."""
        encoder = self.stamp["encoder"]
        return self.model, encoder["class"], self.weights_sha256, _frozen(encoder["options"])

    @property
    def terms(self) -> dict[str, Any]:
        """On what it was measured, and how: what must agree for two numbers to be comparable."""
        return {"protocol": _frozen(self.protocol), "data": self.stamp["data"]["manifest_sha256"]}

    @property
    def scale(self) -> float:
        """What the stored number is multiplied by when it is printed."""
        return self.result["metric"].get("scale", 1.0)


def flags_of(result: dict[str, Any]) -> tuple[str, ...]:
    """Which of `FLAGS` hold for what a result.json says, in their order. Demo data is not called an own split, too."""
    demo = bool(_DEMO_COPY.search(result["stamp"].get("data_root", "")))
    holds = {
        "partial": result["partial"],
        "random weights": result["random_weights"],
        "weights not stated": result.get("weights_kind") == "not stated",
        "off protocol": bool(result.get("off_protocol")),
        "own split": not result["official_split"] and not demo,
        "demo data": demo,
    }
    return tuple(flag for flag in FLAGS if holds[flag])


def read_run(path: Path) -> FinishedRun:
    """The finished run in a folder.

    Raises:
        UserError: it is no run folder, not finished, or written by another version of the format.
    """
    if not (path / "run.json").is_file():
        raise UserError(f"{path} is not a run folder (no run.json); expected OUT/TASK/MODEL-FINGERPRINT")
    if not (path / "result.json").is_file():
        raise UserError(f"{path} is not finished (no result.json); the same `rvm-bench run` goes on with it")
    result = read_json(path / "result.json")
    if result["stamp"]["schema"] != SCHEMA:
        raise UserError(
            f"{path} was written in format {result['stamp']['schema']}, this version reads {SCHEMA}; "
            "run it again, or read it with the version that its stamp names"
        )
    return FinishedRun(path=path, result=result)


def result_files(runs: Path) -> list[Path]:
    """The result.json of every finished run below a folder, ordered by path; UserError where there is none."""
    found = sorted(runs.glob("*/*/result.json"))
    if not found:
        raise UserError(f"no finished run in {runs}; start one with `rvm-bench run`, or name another --runs")
    return found


def find_runs(runs: Path) -> list[FinishedRun]:
    """Every finished run below a folder, ordered by path.

    Raises:
        UserError: there is none, or one cannot be read.
    """
    return [read_run(file.parent) for file in result_files(runs)]


def load_results(runs: str | Path = "runs") -> "pd.DataFrame":
    """Every finished run below a folder as a table, one row per run; empty where there is none.

    Columns: task, model, metric, value, low, high (95 % interval; in the printed unit `unit`), floor, videos, frames,
    flags (a tuple, see `FLAGS`), dtype, weights_sha256, fingerprint, wall_s (seconds), finished (UTC), path.

    Raises:
        UserError: a run cannot be read.
    """
    import pandas as pd

    files = sorted(Path(runs).glob("*/*/result.json"))
    return pd.DataFrame([_row(read_run(file.parent)) for file in files], columns=list(_COLUMNS))


_COLUMNS = (
    "task", "model", "metric", "value", "low", "high", "unit", "floor", "videos", "frames", "flags", "dtype",
    "weights_sha256", "fingerprint", "wall_s", "finished", "path",
)  # fmt: skip


def _row(run: FinishedRun) -> dict[str, Any]:
    metric = run.result["metric"]
    low, high = run.printed_interval or (None, None)
    floor = run.result["score"].get(metric["floor"])
    return {
        "task": run.task,
        "model": run.model,
        "metric": metric["key"],
        "value": run.printed,
        "low": low,
        "high": high,
        "unit": metric["unit"],
        "floor": None if floor is None else floor * run.scale,
        "videos": run.result["videos"],
        "frames": run.result["frames"],
        "flags": run.flags,
        "dtype": run.stamp["encoder"]["dtype"],
        "weights_sha256": run.weights_sha256,
        "fingerprint": run.stamp["fingerprint"],
        "wall_s": run.stamp["wall_s"],
        "finished": run.finished,
        "path": str(run.path),
    }


def refuse_mixed_versions(runs: Iterable[FinishedRun]) -> None:
    """Raises UserError where runs of one task were made under several versions of its protocol."""
    by_task: dict[str, dict[str, FinishedRun]] = {}
    for run in runs:
        by_task.setdefault(run.task, {}).setdefault(run.protocol["id"], run)
    for task, versions in by_task.items():
        if len(versions) > 1:
            described = ", ".join(f"{version} in {run.path}" for version, run in sorted(versions.items()))
            raise UserError(
                f"runs of {task} were made under {len(versions)} versions of its protocol ({described}); their numbers "
                "do not belong into one table: run the models of the older version again, and move its runs elsewhere"
            )


def chosen_runs(runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], list[str]]:
    """One run for each network and task, and one line for each choice between runs that measured different things.

    Several runs on the same terms and in the same precision are a number measured again: the newest stands, without a
    word. Where terms or precision differ, the rule is `PREFERENCE`.
    """
    groups: dict[tuple[Any, ...], list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault((run.network, run.task), []).append(run)
    chosen, notes = [], []
    for group in groups.values():
        first = _preferred(group)
        chosen.append(first)
        differing = {
            name for run in group for name, value in _kind(run).items() if value != _kind(first)[name]
        }  # fmt: skip
        if differing:
            notes.append(
                f"{first.model} on {first.task}: {len(group)} runs that differ in {' and '.join(sorted(differing))}; "
                f"shown is {first.path} ({PREFERENCE})"
            )
    return chosen, notes


def find_run(name: str, out: Path, task: str | None = None) -> tuple[FinishedRun, list[str]]:
    """The run that a user names, and what is to be said about the choice.

    Args:
        name: a run folder, or the name of a model.
        out: folder of all runs, where a name is looked for.
        task: the task of the run; a folder that holds another is refused. None: whatever the folder holds.

    Raises:
        UserError: no such run, or the name stands for several networks (other weights or options).
    """
    if (Path(name) / "run.json").is_file() or task is None:
        run = read_run(Path(name))
        if task not in (None, run.task):
            raise UserError(f"{name} is a run of {run.task}, not of {task}; name a run of {task}, or leave out --task")
        return run, []
    runs = [run for run in find_runs(out) if run.task == task]
    named = [run for run in runs if run.model == name]
    if not named:
        known = ", ".join(sorted({run.model for run in runs})) or "no model"
        raise UserError(f"no finished run of {name} on {task} in {out} ({known} has one), and no run folder {name}")
    refuse_mixed_versions(named)
    chosen, notes = chosen_runs(named)
    if len(chosen) > 1:
        described = ", ".join(str(run.path) for run in chosen)
        raise UserError(f"{name} was run on {task} with {len(chosen)} weights or options; name one folder: {described}")
    return chosen[0], notes


def _preferred(runs: Sequence[FinishedRun]) -> FinishedRun:
    newest_first = sorted(runs, key=lambda run: run.finished, reverse=True)
    worse = ("demo data", "off protocol", "own split", "partial")
    return min(
        newest_first,
        key=lambda run: (*(flag in run.flags for flag in worse), run.stamp["encoder"]["dtype"] != "float32"),
    )


def _kind(run: FinishedRun) -> dict[str, Any]:
    return {**run.terms, "precision": run.stamp["encoder"]["dtype"]}


def _frozen(value: Any) -> Any:
    """JSON values as something that can be compared and hashed."""
    if isinstance(value, dict):
        return tuple((key, _frozen(value[key])) for key in sorted(value))
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
