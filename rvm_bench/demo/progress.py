"""A progress bar around the writers of demo data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm


def write_with_progress(
    write: Callable[..., None], folder: Path, *, unit: str = "frame", counted: bool = False, **options: Any
) -> None:
    """Calls a writer with a progress bar where there is a terminal.

    Args:
        write: a `write` of this package.
        folder: to write to.
        unit: what the bar counts.
        counted: whether the second argument of the writer's `progress` says how many units were written since the last
            call; else every call is one unit.
        options: of the writer.
    """
    with tqdm(desc="writing demo data", unit=unit, leave=False, disable=None) as bar:
        write(folder, progress=lambda _, count: bar.update(count if counted else 1), **options)
