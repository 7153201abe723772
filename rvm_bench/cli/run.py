"""`rvm-bench run` and `rvm-bench merge`."""

import dataclasses
from collections.abc import Callable, Mapping
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
        typer.Option(
            help="Names (see `ls models`), hf:NAME, module:factory, file.py:factory; comma-separated; or all."
        ),
    ],
    task: Annotated[list[str], typer.Option(help="Names (see `ls tasks`), comma-separated; or all.")],
    data: Annotated[
        str | None,
        typer.Option(help="Data folder of the task, a root that holds it, or demo. [default: $RVM_BENCH_DATA]"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    weights: Annotated[
        str | None, typer.Option(help="Checkpoint file, or random. [default: the released file, downloaded if needed]")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1. [default: cuda if available]")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    chunk: Annotated[int | None, typer.Option(min=1, help="Frames per forward pass.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option of the model, as key=value.")] = None,
    shard: Annotated[str, typer.Option(help="i/n: evaluate the i-th of n parts of the videos.")] = "1/1",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out missing and damaged videos; the score is marked partial.")
    ] = False,
    protocol: Annotated[
        str | None, typer.Option(help="A preset of the task's protocol, e.g. dino for davis. [default: the paper's]")
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Value for a constant of the protocol, as topk=5.")
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(help="Cached features on disk: off, read or write. [default: write if clips are fixed]"),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load the training clips of a head.")] = 0,
    save_predictions: Annotated[
        Path | None, typer.Option(help="Also write predictions below this folder, as DIR/TASK/MODEL/VIDEO/FRAME.png.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run, and for how long.")] = False,
) -> None:
    """Evaluate models on tasks. After an interruption, the same command resumes."""
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
    failures = Failures()
    models = _find_models(names(model, lambda: _runnable(weights, failures)), failures)
    check_weights(models, weights)
    tasks = _find_tasks(names(task, list_tasks()), data, protocol, override or [], failures)
    _configure_fits(tasks, cache, workers)
    if save_predictions is not None:
        _report_tasks_without_predictions(tasks)
    results = [result for name in models for result in _run_model(name, tasks, request, failures)]
    if len(results) > 1:
        from rvm_bench.cli.table import print_runs

        print_runs([result.path / "result.json" for result in results if not result.remaining])
    failures.exit()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The options of one call that apply to every model and task."""

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
        list[Path], typer.Argument(help="Run folders of one evaluation, whose shards ran on several machines.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of all runs, to merge into.")] = Path("runs"),
) -> None:
    """Merge the records of one evaluation from several run folders into one.

    The same `rvm-bench run` without --shard then scores them.
    """
    from rvm_bench.runs.store import gather

    path, count = gather(runs, out)
    typer.echo(f"{path}: {count} videos recorded; the same `rvm-bench run` without --shard finishes and scores it")


def _options(texts: list[str], chunk: int | None) -> dict[str, Any]:
    """The keyword arguments of `load_encoder` from --option and --chunk."""
    options: dict[str, Any] = dict(parse_option(text) for text in texts)
    return options if chunk is None else {**options, "chunk": chunk}


def _find_models(wanted: list[str], failures: Failures) -> list[str]:
    """The names of models that can be found; the others are reported."""
    return [name for name in wanted if failures.guard(name, find_model, name)]


def _find_tasks(
    wanted: list[str], data: str | None, preset: str | None, overrides: list[str], failures: Failures
) -> "list[Task]":
    """The tasks that can be found and configured; the others are reported."""
    options = {"data": data, "preset": preset, "overrides": overrides}
    found = [failures.guard(name, find_task, name, **options) for name in wanted]
    return [task for task in found if task is not None]


def _configure_fits(tasks: "list[Task]", cache: str | None, workers: int) -> None:
    """Applies --cache and --workers to the tasks that fit a head; UserError if no task does."""
    from rvm_bench.api.task import FitsHeads

    if cache not in (None, "off", "read", "write"):
        raise unknown_name("--cache", str(cache), ["off", "read", "write"])
    fitting = [task for task in tasks if isinstance(task, FitsHeads)]
    if tasks and not fitting and (cache is not None or workers):
        raise UserError(f"{tasks[0].name} fits no head; leave out --cache and --workers")
    for task in fitting:
        task.cache, task.workers = cache, workers


def _report_tasks_without_predictions(tasks: "list[Task]") -> None:
    """Reports tasks that cannot save predictions; UserError if no task can."""
    from rvm_bench.api.task import SavesPredictions

    others = [task for task in tasks if not isinstance(task, SavesPredictions)]
    if others and len(others) == len(tasks):
        raise UserError(f"{tasks[0].name} cannot save predictions; leave out --save-predictions")
    for task in others:
        typer.echo(f"{task.name}: cannot save predictions, only records", err=True)


def _run_model(name: str, tasks: "list[Task]", request: Request, failures: Failures) -> "list[Result]":
    """Evaluates one model on the tasks, or prints the plan of a dry run; what fails is reported."""
    results: list[Result] = []
    with failures.caught(name):
        encoder, untrained = _load(name, request)
        for task in tasks:
            with failures.caught(f"{name} on {task.name}"):
                if request.dry_run:
                    _print_plan(encoder, task, request, untrained=untrained)
                else:
                    results.append(_evaluate(encoder, task, request))
    return results


def _load(name: str, request: Request) -> "tuple[Encoder, bool]":
    """The encoder, with its released weights downloaded if needed.

    A dry run downloads nothing: without the weights, the encoder is untrained, and the second value is true.
    """
    to_download = to_fetch(name, request.weights)
    if to_download:
        _fetch(to_download, dry_run=request.dry_run)
    untrained = to_download is not None and request.dry_run
    weights = "random" if untrained else request.weights if _takes_weights(name) else None
    encoder = load_encoder(name, weights=weights, device=request.device, dtype=request.dtype, **dict(request.options))
    return encoder, untrained


def _takes_weights(name: str) -> bool:
    model = find_model(name)
    return not isinstance(model, Model) or model.takes_weights


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


def _print_plan(encoder: "Encoder", task: "Task", request: Request, *, untrained: bool) -> None:
    """Prints what would run.

    The folder is left out if the encoder is `untrained` because its weights are not downloaded yet: the fingerprint
    depends on them.
    """
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
        + ("" if untrained else f"; would write {run.path}")
    )


def _fetch(card: EncoderCard, *, dry_run: bool) -> None:
    from rvm_bench.fetch.weights import fetch, released_file

    released = released_file(card)
    size = f"{released.size_bytes / 1e6:.0f} MB " if released.size_bytes else ""
    what = f"{size}from {released.url} (licence: {released.licence})"
    typer.echo(f"{card.name}: {'would fetch' if dry_run else 'fetching'} {what}")
    if not dry_run:
        fetch(card)


def _runnable(weights: str | None, failures: Failures) -> list[str]:
    """The models of `--model all`: those without weights, with weights that are cached or can be downloaded, or, with
    `--weights random`, with any architecture."""
    found = {name: failures.guard(name, find_model, name) for name in list_models()}
    return [name for name, model in found.items() if model is not None and _is_runnable(model, weights)]


def _is_runnable(model: "Model | Callable[..., Any]", weights: str | None) -> bool:
    from rvm_bench.fetch.weights import path_of

    if not isinstance(model, Model) or not model.takes_weights:
        return True
    if weights == "random" and not model.any_file:
        return True
    file = model.card.weights
    return file is not None and (bool(file.url) or path_of(file).exists())


def _parse_shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UserError(f"--shard {text}: expected i/n with 1 <= i <= n, as in --shard 1/4")
    return int(index), int(count)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
