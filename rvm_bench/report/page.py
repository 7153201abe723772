"""A report as HTML: one file that asks for nothing outside of itself, and may run no script but its own."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rvm_bench.errors import UserError, optional_packages
from rvm_bench.formats.files import write_atomically
from rvm_bench.report.charts import Chart
from rvm_bench.report.contents import Contents
from rvm_bench.report.scoreboard import Scoreboard
from rvm_bench.report.sprites import Player, fitting
from rvm_bench.report.stamps import stamp_of
from rvm_bench.tables.columns import COLUMNS, GROUPS

LIMIT = 10_000_000
"""Bytes of the file, at most."""
PER_PLAYER = 2_000
"""Bytes that the words of a player's frames and the elements around its pictures take, at most."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a page shows.

    Attributes:
        contents: the runs.
        scores: the tables.
        pareto, stability: figures.
        scatter: see `scatter.scatter_data`.
        worst: players of the worst videos, by task.
        features: the player of features as colours; None where there is none.
        pictures: whether pictures were asked for.
        problems: what could not be shown.
    """

    contents: Contents
    scores: Scoreboard
    pareto: tuple[Chart, ...] = ()
    stability: tuple[Chart, ...] = ()
    scatter: dict[str, Any]
    worst: tuple[Player, ...] = ()
    features: Player | None = None
    pictures: bool = True
    problems: tuple[str, ...] = ()


def render(report: Report, limit: int = LIMIT) -> tuple[str, str]:
    """(the page, what was given up so that it takes at most `limit` bytes). The same report gives the same bytes.

    Raises:
        UserError: it takes more even without pictures, or Jinja is not installed.
    """
    players = [*([report.features] if report.features else []), *report.worst]
    # Every player without its pictures, but with the longest words about what became of them.
    _, bare, _ = fitting(players, 0)
    room = limit - len(_page(report, bare, 0, "x" * 200).encode())
    if room < 0:
        raise UserError(
            f"the report takes {(limit - room) / 1e6:.1f} MB without pictures, more than {limit / 1e6:.0f} MB; "
            "name fewer models (--models) or tasks (--task)"
        )
    quality, fitting_players, lost = fitting(players, room - PER_PLAYER * len(players))
    return _page(report, fitting_players, quality, lost), lost


def write_report(report: Report, file: Path, limit: int = LIMIT) -> str:
    """Writes the page, whole or not at all, and returns what was given up; the file's folder is made if need be."""
    text, lost = render(report, limit)
    write_atomically(file, text)
    return lost


def check_extra() -> None:
    """Raises UserError where what a report needs is not installed."""
    with optional_packages("a report needs", "report"):
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401


def as_data(value: Any) -> str:
    """JSON that can stand within a script element: nothing in it ends the element or begins another."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _page(report: Report, players: Sequence[Player], quality: int, lost: str) -> str:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    check_extra()
    script, style = _asset("script.js"), _asset("style.css")
    features = players[0] if report.features else None
    worst = players[1:] if report.features else players
    shown = [player for player in players if player.sprites]
    names = {player: f"player-{place}" for place, player in enumerate(shown)}
    data = {"scatter": report.scatter, "texts": {names[player]: player.texts for player in shown}}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    contents = report.contents
    stamps = [stamp_of(run, name) for run, name in zip(contents.runs, contents.names, strict=True)]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.from_string(_asset("page.html.j2")).render(
        report=report,
        contents=contents,
        finished=sorted(run.finished[:10] for run in contents.runs),
        columns=COLUMNS,
        groups={name: sum(column.group == group for column in COLUMNS) for group, name in GROUPS.items()},
        stamps=stamps,
        features=features,
        opened=next((player.task for player in worst if player.sprites), worst[0].task if worst else ""),
        worst={task: [player for player in worst if player.task == task] for task in contents.tasks},
        ids=names,
        quality=quality,
        lost=lost,
        version=contents.runs[0].stamp["code"]["version"],
        script_sha256=digest,
        script=Markup(script),
        style=Markup(style),
        data=Markup(as_data(data)),
        svg=Markup,
    )


def _asset(name: str) -> str:
    return files("rvm_bench.report").joinpath(name).read_text(encoding="utf-8")
