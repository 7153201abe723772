"""The ledger: for each printed number of a model that exists here, whether runs of ours gave it.

One CSV file, results/ledger.csv, that people and git can read; results/README.md explains its columns.
"""

import csv
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rvm_bench.api.registry import find_task
from rvm_bench.errors import UserError
from rvm_bench.formats.files import write_atomically
from rvm_bench.runs.finished import FinishedRun

REPRODUCED, OFF, NOT_RUN = "reproduced", "off", "not yet run"
STATUSES = (REPRODUCED, OFF, NOT_RUN)

_HERE = Path(__file__).resolve().parent
PACKAGED = _HERE / "ledger.csv"
"""Where a wheel holds the ledger; read-only."""
CHECKOUT = _HERE.parents[1] / "results" / "ledger.csv"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One expected number. The fields are the columns of the file, all text; a blank is something not known yet.

    Attributes:
        model, task: names, as `--model` and `--task` take them.
        expected: the number as it is printed elsewhere, in the unit it is printed in (AbsRel x10).
        tolerance: how far from it a measured number may be and still count as reproduced.
        source: where it is printed.
        protocol: under which protocol it is expected: "" the official one, else a preset, or name=value for a constant.
        weights: name of the checkpoint file that it is expected of; "" any that the user gives.
        status: one of `STATUSES`.
        measured, low, high: our number and its 95 % interval, with all digits.
        fingerprint, date: of the run that gave it; its first 12 digits, and the day it was finished.
    """

    model: str
    task: str
    expected: str
    tolerance: str
    source: str
    protocol: str = ""
    weights: str = ""
    status: str = NOT_RUN
    measured: str = ""
    low: str = ""
    high: str = ""
    fingerprint: str = ""
    date: str = ""


COLUMNS = tuple(field.name for field in dataclasses.fields(Entry))


def ledger_files(out: Path, given: Path | None) -> tuple[Path, Path]:
    """Which ledger is read, and which is written.

    Args:
        out: folder of all runs.
        given: the user's own ledger: read and written. None: the one of the checkout; in an installed package, which
            is read-only, OUT/ledger.csv, which starts as a copy of the packaged one.
    """
    if given is not None:
        return given, given
    if not PACKAGED.exists():
        return CHECKOUT, CHECKOUT
    own = out / "ledger.csv"
    return (own if own.exists() else PACKAGED), own


def read_ledger(file: Path) -> list[Entry]:
    """The entries of a ledger.

    Raises:
        UserError: there is no such file, or a line of it is not an entry.
    """
    if not file.is_file():
        raise UserError(f"no ledger at {file}; name another --ledger")
    with file.open(newline="", encoding="utf-8") as text:
        reader = csv.DictReader(text)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"{file} is not a ledger: its first line should be {','.join(COLUMNS)}")
        entries = []
        for number, row in enumerate(reader, 2):
            if None in row or None in row.values():
                raise UserError(
                    f"{file}:{number} has not {len(COLUMNS)} values; expected one for each of the first line"
                )
            entry = Entry(**row)
            _check(entry, f"{file}:{number}")
            entries.append(entry)
    return entries


def write_ledger(file: Path, entries: Sequence[Entry]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(entry) for entry in entries)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text.getvalue())


def fill(entries: Sequence[Entry], runs: Sequence[FinishedRun]) -> tuple[list[Entry], list[str]]:
    """The ledger with what the runs say, and one line for every run that says nothing, with the reason.

    An entry takes the newest run that may count (`why_not`). One without such a run stays as it is, so that numbers
    which were measured elsewhere are kept.
    """
    filled, reasons = list(entries), []
    for run in sorted(runs, key=lambda run: run.finished):
        candidates = [i for i, entry in enumerate(filled) if (entry.model, entry.task) == (run.model, run.task)]
        whys = {i: why_not(run, filled[i]) for i in candidates}
        counted = [i for i, why in whys.items() if why is None]
        for i in counted:
            filled[i] = _measured(filled[i], run)
        if not candidates:
            reasons.append(f"{run.path}: no number of {run.model} on {run.task} is in the ledger")
        elif not counted:
            reasons.append(f"{run.path}: {'; or '.join(dict.fromkeys(why for why in whys.values() if why))}")
    return filled, sorted(reasons)


def why_not(run: FinishedRun, entry: Entry) -> str | None:
    """Why a run cannot say whether an entry is reproduced, or None where it can.

    Only a whole official split, trained weights of the right file, float32 and exactly the expected protocol count.
    """
    reasons = [flag for flag in run.flags if flag != "off protocol"]
    expected = _expected_protocol(entry.task, entry.protocol)
    differing = [name for name in {**expected, **run.protocol} if expected.get(name) != run.protocol.get(name)]
    if differing:
        reasons.append(f"not under the expected protocol ({', '.join(differing)} differ)")
    if run.stamp["encoder"]["dtype"] != "float32":
        reasons.append(f"{run.stamp['encoder']['dtype']}, not float32")
    file = run.stamp["weights_source"].get("path")
    if entry.weights and "random weights" not in run.flags and file != entry.weights:
        reasons.append(f"the weights are {file or 'of no file'}, not {entry.weights}")
    return ", ".join(reasons) or None


def summary(entries: Sequence[Entry]) -> str:
    """One line: how many entries have which status."""
    counts = Counter(entry.status for entry in entries)
    return f"{len(entries)} printed numbers: " + ", ".join(f"{counts[status]} {status}" for status in STATUSES)


def _measured(entry: Entry, run: FinishedRun) -> Entry:
    near = abs(run.printed - float(entry.expected)) <= float(entry.tolerance)
    low, high = run.printed_interval or ("", "")
    return dataclasses.replace(
        entry,
        status=REPRODUCED if near else OFF,
        measured=str(run.printed),
        low=str(low),
        high=str(high),
        fingerprint=run.stamp["fingerprint"][:12],
        date=run.finished[:10],
    )


def _check(entry: Entry, where: str) -> None:
    if entry.status not in STATUSES:
        raise UserError(f"{where}: status {entry.status!r}; expected {', '.join(STATUSES)}")
    for name in ("expected", "tolerance"):
        try:
            float(getattr(entry, name))
        except ValueError:
            raise UserError(f"{where}: {name} {getattr(entry, name)!r} is not a number") from None


@cache
def _expected_protocol(task: str, protocol: str) -> dict[str, Any]:
    """The constants of the protocol that an entry's `protocol` names, as JSON values."""
    constants, preset = ([protocol], None) if "=" in protocol else ([], protocol or None)
    return json.loads(json.dumps(find_task(task, preset=preset, overrides=constants).protocol.to_dict()))
