"""What pictures of a report are made of and from: the user's choices, and each run's model and data, opened once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rvm_bench.errors import UserError
from rvm_bench.report.reopen import ReopenedRun, reopen
from rvm_bench.runs.finished import FinishedRun


@dataclass(kw_only=True)
class Sources:
    """Where pictures come from.

    Attributes:
        data: as `data.data_folder` takes it; None for where each run's data lay.
        predictions: what `run --save-predictions` wrote, FOLDER/TASK/MODEL; None: they are made now.
        weights: checkpoints by the name of a model, for those that are neither released nor random.
        device: for models; None takes CUDA where there is one.
    """

    data: str | None = None
    predictions: Path | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    device: str | None = None
    _opened: dict[Path, ReopenedRun | str] = field(default_factory=dict, repr=False)

    def reopen(self, run: FinishedRun) -> ReopenedRun:
        """A run's task, data and model; what failed once fails again at once.

        Raises:
            UserError: its data or task is not there as the run had it.
        """
        if run.path not in self._opened:
            try:
                self._opened[run.path] = reopen(run, self.data, self.weights.get(run.model), self.device)
            except (UserError, OSError) as error:
                self._opened[run.path] = str(error)
        found = self._opened[run.path]
        if isinstance(found, str):
            raise UserError(found)
        return found
