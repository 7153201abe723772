"""Fits readouts on frozen features: learning rates x seeds side by side, on one forward of the encoder.

What is trained, in which order and at which rate follows from the configuration alone, so a fit that is killed and
started again ends, on a CPU, with the same bits, and one of several processes (`torchrun`) with the same numbers
within rounding. The readout that reports is chosen on held-out training examples; the scored split is never seen.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from readouts.fitting.features import Cache, FeatureStore, FrozenFeatures
from readouts.fitting.fitted import Fitted, load_readout
from readouts.fitting.folder import READOUT, FitFolder, feature_identity, fit_identity
from readouts.fitting.optim import FitConfig, Heads, clock
from readouts.fitting.sampling import Batch, Batches, Source, schedule, split
from readouts.heads.replicated import Sizes
from readouts.losses import Measure, Selection
from rvm_bench.api.encoder import Encoder
from rvm_bench.errors import UserError
from rvm_bench.formats.time import now
from rvm_bench.runs.distributed import Ranks, joined_ranks


def fit(
    encoder: Encoder,
    source: Source,
    readout: Sizes,
    config: FitConfig,
    loss: Measure,
    selection: Selection,
    folder: Path,
    *,
    cache: Cache | None = None,
    workers: int = 0,
    leave_out_damaged: bool = False,
    board: bool = True,
    say: Callable[[str], object] = print,
) -> Fitted:
    """Fits readouts of one shape, chooses one, and leaves it in `folder`; what is done there is not done again.

    Under `torchrun` every process calls this alike; the first of them writes and speaks.

    Args:
        encoder: frozen; its readout layer is taken.
        source: the training split.
        readout: sizes of the readouts.
        config: how they are fitted.
        loss: outputs [R, B, ...] and target -> (sum [R], count); the mean over a whole batch is minimised. A function,
            a `functools.partial` of one, or an instance of a dataclass: its name and values are part of the identity.
        selection: by which held-out metric one is chosen.
        folder: of this fit alone; see `fit_folder`.
        cache: where features are kept; None keeps none.
        workers: processes that load clips; 0: this one does. With any, `source` must be picklable and a script that
            calls this must be importable (`if __name__ == "__main__"`). The result does not depend on it.
        leave_out_damaged: whether a training clip that cannot be read is left out of its batch and named in the
            summary, instead of ending the fit. Nothing takes its place.
        board: whether to write a TensorBoard log.
        say: where lines for the user go.

    Raises:
        UserError: the folder holds another fit, the disk is too small, a file is unreadable, the batch cannot be
            divided, or every replica diverged.
    """
    encoder = encoder.at("readout")
    cache = None if cache is None or cache.mode == "off" else cache
    with joined_ranks(encoder) as ranks:
        if ranks.rank:
            say = _silent
        identity = fit_identity(encoder, source, readout, config, loss, selection, cache)
        with FitFolder(folder, identity, writes=ranks.rank == 0) as kept:
            ranks.wait()
            if (summary := kept.finished()) is None:
                store = None
                if cache is not None:
                    store = FeatureStore(cache, feature_identity(encoder, source), say=say)
                batches = functools.partial(Batches, source=source, store=store, leave_out_damaged=leave_out_damaged)
                training, held_out = split(source.names, config.held_out, config.held_out_least)
                data = batches(indices=training, seed=config.sampling_seed), batches(indices=held_out, seed=None)
                run = _Fit(encoder, data, readout, config, loss, selection, kept, ranks, workers, say)
                run.train(board)
                summary = run.conclude()
            else:
                say(f"{folder}: this readout is fitted; it is only read")
            ranks.wait()
        return Fitted(readout=load_readout(folder / READOUT).to(encoder.device), summary=summary)


class _Fit:
    """One call of `fit`."""

    def __init__(
        self,
        encoder: Encoder,
        data: tuple[Batches, Batches],
        readout: Sizes,
        config: FitConfig,
        loss: Measure,
        selection: Selection,
        kept: FitFolder,
        ranks: Ranks,
        workers: int,
        say: Callable[[str], object],
    ) -> None:
        self.config, self.loss, self.selection = config, loss, selection
        self.kept, self.ranks, self.workers, self.say = kept, ranks, workers, say
        self.replicas, self.device = config.replicas, encoder.device
        self.names = [f"lr {rate:g} seed {seed}" for rate, seed in self.replicas]
        self.training, self.held_out = data
        self.features = FrozenFeatures(encoder, self.training.store)
        self.damaged: set[str] = set()
        self.heads = Heads(readout, config, self.device)
        self.step = 0
        self.alive = torch.ones(len(self.replicas), dtype=torch.bool, device=self.device)
        self.window = torch.zeros(len(self.replicas), dtype=torch.float64, device=self.device)
        self.seconds = {"loading": 0.0, "encoder": 0.0, "all": 0.0, "wall": 0.0}
        self.timed_clips = 0
        frames, height, width, _ = self.held_out.clip_shape()
        self.shape = (frames, math.prod(encoder.grid(height, width)), encoder.card.width)
        if (readout.frames, readout.channels) != (self.shape[0], self.shape[2]):
            raise UserError(
                f"features of a clip are {self.shape}; the readout is made for {readout.frames} frames of "
                f"{readout.channels} channels"
            )
        self._announce()

    def _announce(self) -> None:
        store, distinct = self.training.store, self.training.source.distinct
        config, size = self.config, sum(p.numel() for p in self.heads.module.parameters())
        self.say(
            f"{len(self.names)} readouts of {size / len(self.names) / 1e6:.1f} M parameters: {', '.join(self.names)}; "
            f"{config.steps:,} steps of {config.batch} clips from {len(self.training.indices):,} examples"
        )
        self.say(f"{self._rule()}; the scored split takes no part in it")
        if self.kept.writes:
            self.kept.require_disk_space(12 * size)
        if store is not None:
            wanted = config.steps * config.batch + len(self.held_out.indices)
            self.say(store.estimate(min(distinct, wanted), self.shape))

    def _rule(self) -> str:
        best = "highest" if self.selection.higher_is_better else "lowest"
        count = len(self.held_out.indices)
        return f"the readout that reports has the {best} {self.selection.name} on {count:,} held-out training examples"

    def train(self, board: bool) -> None:
        """From the last checkpoint, or from the start, to the last step."""
        self._resume()
        if self.kept.writes:
            self.kept.open_log(self.step, board=board)
        config, first, clips = self.config, self.step, 0
        parts = schedule(
            range(self.step, config.steps),
            batch=config.batch,
            accumulate=config.accumulate,
            world=self.ranks.world,
            rank=self.ranks.rank,
        )
        batches = self.training.load(parts, self.workers)
        started = saved = time.monotonic()
        before = self.seconds["wall"]
        silent = True if self.ranks.rank else None
        with tqdm(total=config.steps, initial=self.step, unit="step", desc="fit", disable=silent) as progress:
            while self.step < config.steps:
                try:
                    self._update(batches)
                except UserError:
                    # A clip that cannot be read ends the fit between two updates: what came before is kept.
                    if self.kept.writes and self.step > first:
                        self._save()
                    raise
                clips += config.batch
                progress.update()
                if self.step % config.log_every == 0 or self.step == config.steps:
                    progress.set_postfix_str(self._log())
                last = self.step == config.steps
                self.seconds["wall"] = before + time.monotonic() - started
                if self.kept.writes and (last or time.monotonic() - saved >= config.checkpoint_every_s):
                    self._save()
                    saved = time.monotonic()
        if self.kept.writes and clips:
            self.kept.add_timing(
                {
                    "finished": now(),
                    "from": first,
                    "to": self.step,
                    "seconds": round(self.seconds["wall"] - before, 3),
                    "clips": clips,
                }
            )

    def _resume(self) -> None:
        found = self.kept.load()
        if found is None:
            return
        tensors, facts = found
        self.step = facts["step"]
        with torch.no_grad():
            for name, part in self.heads.optimiser.slices.items():
                part.copy_(tensors[name])
        self.heads.optimiser.restore(tensors, self.step)
        self.alive.copy_(tensors["alive"])
        self.window.copy_(tensors["window"])
        self.seconds, self.timed_clips = facts["seconds"], facts["timed_clips"]
        self.damaged = set(facts["damaged"])
        self.say(f"{self.kept.path}: resumed from step {self.step:,} of {self.config.steps:,}")

    def _save(self) -> None:
        if self.features.store is not None:
            self.features.store.flush()
        optimiser = self.heads.optimiser
        tensors = {**optimiser.slices, **optimiser.state(), "alive": self.alive, "window": self.window}
        facts = {"step": self.step, "seconds": self.seconds, "timed_clips": self.timed_clips}
        facts["damaged"] = sorted(self.damaged)
        self.kept.save(tensors, facts)

    def _update(self, batches: Iterator[Batch]) -> None:
        """One step: every part forward and backward, gradients summed over parts and processes, one update."""
        config, optimiser, count = self.config, self.heads.optimiser, len(self.replicas)
        # To time an accelerator we wait for it, so not at every step.
        timed = self.device.type != "cuda" or self.step % 16 == 0
        start = clock(self.device, wait=timed)
        optimiser.gradient.zero_()
        sums = torch.zeros(count + 1, dtype=torch.float64, device=self.device)
        parts = [next(batches).to(self.device) for _ in range(config.accumulate)]
        self.damaged.update(*(part.damaged for part in parts))
        loading, encoding = clock(self.device, wait=timed) - start, 0.0
        loss = self._whole_loss(parts)
        for batch in parts:
            if not batch.numbers:
                continue
            before = clock(self.device, wait=timed)
            features = self._encode(self.training, batch)
            encoding += clock(self.device, wait=timed) - before
            total, places = loss(self.heads.outputs(features, batch.queries), batch.target)
            total.sum().backward()
            sums[:count] += total.detach()
            sums[count] += places
        self.ranks.sum(optimiser.gradient)
        losses = self.ranks.sum(sums)[:count] / sums[count].clamp(min=1e-12)
        optimiser.gradient.div_(sums[count].clamp(min=1e-12))
        # A replica that has diverged goes on, with no effect on the others, and is never chosen.
        self.alive &= torch.isfinite(losses)
        self.window += losses
        optimiser.step([config.rate(peak, self.step) for peak, _ in self.replicas])
        self.step += 1
        if timed:
            self.seconds["loading"] += loading
            self.seconds["encoder"] += encoding
            self.seconds["all"] += clock(self.device) - start
            self.timed_clips += config.batch

    def _whole_loss(self, parts: Sequence[Batch]) -> Measure:
        """The loss of a part, told what its terms are to be divided by over the whole batch, where it asks for that."""
        loss: Any = self.loss
        if not hasattr(loss, "divisors"):
            return loss
        total = torch.zeros(loss.divisor_count, dtype=torch.float64, device=self.device)
        for part in parts:
            if part.numbers:
                total += loss.divisors(part.target)
        return functools.partial(loss, divisors=self.ranks.sum(total))

    def _encode(self, data: Batches, batch: Batch) -> Tensor:
        return self.features(batch.keys, lambda position: data.clip(batch, position), self.shape)

    def _log(self) -> str:
        """Logs the mean losses since the last line, and returns what the progress bar says."""
        config, replicas = self.config, range(len(self.replicas))
        steps = (self.step - 1) % config.log_every + 1
        alive = self.alive.tolist()
        means = [value / steps for value in self.window.tolist()]
        losses = [means[i] if alive[i] and math.isfinite(means[i]) else None for i in replicas]
        self.window.zero_()
        self.damaged = self.ranks.union(self.damaged)
        if not any(alive):
            rates = ", ".join(f"{rate:g}" for rate in config.learning_rates)
            raise UserError(f"every readout diverged by step {self.step:,} (learning rates {rates}); try smaller ones")
        if self.kept.writes:
            rates_now = [config.rate(peak, self.step - 1) for peak, _ in self.replicas]
            self.kept.log(self.step, self.names, losses, rates_now)
        best = min((i for i in replicas if losses[i] is not None), key=lambda i: means[i])
        lost = len(alive) - sum(alive)
        return f"loss {means[best]:.4g} ({self.names[best]})" + (f", {lost} diverged" if lost else "")

    @torch.no_grad()
    def _score(self) -> list[float]:
        """The selection metric of each replica over all held-out examples."""
        count = len(self.replicas)
        size = max(1, self.config.batch // (self.ranks.world * self.config.accumulate))
        numbers = range(len(self.held_out.indices))[self.ranks.rank :: self.ranks.world]
        parts = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        sums = torch.zeros(count + 1, dtype=torch.float64, device=self.device)
        for batch in self.held_out.load(parts, self.workers):
            batch.to(self.device)
            self.damaged.update(batch.damaged)
            if not batch.numbers:
                continue
            outputs = self.heads.outputs(self._encode(self.held_out, batch), batch.queries)
            total, places = self.selection.measure(outputs, batch.target)
            sums[:count] += total
            sums[count] += places
        self.ranks.sum(sums)
        self.damaged = self.ranks.union(self.damaged)
        return (sums[:count] / sums[count].clamp(min=1e-12)).tolist()

    def conclude(self) -> dict[str, Any]:
        """Chooses a replica, writes it, and returns the summary."""
        alive, scores = self.alive.tolist(), self._score()
        sign = 1 if self.selection.higher_is_better else -1
        able = [i for i in range(len(scores)) if alive[i] and math.isfinite(scores[i])]
        if not able:
            raise UserError(f"no readout has a finite {self.selection.name} on the held-out examples")
        chosen = max(able, key=lambda i: sign * scores[i])
        told = [
            {"learning_rate": rate, "seed": seed, "diverged": not alive[i], "score": scores[i] if i in able else None}
            for i, (rate, seed) in enumerate(self.replicas)
        ]
        choice = {
            "rule": self._rule(),
            "metric": self.selection.name,
            "chosen": {"learning_rate": self.replicas[chosen][0], "seed": self.replicas[chosen][1]},
            "replicas": told,
        }
        self.say(
            f"{self._rule()}: {self.names[chosen]} with {scores[chosen]:.6g}, of "
            + ", ".join(
                f"{name}: {'diverged' if i not in able else f'{scores[i]:.6g}'}" for i, name in enumerate(self.names)
            )
        )
        if self.damaged:
            self.say(f"{len(self.damaged)} files of the training split were left out; the first: {min(self.damaged)}")
        everything = self.seconds["all"]
        summary = {
            **choice,
            "steps": self.config.steps,
            "training_examples": len(self.training.indices),
            "held_out_examples": len(self.held_out.indices),
            "damaged": sorted(self.damaged),
            "processes": self.ranks.world,
            "wall_s": round(self.seconds["wall"], 3),
            "clips_per_s": round(self.timed_clips / everything, 3),
            "share_of_encoder": round(self.seconds["encoder"] / everything, 4),
            "share_of_loading": round(self.seconds["loading"] / everything, 4),
            "finished": now(),
        }
        if self.features.store is not None:
            self.features.store.flush()
        if self.kept.writes:
            tensors = {name: torch.from_numpy(array) for name, array in self.heads.module.arrays(chosen).items()}
            self.kept.finish(tensors, {"readout": self.heads.module.config.describe(), **choice}, summary)
        return summary


def _silent(line: str) -> None:
    pass
