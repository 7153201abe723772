"""`rvm-bench run` and `rvm-bench merge`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rvm_bench.api.card import EncoderCard, Model
from rvm_bench.api.registry import find_model, find_task, list_models, list_tasks
from rvm_bench.cli.arguments import Failures, check_weights, names, parse_option, to_fetch
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.fetch.load import load_encoder

if TYPE_CHECKING:
    from rvm_bench.api.encoder import Encoder
    from rvm_bench.api.task import Task
    from rvm_bench.runs.results import Result


def run(
    model: Annotated[
        list[str],
        typer.Option(help="Names (see `ls models`), hf:NAME, module:factory, file.py:factory, or all; commas between."),
    ],
    task: Annotated[list[str], typer.Option(help="Names (see `ls tasks`) or all; commas between.")],
    data: Annotated[
        str | None,
        typer.Option(help="Data folder of the task, a root that holds it, or demo. [default: $RVM_BENCH_DATA]"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    weights: Annotated[
        str | None, typer.Option(help="Checkpoint file, or random. [default: the released file, fetched if need be]")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1. [default: cuda where there is one]")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    chunk: Annotated[int | None, typer.Option(min=1, help="Frames that go through the network together.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option of the model's own, as key=value.")] = None,
    shard: Annotated[str, typer.Option(help="i/n: evaluate the i-th of n parts of the videos.")] = "1/1",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave missing and damaged videos out; the score is marked partial.")
    ] = False,
    protocol: Annotated[
        str | None, typer.Option(help="A preset of the task's protocol, e.g. dino for davis. [default: the paper's]")
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Another value for a constant of the protocol, as topk=5.")
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(help="Frozen features on disk: off, read or write. [default: write where clips are fixed]"),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load the clips a head is fitted on.")] = 0,
    save_predictions: Annotated[
        Path | None, typer.Option(help="Also write predictions below this folder, as DIR/TASK/MODEL/VIDEO/FRAME.png.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and how long it would take.")] = False,
) -> None:
    """Evaluate models on tasks. Interrupted, the same command goes on where it stopped."""
    request = Request(
        weights=weights,
        device=device,
        dtype=dtype,
        options=_options(option or [], chunk),
        data=data,
        out=out,
        shard=_parse_shard(shard),
        allow_missing=allow_missing,
        save_predictions=save_predictions,
        dry_run=dry_run,
    )
    models = names(model, _runnable(weights))
    failures = Failures()
    tasks = _find_tasks(names(task, list_tasks()), data, protocol, override or [], failures)
    _configure_fits(tasks, cache, workers)
    if save_predictions is not None:
        _name_tasks_without_predictions(tasks)
    known = [name for name in models if failures.guard(name, find_model, name)]
    check_weights(known, weights)
    results: list[Result] = []
    for name in known:
        with failures.caught(name):
            encoder, stand_in = _load(name, request)
            for one_task in tasks:
                with failures.caught(f"{name} on {one_task.name}"):
                    if dry_run:
                        _print_plan(encoder, one_task, request, stand_in=stand_in)
                    else:
                        results.append(_evaluate(encoder, one_task, request))
    if len(results) > 1:
        from rvm_bench.cli.table import print_runs

        print_runs([result.path / "result.json" for result in results if not result.remaining])
    failures.exit()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What one call of the command asks for, of every model and task alike."""

    weights: str | None
    device: str | None
    dtype: str
    options: Mapping[str, Any]
    data: str | None
    out: Path
    shard: tuple[int, int]
    allow_missing: bool
    save_predictions: Path | None
    dry_run: bool


def merge(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders of one evaluation: shards that ran on several machines.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of all runs, to merge into.")] = Path("runs"),
) -> None:
    """Gather the records of one evaluation from several run folders into one.

    The last `rvm-bench run` with the same options then only scores them.
    """
    from rvm_bench.runs.store import gather

    path, count = gather(runs, out)
    typer.echo(f"{path}: {count} videos recorded; the same `rvm-bench run` without --shard finishes and scores it")


def _options(texts: list[str], chunk: int | None) -> dict[str, Any]:
    """The model's own options, as `load_encoder` takes them."""
    options: dict[str, Any] = dict(parse_option(text) for text in texts)
    return options if chunk is None else {**options, "chunk": chunk}


def _find_tasks(
    wanted: list[str], data: str | None, preset: str | None, overrides: list[str], failures: Failures
) -> "list[Task]":
    """The tasks of these names; one that cannot be had is reported, and the others go on."""
    found = [failures.guard(name, _find_task, name, data, preset, overrides) for name in wanted]
    return [task for task in found if task is not None]


def _find_task(name: str, data: str | None, preset: str | None, overrides: list[str]) -> "Task":
    return find_task(name, data=data, preset=preset, overrides=overrides)


def _configure_fits(tasks: "list[Task]", cache: str | None, workers: int) -> None:
    """Sets where tasks that fit a head keep features, and how many processes load clips."""
    from rvm_bench.api.task import FitsHeads

    if cache not in (None, "off", "read", "write"):
        raise unknown_name("--cache", str(cache), ["off", "read", "write"])
    fitting = [task for task in tasks if isinstance(task, FitsHeads)]
    if tasks and not fitting and (cache is not None or workers):
        raise UserError(f"{tasks[0].name} fits no head; leave out --cache and --workers")
    for task in fitting:
        task.cache, task.workers = cache, workers


def _name_tasks_without_predictions(tasks: "list[Task]") -> None:
    """Names the tasks that cannot write what they predict; UserError where none can."""
    from rvm_bench.api.task import SavesPredictions

    others = [task for task in tasks if not isinstance(task, SavesPredictions)]
    if others and len(others) == len(tasks):
        raise UserError(f"{tasks[0].name} has no predictions that could be saved; leave out --save-predictions")
    for task in others:
        typer.echo(f"{task.name}: no predictions to save beside its records", err=True)


def _load(name: str, request: Request) -> "tuple[Encoder, bool]":
    """The encoder, its released weights fetched if need be; and whether random weights stand in for a dry run."""
    to_download = to_fetch(name, request.weights)
    if to_download:
        _fetch(to_download, dry_run=request.dry_run)
    stand_in = to_download is not None and request.dry_run
    model = find_model(name)
    takes_weights = not isinstance(model, Model) or model.takes_weights
    weights = "random" if stand_in else request.weights if takes_weights else None
    encoder = load_encoder(name, weights=weights, device=request.device, dtype=request.dtype, **dict(request.options))
    return encoder, stand_in


def _evaluate(encoder: "Encoder", task: "Task", request: Request) -> "Result":
    from rvm_bench.api.task import SavesPredictions
    from rvm_bench.runs.engine import evaluate

    if request.save_predictions is not None and isinstance(task, SavesPredictions):
        task.save_predictions(request.save_predictions / task.name / encoder.card.name)
    result = evaluate(
        encoder,
        task,
        data=request.data,
        out=request.out,
        shard=request.shard,
        allow_missing=request.allow_missing,
    )
    left = f", {len(result.remaining)} left to other shards" if result.remaining else ""
    recorded = f"{result.model} on {result.task}: {len(result.records)} videos recorded{left}"
    typer.echo(f"{recorded if left else result} ({result.path})")
    return result


def _print_plan(encoder: "Encoder", task: "Task", request: Request, *, stand_in: bool) -> None:
    """Prints what would run; `stand_in` says that random weights were timed in place of those still to be fetched."""
    from rvm_bench.fetch.locate import data_folder
    from rvm_bench.runs.fingerprint import describe_run
    from rvm_bench.runs.store import RunFolder

    dataset = task.open(data_folder(task, request.data), allow_missing=request.allow_missing)
    run = RunFolder(request.out, describe_run(encoder.at(task.tap), task, dataset), create=False)
    recorded, videos, coverage = len(run.lines()), len(dataset.videos), dataset.coverage
    whole = task.estimate_seconds(encoder, dataset)
    left = "no estimate" if whole is None else f"about {_duration(whole * (1 - recorded / videos))} left"
    typer.echo(
        f"{encoder.card.name} on {task.name}: {videos} videos ({recorded} recorded), {dataset.frames} frames, "
        f"{coverage.in_official} of {coverage.official} official videos, on {encoder.device} in "
        f"{str(encoder.dtype).removeprefix('torch.')}; {left} on this machine"
        + ("" if stand_in else f"; would write {run.path}")
    )


def _fetch(card: EncoderCard, *, dry_run: bool) -> None:
    from rvm_bench.fetch.weights import fetch, released_file

    released = released_file(card)
    size = f"{released.size_bytes / 1e6:.0f} MB " if released.size_bytes else ""
    what = f"{size}from {released.url} (licence: {released.licence})"
    typer.echo(f"{card.name}: {'would fetch' if dry_run else 'fetching'} {what}")
    if not dry_run:
        fetch(card)


def _runnable(weights: str | None) -> list[str]:
    """What `--model all` stands for: every model whose weights can be fetched, are here, or are given."""
    from rvm_bench.fetch.weights import path_of

    runnable = []
    for name in list_models():
        model = find_model(name)
        released = isinstance(model, Model) and (
            not model.takes_weights or ((file := model.card.weights) and (file.url or path_of(file).exists()))
        )
        untrained = isinstance(model, Model) and weights == "random" and not model.any_file
        if released or untrained or not isinstance(model, Model):
            runnable.append(name)
    return runnable


def _parse_shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UserError(f"--shard {text}: expected i/n with 1 <= i <= n, as in --shard 1/4")
    return int(index), int(count)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
