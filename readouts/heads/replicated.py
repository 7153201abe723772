"""Readouts that train side by side: modules whose every parameter has a leading axis of replicas.

The fitter knows a readout by this alone: its sizes build a module, the module gives outputs with an axis of replicas,
and one replica goes to a file and back under the names that the released checkpoints have.
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
"""Our name of a parameter -> its name and shape in a released checkpoint."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes(abc.ABC):
    """What all readouts have.

    Attributes:
        kind: of the readout, in a file that holds one.
        frames, channels: T and C of the features.
        params, heads: P and H; H divides P.
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
        replicas: how many.
    """

    config: Sizes
    replicas: int

    @abc.abstractmethod
    def names(self) -> Names:
        """All parameters in a released checkpoint."""

    @abc.abstractmethod
    def outputs(self, features: Tensor, queries: Tensor | None = None) -> Tensor:
        """Features [B, T, N, C], and queries [B, Q, ...] where they are given -> what the loss takes, [R, B, ...]."""

    def forward(self, features: Tensor, queries: Tensor | None = None) -> Any:
        """`outputs`, without the axis of replicas where there is just one."""
        outputs = self.outputs(features, queries)
        return outputs[0] if self.replicas == 1 else outputs

    def register(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Makes parameters, not yet initialised."""
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(self.replicas, *shape)))

    @torch.no_grad()
    def initialise(self, seeds: tuple[int, ...] | None) -> None:
        """flax's initialisation: LeCun-normal kernels, zero biases, unit scales, and normal(0, 0.02) for the rest.

        One seed per replica; None: 0, 1, ...
        """
        seeds = seeds or tuple(range(self.replicas))
        if len(seeds) != self.replicas:
            raise ValueError(f"{len(seeds)} seeds for {self.replicas} replicas")
        for replica, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed)
            for name, parameter in self.named_parameters():
                target = parameter[replica]
                if name.endswith("kernel"):
                    # A normal of variance 1 / inputs, cut at two standard deviations and widened to make up for it.
                    std = math.sqrt(1 / target.shape[0]) / 0.87962566103423978
                    nn.init.trunc_normal_(target, std=std, a=-2 * std, b=2 * std, generator=generator)
                elif name.endswith(("bias", "scale")):
                    target.fill_(float(name.endswith("scale")))
                else:
                    target.normal_(0, 0.02, generator=generator)

    def _dense(self, x: Tensor, name: str) -> Tensor:
        """[R, M, inputs] through a layer of each replica."""
        return torch.baddbmm(getattr(self, f"{name}_bias")[:, None], x, getattr(self, f"{name}_kernel"))

    @torch.no_grad()
    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes the arrays of a released checkpoint, without a leading `params/`, into every replica.

        Raises:
            UserError: an array is missing, too many, or of another shape; it is named.
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
        for ours, parameter in self.named_parameters():
            array = np.array(arrays[names[ours][0]], np.float32)
            parameter.copy_(torch.from_numpy(array).reshape(parameter.shape[1:]))

    def arrays(self, replica: int = 0) -> dict[str, np.ndarray]:
        """One replica's parameters as float32 arrays with the released flax names; `load` takes them back."""
        names = self.names()
        return {
            theirs: parameter[replica].detach().cpu().float().reshape(shape).numpy().copy()
            for (theirs, shape), parameter in ((names[ours], p) for ours, p in self.named_parameters())
        }


def demand(arrays: Mapping[str, np.ndarray], axes: Mapping[str, int]) -> None:
    """Raises UserError where a readout has no array of these names, or not one with that many axes."""
    if missing := [name for name in axes if name not in arrays]:
        raise UserError(f"readout: missing: {', '.join(missing)}")
    for name, count in axes.items():
        if arrays[name].ndim != count:
            raise UserError(f"readout: of another shape: {name} {arrays[name].shape}, expected {count} axes")
