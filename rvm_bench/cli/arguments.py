"""Shared by several commands: lists of names, options, weights, and reporting of failures."""

import contextlib
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from rvm_bench.api.card import EncoderCard, Model
from rvm_bench.api.registry import find_model
from rvm_bench.errors import UserError

T = TypeVar("T")

RunsFolder = Annotated[Path, typer.Option("--runs", "--out", help="Folder of all runs, the --out of `rvm-bench run`.")]
"""The folder that finished runs are read from; commands that write a file use `--out` for that file instead."""


class Failures:
    """Failures of single models and tasks: printed at once, counted, and turned into the exit code at the end."""

    def __init__(self) -> None:
        self.mistakes = 0
        self.crashes = 0

    @contextlib.contextmanager
    def caught(self, what: str) -> Iterator[None]:
        """A `UserError` is printed as one line, any other exception with its traceback; execution goes on."""
        try:
            yield
        except (UserError, OSError) as error:
            self.mistakes += 1
            print(f"rvm-bench: {what}: {error}", file=sys.stderr)
        except Exception:
            self.crashes += 1
            traceback.print_exc()
            print(f"rvm-bench: {what}: failed with the error above", file=sys.stderr)

    def guard(self, what: str, function: Callable[..., T], *arguments: Any, **options: Any) -> T | None:
        """The function's return value, or None if it raised."""
        with self.caught(what):
            return function(*arguments, **options)

    def exit(self) -> None:
        """Exits with 2 after a user's mistake, 1 after a crash; returns if there were neither."""
        if self.mistakes or self.crashes:
            raise typer.Exit(2 if self.mistakes else 1)


def names(texts: str | Sequence[str], everything: list[str] | Callable[[], list[str]]) -> list[str]:
    """The names in one or several comma-separated lists, without duplicates; `everything` for "all"."""
    joined = texts if isinstance(texts, str) else ",".join(texts)
    names = [name.strip() for name in joined.split(",") if name.strip()]
    if not names:
        raise UserError("an empty list of names; give one, or all")
    if names == ["all"]:
        names = everything() if callable(everything) else everything
    return list(dict.fromkeys(names))


def parse_option(text: str) -> tuple[str, Any]:
    """The key and value of `--option key=value`; a value that is not JSON is a string."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise UserError(f"--option {text}: expected key=value")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def check_weights(models: list[str], weights: str | None) -> None:
    """Raises UserError if one weights file is given for several models, or does not exist."""
    if weights in (None, "random"):
        return
    takers = [name for name in models if not isinstance(m := find_model(name), Model) or m.takes_weights]
    if len(takers) > 1:
        raise UserError(
            f"--weights {weights} is one file for {len(takers)} models ({', '.join(takers)}); run them one at a time"
        )
    if not Path(str(weights)).exists():
        raise UserError(f"no such weights file: {weights}")


def to_fetch(name: str, weights: str | None) -> EncoderCard | None:
    """The card of a model whose released checkpoint is needed and not in the cache; None otherwise."""
    from rvm_bench.fetch.weights import path_of

    model = find_model(name)
    if weights is not None or not isinstance(model, Model) or not model.takes_weights:
        return None
    released = model.card.weights
    if released is None or not released.url:
        return None
    return None if path_of(released).exists() else model.card
