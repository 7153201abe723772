"""The return values of `evaluate`: the result of one model on one task, and lists of results."""

import dataclasses
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from rvm_bench.api.task import Metric

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Result:
    """The result of one model on one task.

    Attributes:
        model, task: names.
        score: named numbers, the headline number among them; empty while videos remain.
        headline: the task's metric: key, unit and format of the headline number.
        interval: 95 % bootstrap interval of the headline number over videos, unscaled; None for fewer than two videos.
        records: one per recorded video, in the order of the data set.
        remaining: names of videos without a record (left to other shards).
        left_out: names of videos that were left out because they are damaged (`allow_missing`).
        path: the run's folder.
    """

    model: str
    task: str
    score: dict[str, float]
    headline: Metric
    interval: tuple[float, float] | None
    records: list[dict[str, Any]]
    remaining: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    path: Path

    @property
    def metric(self) -> str:
        """Key of the headline number in `score`."""
        return self.headline.key

    @property
    def value(self) -> float:
        """The headline number, unscaled (`headline.shown` formats it); NaN while videos remain."""
        return self.score.get(self.metric, float("nan"))

    def to_dict(self) -> dict[str, Any]:
        """One row of a table: names, headline number and interval in the printed unit, numbers of videos, folder."""
        scale = self.headline.scale
        low, high = (None, None) if self.interval is None else (scale * bound for bound in self.interval)
        return {
            "model": self.model,
            "task": self.task,
            "metric": self.metric,
            "value": scale * self.value,
            "low": low,
            "high": high,
            "unit": self.headline.unit,
            "videos": len(self.records),
            "remaining": len(self.remaining),
            "left_out": len(self.left_out),
            "path": str(self.path),
        }

    def __str__(self) -> str:
        if self.remaining:
            return f"{self.model} on {self.task}: {len(self.records)} videos recorded, {len(self.remaining)} to do"
        shown = self.headline.shown
        bounds = "" if self.interval is None else " [{}, {}]".format(*map(shown, self.interval))
        return (
            f"{self.model} on {self.task}: {self.metric} {shown(self.value)}{bounds} {self.headline.unit}, "
            f"{len(self.records)} videos"
        )

    def __repr__(self) -> str:
        return f"<Result {self}>"

    def _repr_html_(self) -> str:
        return Results([self])._repr_html_()


class Results(Sequence[Result]):
    """Results of several models and tasks, models outermost."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._results = tuple(results)

    @overload
    def __getitem__(self, index: int) -> Result: ...

    @overload
    def __getitem__(self, index: slice) -> "Results": ...

    def __getitem__(self, index: int | slice) -> "Result | Results":
        return Results(self._results[index]) if isinstance(index, slice) else self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    def to_frame(self) -> "pd.DataFrame":
        """One row per result, with the columns of `Result.to_dict`."""
        import pandas as pd

        return pd.DataFrame([result.to_dict() for result in self], columns=list(_COLUMNS))

    def __repr__(self) -> str:
        return "\n".join([f"<Results: {len(self)}>", *(f"  {result}" for result in self)])

    def _repr_html_(self) -> str:
        """An HTML table, for notebooks."""
        head = "".join(f"<th>{name}</th>" for name in ("model", "task", "metric", "score", "95 % interval", "videos"))
        rows = []
        for result in self:
            shown = result.headline.shown
            score = f"{shown(result.value)} {result.headline.unit}" if result.score else "not finished"
            bounds = "" if result.interval is None else "{} to {}".format(*map(shown, result.interval))
            cells = (result.model, result.task, result.metric, score, bounds, str(len(result.records)))
            rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


_COLUMNS = (
    "model", "task", "metric", "value", "low", "high", "unit", "videos", "remaining", "left_out", "path",
)  # fmt: skip
