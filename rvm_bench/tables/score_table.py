"""The paper's Tables 1 and 2 as data: rows of cells in two sections, with what the marks on them mean."""

from dataclasses import dataclass, field
from typing import Literal

from rvm_bench.runs.finished import FLAGS
from rvm_bench.tables.columns import best_scores
from rvm_bench.tables.published import TITLES

Kind = Literal["ours", "published", "difference"]

MARKS = {"demo data": "d", "own split": "s", "partial": "p", "off protocol": "o", "random weights": "r"}
"""The letter that stands on a number for each flag of `finished.FLAGS`."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number: in the unit the paper prints, with its 95 % interval and its flags."""

    value: float
    interval: tuple[float, float] | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table.

    Attributes:
        model: what stands at its head.
        params_m: millions of parameters; 0 where there are none, or none are stated.
        cells: by task; blank where it is not there.
        average: the normalised average, or None.
        kind: measured here, published, or the difference of the two.
        published: the paper's name of the model; "" where the paper does not have it.
    """

    model: str
    params_m: float
    cells: dict[str, Cell]
    average: float | None
    kind: Kind = "ours"
    published: str = ""

    @property
    def scores(self) -> dict[str, float]:
        return {task: cell.value for task, cell in self.cells.items()}

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that all cells share: they are the row's."""
        every = [set(cell.flags) for cell in self.cells.values()]
        return tuple(flag for flag in MARKS if every and all(flag in flags for flags in every))


@dataclass(frozen=True, kw_only=True)
class Section:
    """One of the two tables.

    Attributes:
        table: "Table 1" or "Table 2".
        rows: its lines.
        bold: the columns whose numbers are comparable, so that the best may be marked; "average" is one of them.
    """

    table: str
    rows: tuple[Row, ...]
    bold: frozenset[str]

    @property
    def title(self) -> str:
        return f"{self.table}: {TITLES[self.table]}"

    def is_best(self, row: Row, column: str) -> bool:
        """Whether a row holds the best number of a column, named by its task or "average", among its kind."""
        if column not in self.bold or row.kind == "difference":
            return False
        rivals = [rival for rival in self.rows if rival.kind == row.kind]
        if column == "average":
            return row.average is not None and row.average == max(
                rival.average for rival in rivals if rival.average is not None
            )
        return column in row.cells and row.scores[column] == best_scores([r.scores for r in rivals])[column]


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """What is printed: up to two tables, and the lines below them."""

    sections: tuple[Section, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def flags(self) -> tuple[str, ...]:
        """Every flag that some cell bears."""
        seen = {flag for s in self.sections for row in s.rows for cell in row.cells.values() for flag in cell.flags}
        return tuple(flag for flag in MARKS if flag in seen)

    @property
    def legend(self) -> tuple[str, ...]:
        """What the marks of the table mean."""
        return tuple(f"{MARKS[flag]}: {flag}: {FLAGS[flag]}" for flag in self.flags)
