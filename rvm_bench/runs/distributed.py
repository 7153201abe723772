"""The processes that fit one head together: a single one, or those that `torchrun` started."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import torch
from torch import Tensor
from torch import distributed as dist

from rvm_bench.api.encoder import Encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """The processes of a fit. With one process every collective does nothing.

    Attributes:
        world_size: number of processes.
        rank: index of this one; rank 0 writes files and logs.
    """

    world_size: int = 1
    rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sums a tensor over all processes, in place, and returns it."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def all_union(self, names: set[str]) -> set[str]:
        """The union of the sets of all processes."""
        if self.world_size == 1:
            return names
        gathered: list[set[str]] = [set()] * self.world_size
        dist.all_gather_object(gathered, names)
        return set().union(*gathered)

    def barrier(self) -> None:
        """Returns once every process has called it."""
        if self.world_size > 1:
            dist.barrier()


@contextlib.contextmanager
def process_group(encoder: Encoder) -> Iterator[ProcessGroup]:
    """The process group of `torchrun` (NCCL with one GPU per rank, else Gloo); without it, a group of one process.

    A group that the caller initialised is used and left as it is.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield ProcessGroup()
        return
    cuda = encoder.device.type == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        encoder.to(torch.device("cuda", torch.cuda.current_device()))
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield ProcessGroup(world_size=world_size, rank=dist.get_rank())
    finally:
        if ours:
            dist.destroy_process_group()
