"""Training in torch: on one device, or on many by FSDP2 under `torchrun`."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.tensor import DTensor

from rvm_bench.errors import UserError
from rvm_bench.rvm.torch.joint import JointRVM
from rvm_bench.rvm.torch.model import RVM
from rvm_bench.rvm.torch.objective import BATCH, loss, recompute_blocks
from rvm_bench.rvm.torch.weights import to_arrays
from rvm_bench.rvm.train.data.loader import TrainingBatch
from rvm_bench.rvm.train.recipes import Recipe
from rvm_bench.rvm.train.torch.untrained import untrained
from rvm_bench.rvm.train.trainer import Layout


class TorchTrainer:
    """A `rvm_bench.rvm.train.trainer.Trainer`.

    Weights and moments are float32. Over several devices each block is a unit of FSDP2: its weights are gathered when
    it runs, and its gradients are averaged over all devices, whatever the layout.

    Args:
        recipe: what is trained.
        layout: on what.
        device: torch's name; None takes CUDA where there is one. Under `torchrun` each process takes its own GPU.

    Raises:
        UserError: a device that is not there, or a batch or devices that cannot be divided by the layout.
    """

    def __init__(self, recipe: Recipe, layout: Layout, device: str | None = None) -> None:
        self.recipe, self._layout = recipe, layout
        world = int(os.environ.get("WORLD_SIZE", "1"))
        data, shards = layout.sharded(world, recipe.batch)
        self.device = _device(device)
        self._ours = world > 1 and not dist.is_initialized()
        if self._ours:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        self.devices = world
        self.host = (dist.get_rank() if world > 1 else 0, world)
        self.leads = self.host[0] == 0
        cuda = self.device.type == "cuda"
        self.device_label = torch.cuda.get_device_name(self.device) if cuda else self.device.type
        self.model = untrained(recipe.model, recipe.aggregator, recipe.seed, recipe.start).to(self.device)
        recompute_blocks(self.model, layout.recompute)
        if layout.compile:
            for block in _blocks(self.model):
                block.compile()
        if world > 1:
            _shard(self.model, self.device.type, data, shards)
        self._optimiser = _adamw(self.model, recipe)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._ours and dist.is_initialized():
            if error[0] is None:
                dist.barrier()  # a process that left early would take its connections from the others
            dist.destroy_process_group()

    def step(self, batch: TrainingBatch, rate: float) -> dict[str, Any]:
        """One update; see `Trainer.step`."""
        parts = self._parts(batch)
        total = torch.zeros((), device=self.device)
        for part in parts:
            found, _ = loss(self.model, part, mask_ratio=self.recipe.mask_ratio, dtype=self._dtype)
            share = found / len(parts)
            share.backward()
            total += share.detach()
        norm: Tensor = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        if self.devices > 1:
            dist.all_reduce(total)
            total /= self.devices
        return {"loss": total, "gradient_norm": _whole(norm)}

    @torch.no_grad()
    def reconstruct(self, batch: TrainingBatch) -> np.ndarray:
        _, decoded = loss(
            self.model,
            {name: batch[name] for name in BATCH},  # type: ignore[literal-required]
            mask_ratio=self.recipe.mask_ratio,
            dtype=self._dtype,
            keep_reconstruction=True,
        )
        assert decoded is not None
        return decoded.float().cpu().numpy()

    def save(self, folder: Path) -> None:
        from torch.distributed import checkpoint as dcp

        with _alone_without_a_warning():
            dcp.save(self._state(), checkpoint_id=folder, no_dist=self.devices == 1)

    def restore(self, folder: Path) -> None:
        from torch.distributed import checkpoint as dcp
        from torch.distributed.checkpoint.state_dict import set_state_dict

        state = self._state()
        try:
            with _alone_without_a_warning():
                dcp.load(state, checkpoint_id=folder, no_dist=self.devices == 1)
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, dcp.CheckpointException) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(
                f"{folder} cannot be read as a torch checkpoint of this recipe ({reason}); delete it to go on from the "
                "one before"
            ) from error
        set_state_dict(
            self.model,
            self._optimiser,
            model_state_dict=state["model"],
            optim_state_dict=state["optimiser"],
        )

    def arrays(self) -> dict[str, np.ndarray]:
        if isinstance(self.model, JointRVM):
            raise UserError(
                f"{self.recipe.name} has no recurrent core, and so no place in the official files; its checkpoints are "
                "torch's own (torch.distributed.checkpoint)"
            )
        state = {name: _whole(tensor).cpu() for name, tensor in self.model.state_dict().items()}
        return to_arrays(state, self.recipe.model)

    def wait(self) -> None:
        if self.devices > 1:
            dist.barrier()

    def agree(self, value: bool) -> bool:
        if self.devices == 1:
            return value
        flag = torch.tensor(int(value), device=self.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.recipe.dtype == "bfloat16" else torch.float32

    def _parts(self, batch: TrainingBatch) -> list[dict[str, Any]]:
        count = len(batch["source"])
        size = count // self._layout.accumulate
        return [
            {name: batch[name][first : first + size] for name in BATCH}  # type: ignore[literal-required]
            for first in range(0, count, size)
        ]

    def _state(self) -> dict[str, Any]:
        from torch.distributed.checkpoint.state_dict import get_state_dict

        model, optimiser = get_state_dict(self.model, self._optimiser)
        return {"model": model, "optimiser": optimiser}


def _device(name: str | None) -> torch.device:
    device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError("--device cuda: torch finds no GPU; leave the option out to train on the CPU")
        if name in (None, "cuda"):
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return device


def _blocks(model: RVM | JointRVM) -> list[nn.Module]:
    """The blocks of all three stacks."""
    core = [] if isinstance(model, JointRVM) else list(model.core.transformer.blocks)
    return [*model.encoder.blocks, *core, *model.decoder.transformer.blocks]


def _shard(model: RVM | JointRVM, kind: str, data: int, shards: int) -> None:
    """Makes the weights those of FSDP2 over a mesh of (data, fsdp) devices."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(kind, (data, shards), mesh_dim_names=("data", "fsdp"))
    units = [*model.encoder.blocks, *model.decoder.transformer.blocks]
    if isinstance(model, RVM):
        units.append(model.core)  # as a whole: it runs once for each frame
    for unit in units:
        fully_shard(unit, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "reconstruct")


def _adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that decays kernels only; biases, scales and the two tokens are not matrices named "weight"."""
    kernels: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (kernels if name.endswith(".weight") and parameter.ndim == 2 else others).append(parameter)
    groups = [
        {"params": kernels, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(recipe.beta1, recipe.beta2), eps=recipe.eps)


@contextlib.contextmanager
def _alone_without_a_warning() -> Iterator[None]:
    """torch warns that it saves in a single process, even where that was asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()
