"""A fitted readout, and how it is read from its file."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from readouts.heads.replicated import ReplicatedReadout
from readouts.heads.tracking import from_released
from rvm_bench.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted readout.

    Attributes:
        readout: the chosen replica, without a replica axis, on the encoder's device.
        summary: the content of fit.json.
    """

    readout: ReplicatedReadout
    summary: dict[str, Any]

    @torch.no_grad()
    def predict(self, features: Tensor, queries: Tensor | None = None) -> Any:
        """The outputs for features [B, T, N, C] and, for a readout with queries, queries [B, Q, ...]."""
        return self.readout(features, queries)


def load_readout(file: Path) -> ReplicatedReadout:
    """The readout of a `readout.safetensors`.

    Raises:
        UserError: it is not one, or an array is missing, unexpected or of another shape.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as content:
            sizes = json.loads(content.metadata()["rvm_bench"])["readout"]
            arrays = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (SafetensorError, FileNotFoundError, KeyError, TypeError, ValueError):
        raise UserError(f"{file} is not a readout that was fitted here") from None
    return from_released(arrays, sizes).requires_grad_(False)
