"""Evaluation of encoders on tasks: video by video, resumable, in shards, with a stamped result."""

import dataclasses
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from tqdm import tqdm

from rvm_bench.api.contract import check_card, check_task
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overrides import off_protocol
from rvm_bench.api.registry import find_model, find_task
from rvm_bench.api.task import Dataset, FitsHeads, Task, Video
from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.fetch.load import load_encoder
from rvm_bench.fetch.locate import data_folder
from rvm_bench.formats.files import read_json, write_atomically, write_json
from rvm_bench.formats.time import now
from rvm_bench.runs.fingerprint import describe_run
from rvm_bench.runs.results import Result, Results
from rvm_bench.runs.stamp import Stamp, code_version, environment, peak_memory_mb
from rvm_bench.runs.store import RunFolder, Shard, checksum, shard_of
from rvm_bench.stats.bootstrap import bootstrap_interval

logger = logging.getLogger(__name__)

LEVEL = 0.95
"""Of the bootstrap interval."""


@overload
def evaluate(  # type: ignore[overload-overlap]  # str is also a Sequence[str], but means one name
    encoder: Encoder | str,
    task: Task | str,
    *,
    data: str | Path | None = None,
    out: str | Path = "runs",
    shard: Shard = (1, 1),
    allow_missing: bool = False,
    protocol: str | None = None,
    set: Mapping[str, Any] | Sequence[str] = (),
    device: str | None = None,
    dtype: str | None = None,
) -> Result: ...


@overload
def evaluate(
    encoder: Sequence[Encoder | str] | Encoder | str,
    task: Sequence[Task | str] | Task | str,
    *,
    data: str | Path | None = None,
    out: str | Path = "runs",
    shard: Shard = (1, 1),
    allow_missing: bool = False,
    protocol: str | None = None,
    set: Mapping[str, Any] | Sequence[str] = (),
    device: str | None = None,
    dtype: str | None = None,
) -> Results: ...


def evaluate(
    encoder: Sequence[Encoder | str] | Encoder | str,
    task: Sequence[Task | str] | Task | str,
    *,
    data: str | Path | None = None,
    out: str | Path = "runs",
    shard: Shard = (1, 1),
    allow_missing: bool = False,
    protocol: str | None = None,
    set: Mapping[str, Any] | Sequence[str] = (),
    device: str | None = None,
    dtype: str | None = None,
) -> Result | Results:
    """Evaluates encoders on tasks, with error bars and a stamp in each run's folder.

    A call resumes the run with the same fingerprint: videos that have a record are not measured again. The result does
    not depend on interruptions or on shards.

    Args:
        encoder: an `Encoder` or a name for `load_encoder`, or a list of them.
        task: a `Task` or a registered name, or a list of them. On demo data, a task given by name uses its preset
            "demo", if it has one.
        data: the data folder, a root that holds it, or "demo"; None: the root in $RVM_BENCH_DATA.
        out: folder of all runs.
        shard: (i, n) evaluates every n-th video from the i-th on; the last shard to finish writes the result.
        allow_missing: leave out missing and damaged videos and mark the score as partial, instead of raising.
        protocol: a preset of the tasks given by name; None: the official protocol.
        set: values for constants of the protocol of tasks given by name: {"topk": 5} or ["topk=5"].
        device, dtype: of encoders given by name, as in `load_encoder`.

    Returns:
        A `Result` for one encoder and one task; for lists `Results`, encoders outermost.

    Raises:
        UserError: an unknown name or constant, `protocol`, `set`, `device` or `dtype` for objects (they apply to names
            only), incomplete data, a violation of the encoder contract, or a run that another process is writing.
    """
    encoders = [encoder] if isinstance(encoder, str | Encoder) else list(encoder)
    tasks = [task] if isinstance(task, str | Task) else list(task)
    for one in encoders:
        _check_encoder(one, device, dtype)
    found = [_find_task(one, data, protocol, _overrides(set)) for one in tasks]
    # Loaded one at a time: several large models may not fit in memory together.
    results = [
        _evaluate(loaded, one, data=data, out=Path(out), shard=shard, allow_missing=allow_missing)
        for name in encoders
        for loaded in [load_encoder(name, device=device, dtype=dtype) if isinstance(name, str) else name]
        for one in found
    ]
    single = isinstance(encoder, str | Encoder) and isinstance(task, str | Task)
    return results[0] if single else Results(results)


def _check_encoder(encoder: Encoder | str, device: str | None, dtype: str | None) -> None:
    """Raises UserError for an unknown name, before any model is evaluated, and for options that would be ignored."""
    if isinstance(encoder, str):
        find_model(encoder)
    elif device is not None or dtype is not None:
        raise UserError(
            f"device and dtype apply to encoders given by name; load {check_card(encoder).name} with them instead"
        )


def _find_task(task: Task | str, data: str | Path | None, preset: str | None, overrides: Sequence[str]) -> Task:
    if isinstance(task, str):
        return find_task(task, data=data, preset=preset, overrides=overrides)
    if preset is not None or overrides:
        raise UserError(
            f"protocol and set apply to tasks given by name; assign the protocol attribute of {task.name} instead"
        )
    return task


def _overrides(values: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """Constants as "name=value", from a dict or as they are."""
    if isinstance(values, str):
        return [values]
    if not isinstance(values, Mapping):
        return list(values)
    joined = {
        name: ",".join(map(str, value)) if isinstance(value, list | tuple) else value for name, value in values.items()
    }
    return [f"{name}={value}" for name, value in joined.items()]


def _evaluate(
    encoder: Encoder, task: Task, *, data: str | Path | None, out: Path, shard: Shard, allow_missing: bool
) -> Result:
    check_card(encoder)
    check_task(task)
    encoder = encoder.at(task.tap)
    shard = _checked_shard(shard)
    dataset = task.open(data_folder(task, data), allow_missing=allow_missing)
    with encoder.frozen():
        encoder.to(encoder.device)
        run = RunFolder(out, describe_run(encoder, task, dataset))
        _fit(encoder, task, dataset.videos, shard, run)
        _measure(encoder, task, shard_of(dataset.videos, shard), shard, run, allow_missing=allow_missing)
        requested = {**encoder.requested, **task.requested, "data": None if data is None else str(data)}
        return _conclude(encoder, task, dataset, run, requested, allow_missing=allow_missing)


def _checked_shard(shard: Shard) -> Shard:
    """The given shard, or under `torchrun` that of this rank."""
    if not 1 <= shard[0] <= shard[1]:
        raise UserError(f"shard {shard[0]}/{shard[1]} does not exist; expected i/n with 1 <= i <= n")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return shard
    if shard != (1, 1):
        raise UserError("under torchrun the shard follows from the rank; leave out --shard")
    return int(os.environ.get("RANK", "0")) + 1, world


def _fit(encoder: Encoder, task: Task, videos: Sequence[Video], shard: Shard, run: RunFolder) -> None:
    """Fits the task's head if this process has videos to measure."""
    if not isinstance(task, FitsHeads):
        return
    distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    # The ranks of torchrun fit collectively: all must take part if any of them has videos left, or the others hang.
    if _pending(task, videos if distributed else shard_of(videos, shard), run):
        task.fit(encoder, run.fit_folder)


def _measure(
    encoder: Encoder, task: Task, videos: Sequence[Video], shard: Shard, run: RunFolder, *, allow_missing: bool
) -> None:
    """Measures the videos of a shard that have no record yet."""
    if not _pending(task, videos, run):
        return
    with run.appender(shard) as records:
        # Read again under the lock: another process may have recorded some of them since.
        recorded = run.lines()
        pending = _pending(task, videos, run)
        total = sum(video.length for video in pending)
        description = f"{encoder.card.name} on {task.name}"
        fit = task.fit_summary(run.fit_folder) if isinstance(task, FitsHeads) else None
        head = None if fit is None else fit.sha256
        with tqdm(desc=description, total=total, unit="frame", disable=None) as progress:
            for video in pending:
                progress.set_postfix_str(video.name)
                start = time.perf_counter()
                try:
                    record = {"video": video.name, **task.measure(encoder, video, progress.update)}
                except DamagedFile as error:
                    if not allow_missing:
                        raise
                    run.add_damaged(video.name, str(error))
                    logger.warning("left out: %s", error)
                    continue
                if video.name in recorded:  # measured again only to save its predictions
                    continue
                line = records.append(record)
                run.add_timing(
                    {
                        "video": video.name,
                        "xxh3_64": checksum(line),
                        "head": head,
                        "seconds": round(time.perf_counter() - start, 3),
                        "finished": now(),
                        "peak_memory_mb": peak_memory_mb(encoder.device.type),
                    }
                )


def _pending(task: Task, videos: Sequence[Video], run: RunFolder) -> list[Video]:
    """Videos without a record, and those whose predictions have not been saved yet."""
    recorded = run.lines()
    return [video for video in videos if video.name not in recorded or task.lacks_predictions(video)]


def _conclude(
    encoder: Encoder,
    task: Task,
    dataset: Dataset,
    run: RunFolder,
    requested: Mapping[str, Any],
    *,
    allow_missing: bool,
) -> Result:
    """The outcome so far; once every video has a record, it is scored and written to result.json."""
    lines = run.lines()
    left_out = {name: why for name, why in run.damaged().items() if allow_missing and name not in lines}
    if len(left_out) == len(dataset.videos):
        raise UserError(f"no video of {dataset.root} can be read; the first: {next(iter(left_out.values()))}")
    names = [video.name for video in dataset.videos if video.name not in left_out]
    remaining = tuple(name for name in names if name not in lines)
    records = run.records([name for name in names if name in lines])
    score: dict[str, float] = {}
    interval = None
    if not remaining:
        run.merge(names)
        score = task.score(records)
        interval = bootstrap_interval(
            records,
            lambda draw: task.score(draw)[task.metric.key],
            level=LEVEL,
            groups=[task.scene(record["video"]) for record in records],
        )
        for name, text in task.artifacts(records).items():
            write_atomically(run.path / name, text)
        from_fit = task.left_out(run.fit_folder) if isinstance(task, FitsHeads) else []
        coverage = dataset.coverage.without([*left_out.values()], from_fit)
        _write_result(encoder, task, dataclasses.replace(dataset, coverage=coverage), run, requested, score, interval)
    return Result(
        model=encoder.card.name,
        task=task.name,
        score=score,
        headline=task.metric,
        interval=interval,
        records=records,
        remaining=remaining,
        left_out=tuple(left_out),
        path=run.path,
    )


def _write_result(
    encoder: Encoder,
    task: Task,
    dataset: Dataset,
    run: RunFolder,
    requested: Mapping[str, Any],
    score: dict[str, float],
    interval: tuple[float, float] | None,
) -> None:
    """Writes result.json, unless it holds the same score already: its stamp keeps the time of the first writing."""
    coverage = dataset.coverage
    outcome = {
        "score": score,
        "interval": None if interval is None else list(interval),
        "coverage": coverage.to_dict(),
    }
    if run.result_file.exists():
        found = read_json(run.result_file)
        if {key: found.get(key) for key in outcome} == outcome:
            return
        logger.warning(
            "%s says another score than its records give; it is written anew, the old one is kept as %s",
            run.result_file,
            run.keep_result(),
        )
    timings = run.timings()
    stamp = Stamp(
        fingerprint=run.fingerprint,
        description=run.description,
        requested=requested,
        weights_source={k: v for k, v in encoder.provenance.to_dict().items() if k != "sha256"},
        data_root=str(dataset.root),
        code=code_version(),
        environment=environment(encoder.device.type),
        finished=now(),
        wall_s=round(sum(timing["seconds"] for timing in timings), 3),
        peak_memory_mb=_largest([timing["peak_memory_mb"] for timing in timings]),
    )
    write_json(
        run.result_file,
        {
            "model": encoder.card.name,
            "task": task.name,
            "metric": dataclasses.asdict(task.metric),
            **outcome,
            "interval_level": LEVEL,
            "interval_method": "bootstrap over videos, 2000 draws, expanded percentile",
            "videos": coverage.usable,
            "frames": dataset.frames,
            "partial": coverage.partial,
            "official_split": coverage.complete,
            "off_protocol": off_protocol(task.protocol, task.official_protocol()),
            "random_weights": encoder.provenance.kind == "random",
            "weights_kind": encoder.provenance.kind,
            "stamp": stamp.to_dict(),
        },
    )


def _largest(peaks: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: max(peak.get(key, 0.0) for peak in peaks) for key in (peaks[0] if peaks else {})}
