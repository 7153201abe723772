"""The processes that train together: this one alone, or those that `torchrun` started."""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterator

import torch
from torch import Tensor
from torch import distributed as dist

from rvm_bench.api.encoder import Encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """The processes of a training, as one of them sees them. With one process every collective does nothing.

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
    """Joins the processes of `torchrun` (NCCL on GPUs, else Gloo), each on its own GPU; without it, this process alone.

    Only rank 0 logs: while in the group, the others log nothing below an error. A group that the caller initialised is
    used, and not destroyed.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield ProcessGroup()
        return
    cuda = encoder.device.type == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        encoder.to(torch.device("cuda", torch.cuda.current_device()))
    owned = not dist.is_initialized()
    if owned:
        dist.init_process_group("nccl" if cuda else "gloo")
    disabled_level = logging.root.manager.disable
    try:
        processes = ProcessGroup(world_size=world_size, rank=dist.get_rank())
        if not processes.is_main:
            logging.disable(logging.WARNING)
        yield processes
    finally:
        logging.disable(disabled_level)
        if owned:
            dist.destroy_process_group()
