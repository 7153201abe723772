"""Evaluates an encoder on a task: video by video, resumable, in shards, with a stamp."""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rvm_bench.fetch.locate import data_folder
from rvm_bench.api.encoder import Encoder
from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.runs.fingerprint import describe_run
from rvm_bench.api.overrides import off_protocol
from rvm_bench.api.registry import find_task
from rvm_bench.fetch.load import load_encoder
from rvm_bench.runs.stamp import code_version, environment, peak_memory_mb
from rvm_bench.formats.time import now
from rvm_bench.stats.bootstrap import bootstrap_interval
from rvm_bench.runs.store import RunFolder, Shard, shard_of
from rvm_bench.formats.files import read_json, write_atomically, write_json
from rvm_bench.api.task import Dataset, Task, Video

LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one model on one task.

    Attributes:
        model, task: names.
        score: named numbers, among them `metric`; empty while videos are still to be recorded.
        metric: key of the headline number in `score`.
        interval: 95 % bootstrap interval of the headline number over videos; None for fewer than two videos.
        records: one per recorded video, in the order of the data set.
        remaining: videos that no process has recorded yet (other shards' work).
        path: the run's folder.
    """

    model: str
    task: str
    score: dict[str, float]
    metric: str
    interval: tuple[float, float] | None
    records: list[dict[str, Any]]
    remaining: tuple[str, ...]
    path: Path

    @property
    def value(self) -> float:
        """The headline number."""
        return self.score[self.metric]


def evaluate(
    encoder: Encoder | str,
    task: Task | str,
    *,
    data: str | Path | None = None,
    out: str | Path = "runs",
    shard: Shard = (1, 1),
    allow_missing: bool = False,
) -> Result:
    """Evaluates an encoder on a task and returns its score, with error bars and a stamp in the run's folder.

    Videos that an earlier, interrupted call recorded under the same fingerprint are not evaluated again; a finished
    run is only read. The result does not depend on interruptions or on shards.

    Args:
        encoder: an `Encoder`, or a name for `load_encoder`.
        task: a `Task`, or its registered name (on demo data under its preset for them, where it has one).
        data: the data folder, or "demo"; see `rvm_bench.fetch.locate.data_folder`.
        out: folder of all runs.
        shard: (i, n) evaluates every n-th video from the i-th on; the last shard to finish writes the result.
        allow_missing: leave videos that are incomplete or cannot be read out, name them and mark the score as partial,
            instead of refusing to start or stopping there.

    Raises:
        UserError: the data is incomplete, the encoder breaks its contract, or the run is being written by another
            process.
    """
    encoder = load_encoder(encoder) if isinstance(encoder, str) else encoder.to(encoder.device)
    task = find_task(task, data=data) if isinstance(task, str) else task
    encoder = encoder.at(task.tap)
    if not 1 <= shard[0] <= shard[1]:
        raise UserError(f"shard {shard[0]}/{shard[1]} does not exist; expected i/n with 1 <= i <= n")
    shard = _of_torchrun(shard)
    dataset = task.open(data_folder(task, data), allow_missing=allow_missing)
    run = RunFolder(Path(out), describe_run(encoder, task, dataset))
    _fit(encoder, task, dataset.videos, shard, run)
    _measure(encoder, task, shard_of(dataset.videos, shard), shard, run, allow_missing=allow_missing)
    return _conclude(encoder, task, dataset, run, allow_missing=allow_missing)


def _of_torchrun(shard: Shard) -> Shard:
    """The shard of this process where `torchrun` started several: each takes its part of the videos."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return shard
    if shard != (1, 1):
        raise UserError("under torchrun every process takes its shard by itself; leave out --shard")
    return int(os.environ.get("RANK", "0")) + 1, world


def _fit(encoder: Encoder, task: Task, videos: Sequence[Video], shard: Shard, run: RunFolder) -> None:
    """Fits what the task fits, where this process has videos to measure.

    The processes of `torchrun` fit together, so there all of them do where any has videos left: one that stayed away
    would leave the others waiting.
    """
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if _pending(task, videos if together else shard_of(videos, shard), run):
        task.fit(encoder, run.path / "fit")


def _measure(
    encoder: Encoder, task: Task, videos: Sequence[Video], shard: Shard, run: RunFolder, *, allow_missing: bool
) -> None:
    """Records the videos of a shard that no process has recorded."""
    if not _pending(task, videos, run):
        return
    with run.appender(shard) as records:
        done = run.lines()
        pending = _pending(task, videos, run)
        with tqdm(
            desc=f"{encoder.card.name} on {task.name}",
            total=sum(video.length for video in pending),
            unit="frame",
            disable=None,
        ) as progress:
            for video in pending:
                progress.set_postfix_str(video.name)
                start = time.perf_counter()
                try:
                    record = {"video": video.name, **task.measure(encoder, video, progress.update)}
                except DamagedFile as error:
                    if not allow_missing:
                        raise
                    run.add_damaged(video.name, str(error))
                    progress.write(f"left out: {error}")
                    continue
                if video.name in done:
                    continue
                records.append(record)
                run.add_timing(
                    {
                        "video": video.name,
                        "seconds": round(time.perf_counter() - start, 3),
                        "finished": now(),
                        "peak_memory_mb": peak_memory_mb(encoder.device.type),
                    }
                )


def _pending(task: Task, videos: Sequence[Video], run: RunFolder) -> list[Video]:
    """Videos without a record, and those whose predictions are still to be saved."""
    done = run.lines()
    return [video for video in videos if video.name not in done or task.lacks_predictions(video)]


def _conclude(encoder: Encoder, task: Task, dataset: Dataset, run: RunFolder, *, allow_missing: bool) -> Result:
    lines = run.lines()
    damaged = {name: why for name, why in run.damaged().items() if allow_missing and name not in lines}
    if len(damaged) == len(dataset.videos):
        raise UserError(f"no video of {dataset.root} can be read; the first: {next(iter(damaged.values()))}")
    names = [video.name for video in dataset.videos if video.name not in damaged]
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
        coverage = dataset.coverage.without([*damaged.values()], task.left_out(run.path / "fit"))
        _write_result(encoder, task, dataclasses.replace(dataset, coverage=coverage), run, score, interval)
    return Result(
        model=encoder.card.name,
        task=task.name,
        score=score,
        metric=task.metric.key,
        interval=interval,
        records=records,
        remaining=remaining,
        path=run.path,
    )


def _write_result(
    encoder: Encoder,
    task: Task,
    dataset: Dataset,
    run: RunFolder,
    score: dict[str, float],
    interval: tuple[float, float] | None,
) -> None:
    """Writes result.json, unless it is there with this very score (its stamp tells when the work was done)."""
    coverage = dataset.coverage.to_dict()
    outcome = {"score": score, "interval": None if interval is None else list(interval), "coverage": coverage}
    if run.result_file.exists():
        found = read_json(run.result_file)
        if {key: found.get(key) for key in outcome} == outcome:
            return
    timings = run.timings()
    write_json(
        run.result_file,
        {
            "model": encoder.card.name,
            "task": task.name,
            "metric": dataclasses.asdict(task.metric),
            **outcome,
            "interval_level": LEVEL,
            "interval_method": "bootstrap over videos, 2000 draws, expanded percentile",
            "videos": dataset.coverage.usable,
            "frames": dataset.frames,
            "partial": dataset.coverage.partial,
            "official_split": dataset.coverage.complete,
            "off_protocol": off_protocol(task.protocol, type(task)().protocol),
            "random_weights": encoder.weights.get("kind") == "random",
            "stamp": {
                "fingerprint": run.fingerprint,
                **run.description,
                "weights_source": {k: v for k, v in encoder.weights.items() if k != "sha256"},
                "data_root": str(dataset.root),
                "code": code_version(),
                "environment": environment(encoder.device.type),
                "finished": now(),
                "wall_s": round(sum(t["seconds"] for t in timings), 3),
                "peak_memory_mb": _largest([t["peak_memory_mb"] for t in timings]),
            },
        },
    )


def _largest(peaks: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: max(peak.get(key, 0.0) for peak in peaks) for key in (peaks[0] if peaks else {})}
