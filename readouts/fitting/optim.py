"""How readouts are optimised: the recipe with its schedule, and AdamW with a learning rate per replica."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from readouts.heads.replicated import Sizes
from rvm_bench.errors import UserError
from rvm_bench.nn.schedule import warmup_cosine


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How readouts are fitted. Defaults: SciVid's recipe, the only official one (scivid `configs/launch_config.py`).

    Cost at the defaults: 1,280,000 clips through the encoder (7.6 epochs of SSv2, 2.4 of Kinetics-700), fewer with a
    cache. All learning rates and seeds share them.

    Attributes:
        learning_rates: peak learning rates: the official 3e-4, a smaller and a larger one. seeds: of the
            initialisation. There is one replica per pair; rates vary slowest.
        weight_decay: decoupled, on every parameter, multiplied by the learning rate.
        warmup_steps, steps, final_rate: linear warm-up from 0, then cosine decay to `final_rate`, the same for every
            peak (optax `warmup_cosine_decay_schedule`; between peaks of 1e-4 and 1e-3 it makes no difference).
        beta1, beta2, eps: of AdamW.
        batch: clips per step, over all processes. accumulate: parts into which each process divides its own.
        held_out: fraction of the training names that is held out to select the replica; at least `held_out_least`
            names.
        sampling_seed: of the order of the examples and of their augmentation.
        autocast: dtype of the readouts' matrix products; parameters and moments are float32 in any case.
        query_chunk: queries per attention call; see `AttentionReadout`.
        log_every: steps between lines of the log, whose losses are means over these steps.
        checkpoint_every_s: least wall time between checkpoints.
    """

    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    seeds: tuple[int, ...] = (0,)
    weight_decay: float = 1e-4
    warmup_steps: int = 1000
    steps: int = 40_000
    final_rate: float = 1e-7
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    batch: int = 32
    accumulate: int = 1
    held_out: float = 0.05
    held_out_least: int = 16
    sampling_seed: int = 0
    autocast: Literal["float32", "bfloat16"] = "float32"
    query_chunk: int = 1024
    log_every: int = 50
    checkpoint_every_s: float = 600.0

    def __post_init__(self) -> None:
        if not self.learning_rates or not self.seeds:
            raise UserError("learning_rates and seeds must each have at least one value")
        if len(set(self.replicas)) < len(self.replicas):
            raise UserError(f"learning_rates {self.learning_rates} or seeds {self.seeds} have a value twice")
        if not 0 <= self.warmup_steps < self.steps:
            raise UserError(f"warmup_steps is {self.warmup_steps} of {self.steps} steps; expected 0 <= it < steps")
        for name in ("batch", "accumulate", "log_every", "query_chunk", "held_out_least"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.held_out < 1:
            raise UserError(f"held_out is {self.held_out}; it must be in [0, 1)")
        if self.autocast not in ("float32", "bfloat16"):
            raise UserError(f"autocast is {self.autocast!r}; expected float32 or bfloat16")

    @property
    def replicas(self) -> list[tuple[float, int]]:
        """(peak learning rate, seed) of each replica."""
        return [(rate, seed) for rate in self.learning_rates for seed in self.seeds]

    def rate(self, peak: float, step: int) -> float:
        """Learning rate of the update after `step` updates."""
        return warmup_cosine(step, peak=peak, final=self.final_rate, warmup_steps=self.warmup_steps, steps=self.steps)


class StackedAdamW:
    """AdamW over a module with a leading axis of replicas, with a learning rate per replica.

    It is torch's fused AdamW over views: one parameter group per replica, holding its slice of every parameter.

    Attributes:
        gradient: gradients of all parameters in one flat buffer, so that processes sum them in one all-reduce.
        slices: "<replica>.<parameter>" -> that replica's parameter, a view of the module's.
    """

    def __init__(self, module: torch.nn.Module, replicas: int, config: FitConfig) -> None:
        parameters = dict(module.named_parameters())
        first = next(iter(parameters.values()))
        self.gradient = torch.zeros(sum(p.numel() for p in parameters.values()), device=first.device)
        self.slices: dict[str, Tensor] = {}
        groups: list[dict[str, Any]] = [{"params": []} for _ in range(replicas)]
        start = 0
        for name, parameter in parameters.items():
            # `backward` adds to a `grad` that exists, so gradients are accumulated in the buffer without a copy.
            parameter.grad = self.gradient[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()
            for replica, group in enumerate(groups):
                # Views share memory with the module: the optimiser updates the module in place.
                part = parameter.detach()[replica]
                part.grad = parameter.grad[replica]
                group["params"].append(part)
                self.slices[f"{replica}.{name}"] = part
        betas = (config.beta1, config.beta2)
        self._torch = torch.optim.AdamW(
            groups, lr=0.0, betas=betas, eps=config.eps, weight_decay=config.weight_decay, fused=True
        )

    def step(self, rates: Sequence[float]) -> None:
        """One update, with the learning rate of each replica."""
        for group, rate in zip(self._torch.param_groups, rates, strict=True):
            group["lr"] = rate
        self._torch.step()

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and both moments of every replica, by name: the state of the optimiser beside the step count."""
        moments = {
            f"{kind}.{name}": self._torch.state[part][kind]
            for name, part in self.slices.items()
            for kind in ("exp_avg", "exp_avg_sq")
        }
        return {**self.slices, **moments}

    def load(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Restores the `tensors` of a checkpoint that was made after `steps` updates."""
        for name, part in self.slices.items():
            with torch.no_grad():
                part.copy_(tensors[name])
            self._torch.state[part] = {
                "step": torch.tensor(float(steps), device=part.device),
                **{kind: tensors[f"{kind}.{name}"].to(part.device).clone() for kind in ("exp_avg", "exp_avg_sq")},
            }


class Replicas:
    """The readouts of a fit, one per learning rate and seed, as one module, and their optimiser.

    Attributes:
        module: with a leading axis of replicas in every parameter.
        optimiser: of its parameters.
    """

    def __init__(self, readout: Sizes, config: FitConfig, device: torch.device) -> None:
        seeds = tuple(seed for _, seed in config.replicas)
        self.config, self.device = config, device
        self.module = readout.build(replicas=len(seeds), seeds=seeds, chunk=config.query_chunk)
        self.module.to(device)
        self.optimiser = StackedAdamW(self.module, len(seeds), config)

    def outputs(self, features: Tensor, queries: Tensor | None) -> Tensor:
        """Float32 [R, B, ...] of features [B, T, N, D] and queries [B, Q, query_channels]."""
        half = self.config.autocast == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            return self.module.outputs(features, queries).float()
