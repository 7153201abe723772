"""Reopens the model, task and data of a finished run from its stamp, and refuses others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rvm_bench.api.card import Model
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.registry import find_model
from rvm_bench.api.task import DEMO, Dataset, FitsHeads, Record, SavesPredictions, Task
from rvm_bench.errors import UserError
from rvm_bench.fetch.load import load_encoder
from rvm_bench.fetch.locate import data_folder
from rvm_bench.runs.finished import FinishedRun
from rvm_bench.runs.store import FIT
from rvm_bench.tables.comparison import records_of, task_of


@dataclass(kw_only=True)
class ReopenedRun:
    """What a run was made from.

    Attributes:
        run: the finished run.
        task: under the run's protocol.
        dataset: the run's data, opened.
        weights, device: for the model, as `model_of` takes them.
    """

    run: FinishedRun
    task: Task[Any]
    dataset: Dataset
    weights: str | None = None
    device: str | None = None
    _encoder: Encoder | None = field(default=None, repr=False)

    @property
    def encoder(self) -> Encoder:
        """The run's model, loaded when it is first asked for; the run's fitted head is taken up, too.

        Raises:
            UserError: it cannot be loaded, is not the one that the stamp describes, or its head is not there.
        """
        if self._encoder is None:
            encoder = model_of(self.run, self.weights, self.device).at(self.task.tap)
            if isinstance(self.task, FitsHeads):
                folder = self.run.path / FIT
                if self.task.fit_summary(folder) is None:
                    raise UserError(f"{folder} holds no finished fit; the head that this run fitted is not there")
                self.task.fit(encoder, folder)
            self._encoder = encoder
        return self._encoder

    def record(self, name: str) -> Record:
        """The run's record of a video."""
        return records_of(self.run)[name]

    def video(self, name: str) -> Any:
        """A video of the data by its name."""
        return {video.name: video for video in self.dataset.videos}[name]

    def predict(self, name: str, folder: Path, *, make: bool = True) -> str:
        """Sees to it that what the task predicts of a video lies in `folder`.

        Args:
            make: whether the task may be asked to predict what is not there.

        Returns:
            what is to be said of it: nothing, or that the video scores otherwise than in the run.

        Raises:
            UserError: the task draws no overlays, predictions are missing, or the model cannot be had.
        """
        if type(self.task).overlay is Task.overlay:
            raise UserError(f"{self.task.name} draws no overlays of its videos")
        if not isinstance(self.task, SavesPredictions):
            return ""  # All that is drawn stands in the record.
        self.task.save_predictions(folder)
        video = self.video(name)
        if not self.task.lacks_predictions(video):
            return ""
        if not make:
            raise UserError(
                f"{folder} lacks predictions of this video; `rvm-bench run --save-predictions DIR` writes them, and "
                "without --predictions they are made now"
            )
        found = {"video": name, **self.task.measure(self.encoder, video)}
        then, now = (self.task.metric.shown(_score(self.task, record)) for record in (self.record(name), found))
        return "" if then == now else f"predicted anew for these pictures, it scores {now}, not {then} as in the run"


def reopen(
    run: FinishedRun, data: str | None = None, weights: str | None = None, device: str | None = None
) -> ReopenedRun:
    """The task and data of a run, and how to get its model.

    Args:
        data: as `data.data_folder` takes it; None for where the run's data lay.
        weights: the model's checkpoint; see `model_of`.
        device: for the model; None takes CUDA where there is one.

    Raises:
        UserError: the data is not there, or not the run's.
    """
    task = task_of(run)
    lay = Path(run.stamp["data_root"])
    if data is None and not lay.is_dir():
        data = DEMO if "demo data" in run.flags else None
        if data is None:
            raise UserError(f"the data is not at {lay} any more; give --data DIR")
    folder = lay if data is None else data_folder(task, data)
    dataset = task.open(folder, allow_missing=bool(run.left_out))
    if dataset.manifest_sha256 != run.stamp["data"]["manifest_sha256"]:
        raise UserError(f"{folder} does not hold the data of the run (another manifest); give --data DIR")
    return ReopenedRun(run=run, task=task, dataset=dataset, weights=weights, device=device)


def model_of(run: FinishedRun, weights: str | None = None, device: str | None = None) -> Encoder:
    """The model that a run's stamp describes.

    Args:
        weights: its checkpoint; None for the released one, or random weights where the run had such. A stamp knows the
            name and the hash of a file, not where it lies.

    Raises:
        UserError: it cannot be loaded, or is another one: other weights, card, options or class.
    """
    stated, requested = run.stamp["encoder"], requested_of(run)
    if weights is None:
        weights = requested["weights"]
    encoder = load_encoder(
        requested["model"], weights=weights, device=device, dtype=stated["dtype"], **requested["options"]
    )
    found = encoder.describe()
    differing = [key for key in ("class", "card", "weights", "dtype", "options") if _json(found[key]) != stated[key]]
    if differing:
        raise UserError(
            f"{run.model} as it is here differs from the run's in {', '.join(differing)}; give "
            f"--weights {run.model}=FILE, or --predictions DIR"
        )
    return encoder


def requested_of(run: FinishedRun) -> dict[str, Any]:
    """What the run was asked for: "model", "weights" and "options". Runs of versions that did not note it are taken to
    have been asked for by the model's name."""
    requested = run.stamp.get("requested", {})
    if "model" in requested:
        return {"model": requested["model"], "weights": requested["weights"], "options": requested["options"]}
    source = run.stamp["weights_source"]
    factory = find_model(run.model)
    random = source.get("kind") == "random" and (not isinstance(factory, Model) or factory.takes_weights)
    options = {"seed": source["seed"]} if source.get("seed") else {}
    return {"model": run.model, "weights": "random" if random else None, "options": options}


def worst_videos(scores: dict[str, float], count: int, *, higher_is_better: bool) -> Sequence[str]:
    """The names of the videos with the worst scores, the worst first; of equal ones in the order given."""
    return sorted(scores, key=lambda video: scores[video] if higher_is_better else -scores[video])[:count]


def _score(task: Task[Any], record: Record) -> float:
    return task.score([record])[task.metric.key]


def _json(value: Any) -> Any:
    """A description as a stamp has it: tuples are lists there."""
    if isinstance(value, dict):
        return {key: _json(part) for key, part in value.items()}
    return [_json(part) for part in value] if isinstance(value, list | tuple) else value
