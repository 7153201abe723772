"""`rvm-bench doctor`: is a model wired right? One verdict line per check."""

import dataclasses
import sys
import time
from collections import Counter
from typing import Annotated, Any

import typer

from rvm_bench.api.card import Model
from rvm_bench.api.registry import find_model, list_models
from rvm_bench.cli.arguments import Failures, check_weights, names, parse_option
from rvm_bench.errors import UserError
from rvm_bench.fetch.load import load_encoder


def doctor(
    model: Annotated[
        str,
        typer.Option(help="Names (see `ls models`), package.module:factory, file.py:factory, or all; commas between."),
    ],
    weights: Annotated[
        str | None,
        typer.Option(help="Checkpoint file, or random. [default: the released file where it is cached, else random]"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1. [default: cuda where there is one]")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    chunk: Annotated[int | None, typer.Option(min=1, help="Frames that go through the network together.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option of the model's own, as key=value.")] = None,
    budget: Annotated[float, typer.Option(min=1, help="Seconds to keep to, per model.")] = 60.0,
) -> None:
    """Check models on procedural clips: shapes, repeatability, alignment, leaks, weights, speed. Downloads nothing.

    Exit code 0 where no check failed, 1 where one did, 2 for a mistake in the command.
    """
    options: dict[str, Any] = dict(parse_option(text) for text in option or [])
    if chunk is not None:
        options["chunk"] = chunk
    failures = Failures()
    ill = 0
    chosen = names(model, list_models())
    known = []
    for name in chosen:
        with failures.caught(name):
            try:
                find_model(name)
            except Exception as error:
                if isinstance(error, UserError | OSError):
                    raise
                ill += _cannot_load(name, error)
            else:
                known.append(name)
    check_weights(known, weights)
    for name in known:
        with failures.caught(name):
            ill += _examine(
                name, weights, {"device": device, "dtype": dtype, **options}, budget, of_all=model.strip() == "all"
            )
    failures.exit()
    if ill:
        raise typer.Exit(1)


def _examine(name: str, weights: str | None, options: dict[str, Any], budget_s: float, *, of_all: bool) -> int:
    """Prints the verdicts on one model; returns 1 where a check failed, else 0."""
    from rvm_bench.doctor import NAME_WIDTH, Level, examine

    given, why = _weights_for(name, weights)
    start = time.perf_counter()
    try:
        encoder = load_encoder(name, weights=given, **options)
    except (UserError, OSError) as error:
        found = find_model(name)
        if of_all and isinstance(found, Model) and found.any_file:
            typer.echo(f"{name}: not examined: {error}")
            return 0
        raise
    except Exception as error:  # Whatever a plug-in's factory raises is the first finding.
        return _cannot_load(name, error)
    card = encoder.card
    typer.echo(f"{name}: {why}" if name == card.name else f"{name} ({card.name}): {why}")
    counts: Counter[str] = Counter()
    for verdict in examine(encoder, reload=lambda: load_encoder(name, weights=given, **options), budget_s=budget_s):
        counts[verdict.level if verdict.done else "not done"] += 1
        typer.echo(verdict.line(NAME_WIDTH))
        sys.stdout.flush()
    _sum_up(name, counts, time.perf_counter() - start)
    return int(counts[Level.FAIL] > 0)


def _weights_for(name: str, weights: str | None) -> tuple[str | None, str]:
    """What to give `load_encoder` as weights so that nothing is downloaded, and a line that says so."""
    from rvm_bench.fetch.weights import path_of

    found = find_model(name)
    if not isinstance(found, Model):
        return weights, f"plug-in, weights {weights}" if weights else "plug-in, with the weights that it brings"
    if not found.takes_weights:
        return (None if weights is None else "random"), "has no weights"
    if weights is not None:
        return weights, "random weights: the wiring is examined" if weights == "random" else f"weights of {weights}"
    released = found.card.weights
    if released is None or not path_of(released).exists():
        why = "none is released" if released is None else "the released file is not in the cache"
        return "random", f"random weights, for {why}: the wiring is examined, not the training"
    return None, f"released weights, {released.filename}"


def _cannot_load(name: str, error: Exception) -> int:
    """Prints the one verdict on a plug-in whose module or factory raises; returns 1."""
    from rvm_bench.doctor import NAME_WIDTH
    from rvm_bench.doctor.verdict import fail, said

    verdict = fail(said(error), "the module or its factory fails here; mend this first")
    typer.echo(f"{name}: cannot be loaded")
    typer.echo(dataclasses.replace(verdict, check="loads").line(NAME_WIDTH))
    _sum_up(name, Counter({verdict.level.value: 1}), 0.0)
    return 1


def _sum_up(name: str, counts: Counter[str], seconds: float) -> None:
    state = "ill" if counts["FAIL"] else "healthy" if not counts["not done"] else "healthy as far as examined"
    parts = [f"{counts['ok']} ok", f"{counts['note']} note", f"{counts['FAIL']} FAIL"]
    if counts["not done"]:
        parts.append(f"{counts['not done']} not done")
    typer.echo(f"{name}: {state}: {', '.join(parts)} in {seconds:.1f} s")
