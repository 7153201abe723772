"""Fits readouts on frozen features: all learning rates and seeds side by side, on one forward pass of the encoder.

The order of the examples, their augmentation and the learning rates follow from the configuration and the step number
alone. So a fit that is killed and resumed ends with the same bits on a CPU, and one of several processes (`torchrun`)
with the same numbers within rounding. The readout that is reported is chosen on held-out training examples; the scored
split is never used.
"""

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from readouts.fitting.feature_store import Cache, FeatureStore
from readouts.fitting.features import FrozenFeatures
from readouts.fitting.fitted import Fitted, load_readout
from readouts.fitting.folder import READOUT, FitFolder, feature_identity, fit_identity
from readouts.fitting.optim import FitConfig, Replicas
from readouts.fitting.sampling import Batch, Batches, Source, schedule, split
from readouts.fitting.step import SMALLEST_COUNT, Part, Stopwatch, train_step
from readouts.heads.replicated import Sizes
from readouts.losses import Measure, Selection
from rvm_bench.api.encoder import Encoder
from rvm_bench.errors import UserError
from rvm_bench.formats.time import now
from rvm_bench.runs.distributed import ProcessGroup, process_group

logger = logging.getLogger(__name__)

TIMED_EVERY = 16
"""Timing a step on CUDA means synchronising the device, so one step in so many is timed; on a CPU, every step."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitJob:
    """The inputs of a fit.

    Attributes:
        encoder: frozen; its readout layer is used.
        source: the training split.
        readout: sizes of the readouts.
        config: how they are fitted.
        loss: outputs [R, B, ...] and target -> (sum [R], count); the mean over a whole batch is minimised. A function,
            a `functools.partial` of one, or an instance of a dataclass: its name and values are part of the identity.
        selection: the held-out metric by which one readout is chosen.
        folder: of this fit alone; see `folder.py`.
        cache: of features on disk; None: features are not cached.
        workers: processes that load clips; 0 loads them in this one. With any, `source` must be picklable and a script
            that calls `fit` must be importable (`if __name__ == "__main__"`). The result does not depend on it.
        allow_missing: whether a training clip that cannot be read is left out of its batch and named in the summary,
            instead of ending the fit. It is not replaced by another one.
        tensorboard: whether to write a TensorBoard log.
    """

    encoder: Encoder
    source: Source
    readout: Sizes
    config: FitConfig
    loss: Measure
    selection: Selection
    folder: Path
    cache: Cache | None = None
    workers: int = 0
    allow_missing: bool = False
    tensorboard: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoder", self.encoder.at("readout"))
        if self.cache is not None and self.cache.mode == "off":
            object.__setattr__(self, "cache", None)

    def features(self) -> dict[str, Any]:
        """All that can change the features."""
        return feature_identity(self.encoder, self.source)

    def identity(self) -> dict[str, Any]:
        """All that can change the readout."""
        return fit_identity(self.encoder, self.source, self.readout, self.config, self.loss, self.selection, self.cache)


def fit(job: FitJob) -> Fitted:
    """Fits readouts of one shape, chooses one and writes it to the job's folder; a finished fit is only read.

    Under `torchrun` every process calls this with the same job; rank 0 writes.

    Raises:
        UserError: the folder holds another fit, the disk is too small, a file is unreadable, the batch cannot be
            divided among the processes, or every replica diverged.
    """
    with process_group(job.encoder) as processes:
        with FitFolder(job.folder, job.identity(), writes=processes.is_main) as folder:
            processes.barrier()
            summary = folder.finished()
            if summary is None:
                fitter = _Fitter(job, folder, processes)
                fitter.train()
                summary = fitter.finish()
            else:
                logger.info("%s: this readout is fitted; it is only read", job.folder)
            processes.barrier()
        return Fitted(readout=load_readout(job.folder / READOUT).to(job.encoder.device), summary=summary)


class _Fitter:
    """The state of one fit: replicas, step number, losses since the last line of the log, and times."""

    def __init__(self, job: FitJob, folder: FitFolder, processes: ProcessGroup) -> None:
        self.job, self.folder, self.processes = job, folder, processes
        self.config, self.device = job.config, job.encoder.device
        self.names = [f"lr {rate:g} seed {seed}" for rate, seed in self.config.replicas]

        store = None if job.cache is None else FeatureStore(job.cache, job.features())
        batches = functools.partial(Batches, source=job.source, store=store, allow_missing=job.allow_missing)
        training, held_out = split(job.source.names, self.config.held_out, self.config.held_out_least)
        self.training = batches(indices=training, seed=self.config.sampling_seed)
        self.held_out = batches(indices=held_out, seed=None)
        self.features = FrozenFeatures(job.encoder, store)
        self.feature_shape = self._feature_shape()

        self.replicas = Replicas(job.readout, self.config, self.device)
        count = len(self.names)
        self.step = 0
        self.finite = torch.ones(count, dtype=torch.bool, device=self.device)
        self.loss_since_log = torch.zeros(count, dtype=torch.float64, device=self.device)
        self.left_out: set[str] = set()
        self.stopwatch = Stopwatch(self.device, {"loading": 0.0, "encoder": 0.0, "step": 0.0, "wall": 0.0})
        self.timed_clips = 0
        self._announce()

    def _feature_shape(self) -> tuple[int, int, int]:
        """(T, N, D) of the features of a clip; UserError where the readout was made for another."""
        frames, height, width, _ = self.held_out.clip_shape()
        encoder, readout = self.job.encoder, self.job.readout
        shape = (frames, math.prod(encoder.grid(height, width)), encoder.card.width)
        if (readout.frames, readout.channels) != (shape[0], shape[2]):
            raise UserError(
                f"features of a clip are {shape}; the readout is made for {readout.frames} frames of "
                f"{readout.channels} channels"
            )
        return shape

    def _announce(self) -> None:
        config, store = self.config, self.training.store
        parameters = sum(p.numel() for p in self.replicas.module.parameters())
        logger.info(
            f"{len(self.names)} readouts of {parameters / len(self.names) / 1e6:.1f} M parameters: "
            f"{', '.join(self.names)}; {config.steps:,} steps of {config.batch} clips from "
            f"{len(self.training.indices):,} examples"
        )
        logger.info(f"{self._selection_rule()}; the scored split takes no part in it")
        if self.folder.writes:
            # Parameters and two moments, float32.
            self.folder.require_disk_space(12 * parameters)
        if store is not None:
            wanted = config.steps * config.batch + len(self.held_out.indices)
            logger.info(store.estimate(min(self.job.source.distinct, wanted), self.feature_shape))

    def _selection_rule(self) -> str:
        best = "highest" if self.job.selection.higher_is_better else "lowest"
        count = len(self.held_out.indices)
        metric = self.job.selection.name
        return f"the readout that reports has the {best} {metric} on {count:,} held-out training examples"

    def train(self) -> None:
        """From the last checkpoint, or from the start, to the last step."""
        self._resume()
        config, first_step = self.config, self.step
        if self.folder.writes:
            self.folder.open_log(self.step, board=self.job.tensorboard)
        started = saved = time.monotonic()
        earlier = self.stopwatch.seconds["wall"]
        # None: tqdm decides by whether there is a terminal.
        hide_bar = None if self.processes.is_main else True
        batches = self._batches()
        with tqdm(total=config.steps, initial=self.step, unit="step", desc="fit", disable=hide_bar) as progress:
            while self.step < config.steps:
                try:
                    self._train_step(batches)
                except UserError:
                    # A clip that cannot be read ends the fit between two updates: the steps before it are kept.
                    if self.step > first_step:
                        self._save()
                    raise
                progress.update()
                last = self.step == config.steps
                if last or self.step % config.log_every == 0:
                    progress.set_postfix_str(self._log())
                self.stopwatch.seconds["wall"] = earlier + time.monotonic() - started
                if last or time.monotonic() - saved >= config.checkpoint_every_s:
                    self._save()
                    saved = time.monotonic()
        if self.folder.writes and self.step > first_step:
            self.folder.add_timing(
                {
                    "finished": now(),
                    "from": first_step,
                    "to": self.step,
                    "seconds": round(self.stopwatch.seconds["wall"] - earlier, 3),
                    "clips": (self.step - first_step) * config.batch,
                }
            )

    def _batches(self) -> Iterator[Batch]:
        """The parts of the remaining steps that fall to this process."""
        config = self.config
        numbers = schedule(
            range(self.step, config.steps),
            batch=config.batch,
            accumulate=config.accumulate,
            world=self.processes.world_size,
            rank=self.processes.rank,
        )
        return self.training.load(numbers, self.job.workers)

    def _train_step(self, batches: Iterator[Batch]) -> None:
        """Loads the parts of one step, encodes them and updates every replica."""
        config, timed = self.config, self._timed()
        with self.stopwatch.section("loading", enabled=timed):
            parts = [next(batches).to(self.device) for _ in range(config.accumulate)]
        for part in parts:
            self.left_out.update(part.left_out)
        with self.stopwatch.section("step", enabled=timed):
            losses = train_step(
                self.replicas,
                self._encoded(parts),
                self._whole_batch_loss(parts),
                [config.rate(peak, self.step) for peak, _ in config.replicas],
                self.processes.all_reduce,
            )
        # A replica that diverged goes on without any effect on the others, and is never chosen.
        self.finite &= torch.isfinite(losses)
        self.loss_since_log += losses
        self.step += 1
        if timed:
            self.timed_clips += config.batch

    def _encoded(self, parts: Sequence[Batch]) -> Iterator[Part]:
        for batch in parts:
            if batch.numbers:
                with self.stopwatch.section("encoder", enabled=self._timed()):
                    features = self._encode(self.training, batch)
                yield Part(features, batch.queries, batch.target)

    def _encode(self, data: Batches, batch: Batch) -> Tensor:
        return self.features(batch.keys, functools.partial(data.clip, batch), self.feature_shape)

    def _whole_batch_loss(self, parts: Sequence[Batch]) -> Measure:
        """The loss of a part. A loss whose terms have divisors of their own gets those of the whole batch."""
        loss: Any = self.job.loss
        if not hasattr(loss, "divisors"):
            return loss
        total = torch.zeros(loss.divisor_count, dtype=torch.float64, device=self.device)
        for part in parts:
            if part.numbers:
                total += loss.divisors(part.target)
        return functools.partial(loss, divisors=self.processes.all_reduce(total))

    def _timed(self) -> bool:
        return self.device.type != "cuda" or self.step % TIMED_EVERY == 0

    def _log(self) -> str:
        """Logs the mean losses since the last line, and returns what the progress bar shows."""
        config = self.config
        steps = (self.step - 1) % config.log_every + 1
        means = [value / steps for value in self.loss_since_log.tolist()]
        finite = [ok and math.isfinite(mean) for ok, mean in zip(self.finite.tolist(), means, strict=True)]
        self.loss_since_log.zero_()
        self.left_out = self.processes.all_union(self.left_out)
        if not self.finite.any():
            rates = ", ".join(f"{rate:g}" for rate in config.learning_rates)
            raise UserError(f"every readout diverged by step {self.step:,} (learning rates {rates}); try smaller ones")
        if self.folder.writes:
            losses = [mean if ok else None for ok, mean in zip(finite, means, strict=True)]
            rates_now = [config.rate(peak, self.step - 1) for peak, _ in config.replicas]
            self.folder.log(self.step, self.names, losses, rates_now)
        best = min((i for i, ok in enumerate(finite) if ok), key=lambda i: means[i])
        diverged = int((~self.finite).sum())
        return f"loss {means[best]:.4g} ({self.names[best]})" + (f", {diverged} diverged" if diverged else "")

    def _resume(self) -> None:
        checkpoint = self.folder.load()
        if checkpoint is None:
            return
        tensors, facts = checkpoint
        self.step = facts["step"]
        self.replicas.optimiser.load(tensors, self.step)
        self.finite.copy_(tensors["finite"])
        self.loss_since_log.copy_(tensors["loss_since_log"])
        self.stopwatch.seconds.update(facts["seconds"])
        self.timed_clips = facts["timed_clips"]
        self.left_out = set(facts["left_out"])
        logger.info(f"{self.folder.path}: resumed from step {self.step:,} of {self.config.steps:,}")

    def _save(self) -> None:
        if not self.folder.writes:
            return
        if self.features.store is not None:
            self.features.store.flush()
        tensors = {**self.replicas.optimiser.tensors(), "finite": self.finite, "loss_since_log": self.loss_since_log}
        facts = {
            "step": self.step,
            "seconds": dict(self.stopwatch.seconds),
            "timed_clips": self.timed_clips,
            "left_out": sorted(self.left_out),
        }
        self.folder.save(tensors, facts)

    @torch.no_grad()
    def _held_out_scores(self) -> list[float]:
        """The selection metric of each replica over all held-out examples."""
        config, processes = self.config, self.processes
        size = max(1, config.batch // (processes.world_size * config.accumulate))
        numbers = range(len(self.held_out.indices))[processes.rank :: processes.world_size]
        parts = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        sums = torch.zeros(len(self.names) + 1, dtype=torch.float64, device=self.device)
        for batch in self.held_out.load(parts, self.job.workers):
            batch.to(self.device)
            self.left_out.update(batch.left_out)
            if not batch.numbers:
                continue
            outputs = self.replicas.outputs(self._encode(self.held_out, batch), batch.queries)
            total, count = self.job.selection.measure(outputs, batch.target)
            sums[:-1] += total
            sums[-1] += count
        processes.all_reduce(sums)
        self.left_out = processes.all_union(self.left_out)
        return (sums[:-1] / sums[-1].clamp(min=SMALLEST_COUNT)).tolist()

    def finish(self) -> dict[str, Any]:
        """Chooses a replica, writes it, and returns the summary."""
        scores = [
            score if finite and math.isfinite(score) else None
            for finite, score in zip(self.finite.tolist(), self._held_out_scores(), strict=True)
        ]
        chosen = self._best(scores)
        if self.left_out:
            logger.warning(
                f"{len(self.left_out)} files of the training split were left out; the first: {min(self.left_out)}"
            )
        if self.features.store is not None:
            self.features.store.flush()
        choice = self._choice(chosen, scores)
        summary = {**choice, **self._facts()}
        if self.folder.writes:
            tensors = {name: torch.from_numpy(array) for name, array in self.replicas.module.arrays(chosen).items()}
            self.folder.finish(tensors, {"readout": self.replicas.module.config.describe(), **choice}, summary)
        return summary

    def _best(self, scores: Sequence[float | None]) -> int:
        """The replica with the best held-out score; the first of equal ones."""
        finite = {i: score for i, score in enumerate(scores) if score is not None}
        if not finite:
            raise UserError(f"no readout has a finite {self.job.selection.name} on the held-out examples")
        sign = 1 if self.job.selection.higher_is_better else -1
        chosen = max(finite, key=lambda i: sign * finite[i])
        each = ", ".join(
            f"{name}: {'diverged' if score is None else f'{score:.6g}'}"
            for name, score in zip(self.names, scores, strict=True)
        )
        logger.info(f"{self._selection_rule()}: {self.names[chosen]} with {finite[chosen]:.6g}, of {each}")
        return chosen

    def _choice(self, chosen: int, scores: Sequence[float | None]) -> dict[str, Any]:
        replicas = self.config.replicas
        return {
            "rule": self._selection_rule(),
            "metric": self.job.selection.name,
            "chosen": {"learning_rate": replicas[chosen][0], "seed": replicas[chosen][1]},
            "replicas": [
                {"learning_rate": rate, "seed": seed, "diverged": not finite, "score": score}
                for (rate, seed), finite, score in zip(replicas, self.finite.tolist(), scores, strict=True)
            ],
        }

    def _facts(self) -> dict[str, Any]:
        """How long the fit took, and on what."""
        seconds = self.stopwatch.seconds
        # A step encodes and updates; loading comes before it.
        everything = seconds["step"] + seconds["loading"]
        return {
            "steps": self.config.steps,
            "training_examples": len(self.training.indices),
            "held_out_examples": len(self.held_out.indices),
            "left_out": sorted(self.left_out),
            "processes": self.processes.world_size,
            "wall_s": round(seconds["wall"], 3),
            "clips_per_s": round(self.timed_clips / everything, 3),
            "share_of_encoder": round(seconds["encoder"] / everything, 4),
            "share_of_loading": round(seconds["loading"] / everything, 4),
            "finished": now(),
        }
