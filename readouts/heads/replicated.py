"""Readouts that train side by side: modules in which every parameter has a leading axis of replicas.

This is the interface that the fitter uses: sizes build a module, the module returns outputs with an axis of replicas,
and one replica is saved and loaded under the names of the released checkpoints.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rvm_bench.errors import UserError

Names = dict[str, tuple[str, tuple[int, ...]]]
"""Parameter name -> its name and shape in a released checkpoint."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes(abc.ABC):
    """Sizes that all readouts have.

    Attributes:
        kind: name of the readout's type in a saved file.
        frames, channels: T and C of the features.
        params, heads: channels P and attention heads H; H divides P.
    """

    kind: ClassVar[str]
    frames: int
    channels: int
    params: int
    heads: int

    @abc.abstractmethod
    def build(
        self, *, replicas: int = 1, seeds: tuple[int, ...] | None = None, chunk: int = 1024
    ) -> "ReplicatedReadout":
        """Readouts of these sizes, freshly initialised."""

    def describe(self) -> dict[str, Any]:
        """The kind and every size, as JSON values."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


class ReplicatedReadout(nn.Module, abc.ABC):
    """One or several readouts of the same sizes.

    Attributes:
        config: sizes.
        replicas: R, their number.
    """

    config: Sizes
    replicas: int

    @abc.abstractmethod
    def names(self) -> Names:
        """All parameters, with their names and shapes in a released checkpoint."""

    @abc.abstractmethod
    def outputs(self, features: Tensor, queries: Tensor | None = None) -> Tensor:
        """Raw outputs [R, B, ...], as the loss takes them, for features [B, T, N, C] and input queries [B, Q, ...]."""

    def forward(self, features: Tensor, queries: Tensor | None = None) -> Any:
        """`outputs`, without the axis of replicas where there is one replica."""
        outputs = self.outputs(features, queries)
        return outputs[0] if self.replicas == 1 else outputs

    def register(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Creates uninitialised parameters; the shapes are those of one replica."""
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(self.replicas, *shape)))

    @torch.no_grad()
    def initialise(self, seeds: tuple[int, ...] | None) -> None:
        """flax's initialisation: LeCun-normal kernels, zero biases, unit scales, and normal(0, 0.02) for the rest.

        Args:
            seeds: one per replica; None: 0, 1, ...
        """
        seeds = seeds or tuple(range(self.replicas))
        if len(seeds) != self.replicas:
            raise ValueError(f"{len(seeds)} seeds for {self.replicas} replicas")
        for replica, seed in enumerate(seeds):
            # A generator per replica: its initialisation does not depend on how many others train beside it.
            generator = torch.Generator().manual_seed(seed)
            for name, parameter in self.named_parameters():
                target = parameter[replica]
                if name.endswith("kernel"):
                    # Variance 1 / inputs after truncation at two standard deviations, which shrinks it by this factor.
                    std = math.sqrt(1 / target.shape[0]) / 0.87962566103423978
                    nn.init.trunc_normal_(target, std=std, a=-2 * std, b=2 * std, generator=generator)
                elif name.endswith(("bias", "scale")):
                    target.fill_(float(name.endswith("scale")))
                else:
                    target.normal_(0, 0.02, generator=generator)

    def _dense(self, x: Tensor, name: str) -> Tensor:
        """The linear layer `name` of every replica: [R, M, inputs] -> [R, M, outputs]."""
        # One batched product over replicas, with the bias added by the same kernel.
        return torch.baddbmm(getattr(self, f"{name}_bias")[:, None], x, getattr(self, f"{name}_kernel"))

    @torch.no_grad()
    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Loads the arrays of a released checkpoint, without a leading `params/`, into every replica.

        Raises:
            UserError: an array is missing, unexpected, or of another shape; it is named.
        """
        names = self.names()
        known = dict(names.values())
        problems = {
            "missing": [name for name in known if name not in arrays],
            "unexpected": [name for name in arrays if name not in known],
            "of another shape": [
                f"{name} {arrays[name].shape}, expected {shape}"
                for name, shape in known.items()
                if name in arrays and arrays[name].shape != shape
            ],
        }
        found = [f"{problem}: {', '.join(sorted(names))}" for problem, names in problems.items() if names]
        if found:
            raise UserError(f"readout: {'; '.join(found)}")
        for name, parameter in self.named_parameters():
            array = np.array(arrays[names[name][0]], np.float32)
            parameter.copy_(torch.from_numpy(array).reshape(parameter.shape[1:]))

    def arrays(self, replica: int = 0) -> dict[str, np.ndarray]:
        """One replica's parameters as float32 arrays with the released flax names; the inverse of `load`."""
        names = self.names()
        arrays = {}
        for name, parameter in self.named_parameters():
            released_name, shape = names[name]
            arrays[released_name] = parameter[replica].detach().cpu().float().reshape(shape).numpy().copy()
        return arrays


def require_arrays(arrays: Mapping[str, np.ndarray], axes: Mapping[str, int]) -> None:
    """Checks that arrays of these names are there, and have that many axes.

    Raises:
        UserError: one is missing, or has another number of axes.
    """
    if missing := [name for name in axes if name not in arrays]:
        raise UserError(f"readout: missing: {', '.join(missing)}")
    for name, count in axes.items():
        if arrays[name].ndim != count:
            raise UserError(f"readout: of another shape: {name} {arrays[name].shape}, expected {count} axes")
