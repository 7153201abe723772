"""Which runs a report is about, and what each network is called in it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from rvm_bench.errors import unknown_name
from rvm_bench.runs.finished import FinishedRun, chosen_runs, find_runs, refuse_mixed_versions
from rvm_bench.tables.columns import COLUMNS
from rvm_bench.tables.run_table import network_names


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The runs of a report.

    Attributes:
        runs: one for each network and task, by task in the order of the paper's columns (others behind them) and then
            by size and name.
        names: what the network of each of them is called: the model's name, and what tells it from its namesakes.
        notes: which run stands where several could.
    """

    runs: tuple[FinishedRun, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(run.task for run in self.runs))

    @property
    def models(self) -> tuple[str, ...]:
        """Names, the smallest network first."""
        size = {name: run.card["params_m"] for name, run in zip(self.names, self.runs, strict=True)}
        return tuple(sorted(size, key=lambda name: (size[name], name)))

    def of_task(self, task: str) -> dict[str, FinishedRun]:
        """The runs of a task by the name of their network."""
        return {name: run for name, run in zip(self.names, self.runs, strict=True) if run.task == task}

    def a_run_of(self, name: str) -> FinishedRun:
        """The first run of a network."""
        return self.runs[self.names.index(name)]

    def run_of(self, name: str, task: str) -> FinishedRun | None:
        return self.of_task(task).get(name)


def read_contents(folder: Path, models: Collection[str] = (), tasks: Collection[str] = ()) -> Contents:
    """The finished runs below a folder, each network once per task (`finished.chosen_runs`).

    Args:
        folder: of all runs.
        models, tasks: names of those that are wanted; empty for all.

    Raises:
        UserError: no finished run is there, a name has none, or a task was run under several versions of its protocol.
    """
    found = find_runs(folder)
    for kind, wanted, known in (
        ("model with a finished run", models, {run.model for run in found}),
        ("task with a finished run", tasks, {run.task for run in found}),
    ):
        for name in wanted:
            if name not in known:
                raise unknown_name(kind, name, known)
    selected = [run for run in found if (not models or run.model in models) and (not tasks or run.task in tasks)]
    if not selected:
        raise unknown_name("pair of model and task", f"{', '.join(models)} on {', '.join(tasks)}", _pairs(found))
    refuse_mixed_versions(selected)
    chosen, notes = chosen_runs(selected)
    called = network_names(chosen)
    chosen.sort(key=lambda run: (_place(run.task), run.card["params_m"], called[run.network]))
    return Contents(runs=tuple(chosen), names=tuple(called[run.network] for run in chosen), notes=tuple(notes))


def _pairs(runs: Sequence[FinishedRun]) -> set[str]:
    return {f"{run.model} on {run.task}" for run in runs}


def _place(task: str) -> tuple[int, str]:
    columns = [column.task for column in COLUMNS]
    return (columns.index(task) if task in columns else len(columns)), task
