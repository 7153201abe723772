"""The processes that fit one readout together: one, or those that `torchrun` started."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import torch
from torch import Tensor
from torch import distributed as dist

from rvm_bench.api.encoder import Encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranks:
    """The processes of a fit.

    Attributes:
        world: how many. rank: which of them this is.
    """

    world: int = 1
    rank: int = 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sums a tensor over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def union(self, names: set[str]) -> set[str]:
        """The names of all processes together."""
        if self.world == 1:
            return names
        everywhere: list[set[str]] = [set()] * self.world
        dist.all_gather_object(everywhere, names)
        return set().union(*everywhere)

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()


@contextlib.contextmanager
def joined_ranks(encoder: Encoder) -> Iterator[Ranks]:
    """The processes that `torchrun` started, joined; one where it did not."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    cuda = encoder.device.type == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        encoder.to(torch.device("cuda", torch.cuda.current_device()))
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Ranks(world=world, rank=dist.get_rank())
    finally:
        if ours:
            dist.destroy_process_group()
