"""A pre-training from its first step, or from its last checkpoint, to its last step, on either backend.

What is computed follows from the recipe and the data alone: a training that is killed and started again goes on with
the same batches and rates, and logs the same losses as an unbroken one (on a CPU, with the same bits).
"""

import dataclasses
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rvm_bench.errors import UserError, optional_packages, unknown_name
from rvm_bench.formats.time import now
from rvm_bench.nn.schedule import warmup_cosine
from rvm_bench.runs.stamp import code_version
from rvm_bench.rvm.train.cost import DEVICES, parameters, step_flops, total_flops
from rvm_bench.rvm.train.data.loader import LEFT_OUT_LIMIT, TrainingBatch, TrainingLoader
from rvm_bench.rvm.train.data.mixture import Mixture
from rvm_bench.rvm.train.data.sources import PAPER_MIXTURE, Source
from rvm_bench.rvm.train.folder import PretrainingFolder
from rvm_bench.rvm.train.recipes import Recipe
from rvm_bench.rvm.train.trainer import Layout, Trainer

logger = logging.getLogger(__name__)

BACKENDS = ("torch", "jax")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What does not change the result of a training.

    Attributes:
        workers: processes that make batches; 0: the training process does.
        log_every: steps between two lines of the log.
        checkpoint_every: steps between two checkpoints. keep: how many stay.
        pictures_every: steps between two pictures of reconstructions; 0 for none.
        left_out_limit: share of samples that may be left out because their file is damaged.
        peak_flops: of one device, per second, to give the share of it (MFU); None takes that of a device that
            `rvm_bench.rvm.train.cost.DEVICES` knows by its name.
        board: whether to write a TensorBoard log.
    """

    workers: int = 0
    log_every: int = 10
    checkpoint_every: int = 1000
    keep: int = 2
    pictures_every: int = 1000
    left_out_limit: float = LEFT_OUT_LIMIT
    peak_flops: float | None = None
    board: bool = True

    def __post_init__(self) -> None:
        for name in ("log_every", "checkpoint_every", "keep"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")


def train(
    recipe: Recipe,
    sources: Sequence[Source],
    out: Path,
    *,
    backend: str = "torch",
    layout: Layout | None = None,
    device: str | None = None,
    options: TrainingOptions | None = None,
) -> int:
    """Trains, or goes on training, in a folder, and returns the updates that are done.

    It is fewer than the recipe's where SIGINT or SIGTERM asked it to stop; a checkpoint is then saved first. Under
    `torchrun`, or on every host of a TPU pod, each process calls this alike.

    Args:
        recipe: what is trained.
        sources: the data; none takes what the recipe's `mixture` names.
        out: the folder, which all processes see.
        backend: "torch" or "jax".
        layout: on what.
        device: torch's name; None takes CUDA where there is one. JAX takes what it finds.
        options: what does not change the result.

    Raises:
        UserError: unknown backend, no data, too many damaged files, a folder of another training, a damaged
            checkpoint, a layout that cannot be, or a loss that is no longer finite.
    """
    options = options or TrainingOptions()
    mixture = Mixture(_sources(recipe, sources), recipe.samples())
    with make_trainer(recipe, backend, layout or Layout(), device) as trainer:
        identity = {"recipe": dataclasses.asdict(recipe), "data": mixture.describe(), "backend": backend}
        with (
            PretrainingFolder(out, identity, writes=trainer.leads) as folder,
            TrainingLoader(
                mixture,
                batch=recipe.batch,
                host=trainer.host,
                workers=options.workers,
                left_out_limit=options.left_out_limit,
            ) as loader,
            _asked_to_stop() as asked,
        ):
            return _Training(trainer, folder, loader, options).run(asked)


def make_trainer(recipe: Recipe, backend: str, layout: Layout, device: str | None = None) -> Trainer:
    """The trainer of a backend, at the recipe's initial weights.

    Raises:
        UserError: an unknown backend, a package that is not installed, or a layout or device that cannot be.
    """
    if backend == "torch":
        from rvm_bench.rvm.train.torch.trainer import TorchTrainer

        return TorchTrainer(recipe, layout, device)
    if backend == "jax":
        with optional_packages("training with jax needs", "jax,train"):
            from rvm_bench.rvm.train.jax.trainer import JaxTrainer
        if device is not None:
            raise UserError("--device is torch's; JAX trains on the devices that it finds (JAX_PLATFORMS chooses)")
        return JaxTrainer(recipe, layout)
    raise unknown_name("backend", backend, BACKENDS)


class _Training:
    """One call of `train`."""

    def __init__(
        self,
        trainer: Trainer,
        folder: PretrainingFolder,
        loader: TrainingLoader,
        options: TrainingOptions,
    ) -> None:
        self.trainer, self.folder, self.loader, self.options = trainer, folder, loader, options
        self.recipe = trainer.recipe
        self.flops = step_flops(self.recipe)
        self.peak = options.peak_flops or _known_peak(trainer.device_label)
        self.saved = -1
        self.window: list[Any] = []  # losses since the last line of the log

    def run(self, asked: Callable[[], bool]) -> int:
        recipe, options, trainer = self.recipe, self.options, self.trainer
        step, loader_state = self.folder.resume(trainer)
        first = self.saved = step
        if loader_state is not None:
            self.loader.restore(loader_state)
            self.window = loader_state["losses"]
        self._announce(first)
        if step == recipe.steps:
            return step
        if trainer.leads:
            self.folder.open_log(step, board=options.board)
        marked, mark_step = time.monotonic(), step
        with tqdm(total=recipe.steps, initial=step, unit="step", disable=not trainer.leads) as progress:
            while step < recipe.steps:
                batch = self._next_batch(step)
                found = trainer.step(batch, self._rate(step))
                self.window.append(found["loss"])
                step += 1
                progress.update()
                logs = step % options.log_every == 0 or step == recipe.steps
                if logs:
                    values = self._checked(step, found)
                    self.window.clear()
                    seconds, steps = time.monotonic() - marked, step - mark_step
                    marked, mark_step = time.monotonic(), step
                    progress.set_postfix_str(self._log(step, values, seconds / steps))
                if options.pictures_every and (step % options.pictures_every == 0 or step == recipe.steps):
                    self._picture(step, batch)
                # One process may stop at any step; many have to agree, which waits for the devices.
                stops = (trainer.host[1] == 1 or logs) and trainer.agree(asked())
                if stops or step % options.checkpoint_every == 0 or step == recipe.steps:
                    self._save(step)
                if stops and step < recipe.steps:
                    self._info(f"stopped after {step:,} steps, which are kept; the same command goes on")
                    break
        return step

    def _info(self, line: str) -> None:
        """Only rank 0 logs what concerns all processes."""
        if self.trainer.leads:
            logger.info(line)

    def _next_batch(self, step: int) -> TrainingBatch:
        try:
            return next(self.loader)
        except UserError:
            # Too many damaged files. What came before is kept; other processes stop at their next collective.
            if step > self.saved and self.trainer.host[1] == 1:
                self._save(step)
            raise

    def _rate(self, step: int) -> float:
        recipe = self.recipe
        return warmup_cosine(
            step,
            peak=recipe.learning_rate,
            final=recipe.final_rate,
            warmup_steps=recipe.warmup_steps,
            steps=recipe.steps,
        )

    def _checked(self, step: int, found: dict[str, Any]) -> dict[str, float]:
        loss = math.fsum(map(float, self.window)) / len(self.window)
        values = {"loss": loss, "gradient_norm": float(found["gradient_norm"])}
        if not all(map(math.isfinite, values.values())):
            raise self._diverged(step, loss, values["gradient_norm"])
        return values

    def _diverged(self, step: int, loss: float, gradient_norm: float) -> UserError:
        return UserError(
            f"after {step} steps the loss is {loss} and the norm of the gradients {gradient_norm}; the last checkpoint "
            f"is from step {self.saved}. A lower learning_rate or clip_norm, in another folder, may help"
        )

    def _log(self, step: int, values: dict[str, float], seconds: float) -> str:
        """Writes a line, with the mean loss since the line before; what the progress bar shows."""
        clips = self.recipe.batch / seconds
        speed = {"clips_per_s": clips, "tflops_per_device": self.flops / seconds / self.trainer.devices / 1e12}
        if self.peak:
            speed["mfu"] = self.flops / seconds / self.trainer.devices / self.peak
        if self.trainer.leads:
            values = {**values, "learning_rate": self._rate(step - 1)}
            scalars = {**values, **{f"speed/{name}": value for name, value in speed.items()}}
            self.folder.write_line(step, values, scalars)
            rounded = {name: float(f"{value:.4g}") for name, value in speed.items()}
            self.folder.add_timing({"step": step, "seconds_per_step": round(seconds, 4), **rounded})
        mfu = f", MFU {speed['mfu']:.1%}" if self.peak else ""
        return f"loss {values['loss']:.5f}, {clips:.1f} clips/s{mfu}"

    def _picture(self, step: int, batch: TrainingBatch) -> None:
        decoded = self.trainer.reconstruct(batch)
        if self.trainer.leads:
            from rvm_bench.rvm.train.data.pictures import strip

            picture = strip(batch, decoded, self.recipe.model.patch, self.recipe.mask_ratio)
            self.folder.add_picture(step, picture)

    def _save(self, step: int) -> None:
        losses = [float(loss) for loss in self.window]
        if not all(map(math.isfinite, losses)):
            raise self._diverged(step, math.fsum(losses), math.nan)
        self.folder.save(step, self.trainer, {**self.loader.state(), "losses": losses}, self.options.keep)
        self.saved = step

    def _announce(self, first: int) -> None:
        recipe, trainer = self.recipe, self.trainer
        count = parameters(recipe)
        self._info(
            f"{recipe.name}: {count / 1e6:.1f} M parameters, {recipe.steps:,} steps of {recipe.batch} clips, "
            f"{total_flops(recipe):.3g} FLOPs by formula, on {trainer.devices} x {trainer.device_label}"
        )
        if first:
            self._info(f"{self.folder.path}: {'all' if first == recipe.steps else f'{first:,}'} steps are done")
        if trainer.leads:
            self.folder.require_disk_space(12 * count, copies=self.options.keep + 1)
            self.folder.add_timing({"started": now(), "step": first, "code": code_version(), **_facts(trainer)})


def _facts(trainer: Trainer) -> dict[str, Any]:
    return {"devices": trainer.devices, "device": trainer.device_label, "hosts": trainer.host[1]}


def _sources(recipe: Recipe, sources: Sequence[Source]) -> Sequence[Source]:
    if sources:
        return sources
    if recipe.mixture == "procedural":
        return [Source(kind="procedural")]
    raise UserError(
        f"{recipe.name} is trained on videos; name them, as --data ssv2=folder:DIR (the sources of the paper: "
        f"{', '.join(PAPER_MIXTURE)}), --data folder:DIR, or take --data procedural"
    )


def _known_peak(label: str) -> float | None:
    """Of a device that the table of costs knows; TPU v6e calls itself "TPU v6 lite"."""
    known = {"h100": "h100", "v6 lite": "tpu-v6e", "v6e": "tpu-v6e"}
    return next((DEVICES[name].peak_flops for sign, name in known.items() if sign in label.lower()), None)


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM came, which do nothing else here the first time; a second SIGINT interrupts."""
    came: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: Any) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    except ValueError:  # signals are the main thread's
        yield lambda: False
        return
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
