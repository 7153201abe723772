"""Batches of training samples, made ahead by worker processes (google/grain), resumable and shared out among hosts.

Sample n stands at place n % batch of batch n // batch, and a host has a slice of each batch. So the batches, put
together again, are the same for any number of hosts and of workers, and wherever the run was taken up.

Files that cannot be read are left out, named in the log and counted. The place is taken by the next readable draw of a
reserve that belongs to the sample's number, so that is the same everywhere, too.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypedDict

import numpy as np

from rvm_bench.errors import UserError, optional_packages
from rvm_bench.rvm.train.data.mixture import Mixture

logger = logging.getLogger(__name__)

LEFT_OUT_LIMIT = 0.01
LEAST_SAMPLES = 1000
"""The limit counts as if at least so many samples had been drawn, so one file among the first few is no large share."""

_ENDLESS = 1 << 40


class TrainingBatch(TypedDict):
    """B samples, as `rvm_bench.rvm.train.data.mixture.TrainingSample` with a leading axis: `source` and `target` uint8
    [B, 4, S, S, 3], `deltas` int32 [B, 4], `inds_restore` int32 [B, 4, N]."""

    source: np.ndarray
    target: np.ndarray
    deltas: np.ndarray
    inds_restore: np.ndarray


class TrainingLoader:
    """An endless iterator over this host's slices of the batches.

    Args:
        mixture: what samples are drawn from.
        batch: samples of a batch over all hosts.
        host: which slice is this host's, from 0, and how many hosts there are.
        workers: processes that make batches; 0 makes each when it is asked for. They are started afresh, so a script
            needs its `if __name__ == "__main__":`. Each computes with one thread and holds `ahead` + 1 batches.
        ahead: batches that each worker makes ahead.
        left_out_limit: share of this host's samples that may be left out because their file is damaged.

    Raises:
        UserError: a batch that the hosts cannot share evenly, or a host that does not exist; while iterating, more
            samples left out than the limit allows, or any other mistake in a worker.
    """

    def __init__(
        self,
        mixture: Mixture,
        *,
        batch: int,
        host: tuple[int, int] = (0, 1),
        workers: int = 0,
        ahead: int = 2,
        left_out_limit: float = LEFT_OUT_LIMIT,
    ) -> None:
        index, hosts = host
        if not 0 <= index < hosts:
            raise UserError(f"host {index} of {hosts} does not exist; hosts count from 0")
        if batch < 1 or batch % hosts:
            raise UserError(f"a batch of {batch} cannot be shared by {hosts} hosts; change the batch")
        if workers < 0 or ahead < 1:
            raise UserError(f"{workers} workers that make {ahead} batches ahead; expected at least 0, and at least 1")
        if not 0 <= left_out_limit <= 1:
            raise UserError(f"left_out_limit is {left_out_limit}; expected a share from 0 to 1")
        self._mixture, self._batch, self._host = mixture, batch, host
        self._workers, self._ahead = workers, ahead
        self._limit = left_out_limit
        self._description = json.loads(json.dumps({"batch": batch, **mixture.describe()}))
        self._step, self._left_out, self._first = 0, 0, ""
        self._batches: Any = None

    def __iter__(self) -> Iterator[TrainingBatch]:
        return self

    def __next__(self) -> TrainingBatch:
        if self._batches is None:
            self._batches = self._started()
        made = next(self._batches)
        if "error" in made:
            self.close()
            raise UserError(made["error"])
        self._step += 1
        self._note(made.pop("left_out"))
        # Copied out of the memory shared with the workers, of which there is little and which is not freed at exit.
        source, target, deltas, inds_restore = (np.array(made[name]) for name in TrainingBatch.__annotations__)
        return TrainingBatch(source=source, target=target, deltas=deltas, inds_restore=inds_restore)

    def state(self) -> dict[str, Any]:
        """Where the loader is, as JSON values: the batches handed out so far, what was left out of them on this host,
        and what the data is."""
        return {
            "step": self._step,
            "left_out": self._left_out,
            "first_left_out": self._first,
            "data": self._description,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on after the batches of a state, whatever the number of hosts and workers was.

        Raises:
            UserError: it is of other data, another seed or another batch; says which.
        """
        for name, value in self._description.items():
            if state["data"].get(name) != value:
                raise UserError(
                    f"the training data is not that of the checkpoint: its {name} was {state['data'].get(name)} and is "
                    f"{value}; give the same --data and recipe, or start anew"
                )
        self.close()
        self._step, self._left_out, self._first = state["step"], state["left_out"], state["first_left_out"]

    def close(self) -> None:
        """Ends the workers. Iterating again starts them where the loader is."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _started(self) -> Any:
        """grain's iterator over the batches from the current step on."""
        with optional_packages("training needs", "train"):
            import grain
            from absl import flags
        index, hosts = self._host
        numbers = _Numbers(self._mixture, self._step * self._batch, self._batch, index, hosts)
        samples = grain.MapDataset.source(numbers)
        batches = samples.batch(self._batch // hosts, drop_remainder=True, batch_fn=_together)
        # No threads: decoders and torch keep a core busy by themselves, and each reader thread would hold a batch.
        stream = batches.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
        if self._workers:
            if not flags.FLAGS.is_parsed():
                # grain's workers read its flags, which only programs that absl starts have parsed.
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=self._workers, per_worker_buffer_size=self._ahead)
            stream = stream.mp_prefetch(options, worker_init_fn=_one_thread)
        return iter(stream)

    def _note(self, left_out: Sequence[str]) -> None:
        """Counts and logs what a batch left out.

        Raises:
            UserError: it is more than the limit allows.
        """
        samples = self._step * self._batch // self._host[1]
        for line in left_out:
            self._left_out += 1
            self._first = self._first or line
            logger.warning(f"left out of the training data, {self._left_out} of {samples} samples so far: {line}")
        if self._left_out > self._limit * max(samples, LEAST_SAMPLES):
            self.close()
            raise UserError(
                f"{self._left_out} of {samples} training samples could not be read, more than {self._limit:.2%}; mend "
                f"or remove the files, or raise left_out_limit. The first: {self._first}"
            )


class _Numbers:
    """This host's samples from number `first` on, for grain. A mistake of the user's comes back as an item, since it
    would leave a worker process as a traceback."""

    def __init__(self, mixture: Mixture, first: int, batch: int, host: int, hosts: int) -> None:
        self._mixture, self._first, self._batch = mixture, first, batch
        self._host, self._size = host, batch // hosts

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, index: int) -> dict[str, Any]:
        step, place = divmod(int(index), self._size)
        number = self._first + step * self._batch + self._host * self._size + place
        try:
            sample, left_out = self._mixture.readable_sample(number)
        except UserError as error:
            return {"error": str(error)}
        return {**sample, "left_out": left_out}


def _together(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The samples of a batch with a leading axis, or the first error among them."""
    for item in items:
        if "error" in item:
            return item
    batch: dict[str, Any] = {name: np.stack([item[name] for item in items]) for name in TrainingBatch.__annotations__}
    batch["left_out"] = [line for item in items for line in item["left_out"]]
    return batch


def _one_thread(worker: int, workers: int) -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
