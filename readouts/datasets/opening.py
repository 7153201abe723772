"""Opening the scans, segments or videos of a split, and refusing a copy that lacks some of them."""

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from rvm_bench.errors import UserError

THREADS = min(16, 2 * (os.cpu_count() or 1))

T = TypeVar("T")


def open_all(
    names: Collection[str], open_one: Callable[[str], T], *, doing: str, unit: str
) -> tuple[dict[str, T], dict[str, str]]:
    """What `open_one` returns, by name and in order; and of the others the message of the UserError that it raised.

    Several are opened at a time, in threads.

    Args:
        doing, unit: for the progress bar.
    """

    def attempt(name: str) -> T | UserError:
        try:
            return open_one(name)
        except UserError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(attempt, names)
        bar = tqdm(results, desc=doing, total=len(names), unit=unit, leave=False, disable=None)
        found = dict(zip(names, bar, strict=True))
    opened = {name: result for name, result in found.items() if not isinstance(result, UserError)}
    return opened, {name: str(result) for name, result in found.items() if isinstance(result, UserError)}


def refuse_missing(
    problems: Sequence[str], *, listed: int, usable: int, allow_missing: bool, task: str, root: Path, unit: str
) -> None:
    """Raises UserError, with the first problem and how many there are, unless the usable part may be used alone.

    Args:
        problems: one line for each scan, segment or video that is missing or damaged.
        listed: number of all that the copy lists.
        usable: number of those that are scored without the others.
        task: name of the task, for `rvm-bench data check`.
        unit: what is counted, such as "scan".
    """
    if not problems or (allow_missing and usable):
        return
    more = f" (and {len(problems) - 1:,} more of {listed:,})" if len(problems) > 1 else ""
    remedy = f"--allow-missing leaves the {unit} out, the score is then partial" if usable else f"no {unit} can be used"
    raise UserError(f"{problems[0]}{more}; `rvm-bench data check {task} --data {root}` lists everything; {remedy}")
