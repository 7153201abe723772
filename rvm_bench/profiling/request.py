"""What a worker is asked, as data. Imports nothing heavy."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rvm_bench.profiling.limits import Limits
from rvm_bench.profiling.points import STREAM

if TYPE_CHECKING:
    from rvm_bench.api.encoder import Encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured, and with how many threads; None leaves a choice to `load_encoder`, or to torch."""

    model: str
    weights: str | None = None
    device: str | None = None
    dtype: str | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    threads: int | None = None

    def load(self) -> "Encoder":
        """The encoder, in a process that uses so many threads from here on."""
        import torch

        from rvm_bench.fetch.load import load_encoder

        if self.threads:
            torch.set_num_threads(self.threads)
        return load_encoder(self.model, self.weights, self.device, self.dtype, **self.options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A measurement, or with `what` "facts" the question what there is to measure."""

    subject: Subject
    what: Literal["facts", "time", "memory"]
    way: str = STREAM
    frames: int = 0
    size_px: int = 0
    repeats: int = 1
    limits: Limits | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which the worker must start.

        glibc keeps freed blocks of up to 32 MB for later, by a rule that depends on what was freed before: peaks of one
        and the same stream then differ by several MB. A fixed threshold ends that; it makes encoders up to 10 % slower.
        """
        return {"MALLOC_MMAP_THRESHOLD_": "65536"} if self.what == "memory" else {}

    @classmethod
    def read(cls, file: Path) -> "Request":
        """What `json.dumps(dataclasses.asdict(request))` wrote."""
        found = json.loads(file.read_text())
        subject, limits = Subject(**found.pop("subject")), found.pop("limits")
        return cls(subject=subject, limits=limits and Limits(**limits), **found)
