"""Heads that follow points and boxes: the attentive readout, asked by coordinates in the first frame.

A coordinate becomes Fourier features, an MLP makes a query of them, and the query, once for each tile of time with a
learned embedding of that tile, attends to the tokens of the clip. Queries do not see one another.

Sources: the readouts of MooG (github.com/google-deepmind/representations4d, `colabs/moog_inference_demo.ipynb`), which
are those of SciVid (github.com/google-deepmind/scivid, `TrackingReadoutWrapper`). The paper's Table 7 has their sizes.

Shape letters as in `readouts.heads.attention`; Q queries of a clip, D coordinates of one.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from readouts.heads.attention import AttentionReadout, ReadoutConfig, released_names
from readouts.heads.replicated import Names, ReplicatedReadout, Sizes, demand
from rvm_bench.errors import UserError, unknown_name

OUTPUTS = 4
"""Numbers for a query and frame: of a point x, y, visible, certain; of a box its four sides."""
EMBEDDING = "query_initializer/layers_1"
TILES = "temporal_tile_posenc/embeddings"
BLOCK = "attention_readout"


class PointTracks(NamedTuple):
    """What a head says of points.

    Attributes:
        points: [B, T, Q, 2], (x, y) of the picture in [0, 1].
        logits_visible: [B, T, Q, 1], of being seen.
        logits_certainty: [B, T, Q, 1], of being within 6 px of the truth (of 224).
    """

    points: Tensor
    logits_visible: Tensor
    logits_certainty: Tensor

    @property
    def visible(self) -> Tensor:
        """Whether the point is taken to be visible, bool [B, T, Q, 1]: both probabilities together exceed a half."""
        return self.logits_visible.sigmoid() * self.logits_certainty.sigmoid() > 0.5

    @classmethod
    def from_outputs(cls, outputs: Tensor) -> "PointTracks":
        """From raw outputs [..., 4]: logits of x, y, visible and certain."""
        return cls(outputs[..., :2].sigmoid(), outputs[..., 2:3], outputs[..., 3:])


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackHeadConfig(Sizes):
    """Every size of a head; the defaults are those of the paper's Table 7 and of the MooG colab.

    Attributes:
        width: hidden and output channels of the MLP that makes queries.
        bases: frequencies of the Fourier features: 1, 2, 4, ... half turns over the picture.
        temporal_tile_size: tiles of time, each with a query of its own; it divides the frames.
    """

    coordinates: ClassVar[int]
    params: int = 1024
    width: int = 512
    bases: int = 16
    temporal_tile_size: int

    def __post_init__(self) -> None:
        if self.temporal_tile_size < 1 or self.frames % self.temporal_tile_size:
            raise UserError(
                f"{self.frames} frames cannot be divided into {self.temporal_tile_size} tiles of time; "
                "set another temporal_tile_size (or frames_per_query)"
            )

    @property
    def frames_per_query(self) -> int:
        return self.frames // self.temporal_tile_size

    def block(self) -> ReadoutConfig:
        """Sizes of the attentive readout inside."""
        return ReadoutConfig(
            frames=self.frames,
            channels=self.channels,
            params=self.params,
            heads=self.heads,
            outputs=OUTPUTS * self.frames_per_query,
            query_channels=self.width,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointHeadConfig(TrackHeadConfig):
    """Sizes of a `PointHead`: 8 queries for a point, each for 2 of 16 frames."""

    kind: ClassVar[str] = "points"
    coordinates: ClassVar[int] = 2
    heads: int = 8
    temporal_tile_size: int = 8

    def build(self, *, replicas: int = 1, seeds: tuple[int, ...] | None = None, chunk: int = 1024) -> "PointHead":
        return PointHead(self, replicas=replicas, seeds=seeds, chunk=chunk)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxHeadConfig(TrackHeadConfig):
    """Sizes of a `BoxHead`: one query for a box and all its frames."""

    kind: ClassVar[str] = "boxes"
    coordinates: ClassVar[int] = 4
    heads: int = 4
    temporal_tile_size: int = 1

    def build(self, *, replicas: int = 1, seeds: tuple[int, ...] | None = None, chunk: int = 1024) -> "BoxHead":
        return BoxHead(self, replicas=replicas, seeds=seeds, chunk=chunk)


class TrackHead(ReplicatedReadout):
    """What the two heads share.

    Args:
        config: sizes.
        replicas, seeds, chunk: as in `AttentionReadout`; a point is `temporal_tile_size` queries of a chunk.
    """

    sizes: ClassVar[type[TrackHeadConfig]]
    config: TrackHeadConfig
    mlp_in_kernel: Tensor
    mlp_in_bias: Tensor
    mlp_out_kernel: Tensor
    mlp_out_bias: Tensor
    tile: Tensor

    def __init__(
        self,
        config: TrackHeadConfig,
        *,
        replicas: int = 1,
        seeds: tuple[int, ...] | None = None,
        chunk: int = 1024,
    ) -> None:
        super().__init__()
        self.config, self.replicas = config, replicas
        self.register({name: shape for name, (_, shape) in self._own_names().items()})
        self.block = AttentionReadout(config.block(), replicas=replicas, seeds=seeds, chunk=chunk)
        # The block's are drawn again: all of a replica comes from one stream of random numbers.
        self.initialise(seeds)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], *, num_heads: int, frames_per_query: int) -> Self:
        """The head in arrays with the released flax names, without a leading `params/`.

        Args:
            arrays: name -> array; all that the head has, and no more.
            num_heads: H.
            frames_per_query: frames that one query speaks for; it divides the frames.

        Raises:
            UserError: an array is missing, too many, or of another shape; it is named.
        """
        keys, times = f"{BLOCK}/key_embedding/kernel", f"{BLOCK}/temporal_posenc/embeddings"
        first = f"{EMBEDDING}/Dense_0/kernel"
        demand(arrays, {keys: 3, times: 3, first: 2})
        frames = arrays[times].shape[0]
        if frames_per_query < 1 or frames % frames_per_query:
            raise UserError(
                f"readout: {frames} frames cannot be divided among queries of {frames_per_query} frames each"
            )
        config = cls.sizes(
            frames=frames,
            channels=arrays[keys].shape[0],
            params=math.prod(arrays[keys].shape[1:]),
            heads=num_heads,
            width=arrays[first].shape[1],
            temporal_tile_size=frames // frames_per_query,
        )
        module = cls(config)
        module.load(arrays)
        return module

    def outputs(self, features: Tensor, queries: Tensor | None = None) -> Tensor:
        """Features [B, T, N, C] and coordinates [B, Q, D] in the first frame -> raw outputs [R, B, T, Q, 4]."""
        c = self.config
        if queries is None or queries.ndim != 3 or queries.shape[2] != c.coordinates:
            found = None if queries is None else tuple(queries.shape)
            raise ValueError(f"coordinates {found}; expected [B, Q, {c.coordinates}]")
        count = queries.shape[1]
        embedded = self.embed(queries)
        if c.temporal_tile_size > 1:
            embedded = (embedded[:, :, :, None] + self.tile[:, None, None]).flatten(2, 3)
        outputs = self.block.outputs(features, embedded)
        by_tile = outputs.view(*outputs.shape[:2], count, c.temporal_tile_size, c.frames_per_query, OUTPUTS)
        return by_tile.permute(0, 1, 3, 4, 2, 5).flatten(2, 3)

    def embed(self, coordinates: Tensor) -> Tensor:
        """Coordinates [B, Q, D] -> queries [R, B, Q, width], before they are tiled over time."""
        features = fourier_features(coordinates, self.config.bases).flatten(0, 1).expand(self.replicas, -1, -1)
        hidden = F.gelu(self._dense(features, "mlp_in"), approximate="tanh")
        return self._dense(hidden, "mlp_out").unflatten(1, coordinates.shape[:2])

    def _own_names(self) -> Names:
        c = self.config
        names: Names = {
            "mlp_in_kernel": (f"{EMBEDDING}/Dense_0/kernel", (2 * c.bases * c.coordinates, c.width)),
            "mlp_in_bias": (f"{EMBEDDING}/Dense_0/bias", (c.width,)),
            "mlp_out_kernel": (f"{EMBEDDING}/Dense_1/kernel", (c.width, c.width)),
            "mlp_out_bias": (f"{EMBEDDING}/Dense_1/bias", (c.width,)),
        }
        if c.temporal_tile_size > 1:
            names["tile"] = (TILES, (c.temporal_tile_size, c.width))
        return names

    def names(self) -> Names:
        inside = released_names(self.config.block())
        block = {f"block.{ours}": (f"{BLOCK}/{theirs}", shape) for ours, (theirs, shape) in inside.items()}
        return {**self._own_names(), **block}


class PointHead(TrackHead):
    """Follows points: `head(features [B, T, N, C], points [B, Q, 2])`, (x, y) of the first frame in [0, 1].

    Gives `PointTracks`, with an axis of replicas before all others where there are several. Raw `outputs`, which the
    loss takes, are logits of x, y, visible and certain.
    """

    sizes = PointHeadConfig

    def forward(self, features: Tensor, queries: Tensor | None = None) -> PointTracks:
        return PointTracks.from_outputs(super().forward(features, queries))


class BoxHead(TrackHead):
    """Follows boxes: `head(features [B, T, N, C], boxes [B, Q, 4])`, (ymin, xmin, ymax, xmax) of the first frame.

    Gives [B, T, Q, 4] in the same order and unit (the picture is [0, 1]), with no activation: a side may lie outside,
    and two may be swapped. An axis of replicas stands before all others where there are several.
    """

    sizes = BoxHeadConfig


def fourier_features(coordinates: Tensor, bases: int = 16) -> Tensor:
    """Sine and cosine of coordinates [..., D] at `bases` octaves, float32 [..., 2 * bases * D].

    All sines, then all cosines; frequency by frequency, the coordinates side by side in each. A cosine is the sine of
    the float32 angle plus pi / 2, as released: angles reach 1e5, where that and a true cosine differ by 5e-4.

    Source: `SampleFourierEmbedding`, representations4d, `moog/pos_embeddings.py`; it is fed [0, 1], not [-1, 1].
    """
    turns = 2.0 ** torch.arange(bases, device=coordinates.device, dtype=torch.float32)
    angles = (coordinates.float() * math.pi)[..., None, :] * turns[:, None]
    angles = angles.flatten(-2)
    return torch.cat([angles, angles + math.pi / 2], dim=-1).sin()


def from_released(arrays: Mapping[str, np.ndarray], sizes: Mapping[str, Any]) -> AttentionReadout | PointHead | BoxHead:
    """The readout of any kind in arrays with the released flax names.

    Args:
        arrays: name -> array; all that the readout has, and no more.
        sizes: what `config.describe()` said of it; without a kind it is an `AttentionReadout`.

    Raises:
        UserError: the kind is unknown, or an array is missing, too many, or of another shape.
        TypeError: a size is missing or unknown.
    """
    kinds: dict[str, Any] = {config.kind: config for config in (ReadoutConfig, PointHeadConfig, BoxHeadConfig)}
    kind = str(sizes.get("kind", ReadoutConfig.kind))
    if kind not in kinds:
        raise unknown_name("kind of readout", kind, kinds)
    given = {name: tuple(size) if isinstance(size, list) else size for name, size in sizes.items() if name != "kind"}
    module = kinds[kind](**given).build()
    module.load(arrays)
    return module
