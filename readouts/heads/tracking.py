"""Heads that track points and boxes: the attentive readout, queried by coordinates in the first frame.

Coordinates are embedded by Fourier features and an MLP. The resulting query is repeated for each temporal tile, a
learned embedding of the tile is added, and each copy attends to the tokens of the clip. There is no attention between
queries.

Sources: the readouts of MooG (github.com/google-deepmind/representations4d, `colabs/moog_inference_demo.ipynb`), which
are those of SciVid (github.com/google-deepmind/scivid, `TrackingReadoutWrapper`). The paper's Table 7 has their sizes.

Shape letters as in `readouts.heads.attention`; Q tracks of a clip, D coordinates of one.
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
from readouts.heads.replicated import Names, ReplicatedReadout, Sizes, require_arrays
from rvm_bench.errors import UserError, unknown_name

OUTPUTS = 4
"""Output channels per track and frame: x, y, visible, certain of a point; the four sides of a box."""
EMBEDDING = "query_initializer/layers_1"
TILES = "temporal_tile_posenc/embeddings"
BLOCK = "attention_readout"


class PointTracks(NamedTuple):
    """Predicted point tracks.

    Attributes:
        points: [B, T, Q, 2], (x, y) in [0, 1] of the frame's width and height.
        logits_visible: [B, T, Q, 1], of the point being visible.
        logits_certainty: [B, T, Q, 1], of the prediction being within 6 px of the truth (at 224 px).
    """

    points: Tensor
    logits_visible: Tensor
    logits_certainty: Tensor

    @property
    def visible(self) -> Tensor:
        """Predicted visibility, bool [B, T, Q, 1]: the product of both probabilities exceeds a half."""
        return self.logits_visible.sigmoid() * self.logits_certainty.sigmoid() > 0.5

    @classmethod
    def from_outputs(cls, outputs: Tensor) -> "PointTracks":
        """From raw outputs [..., 4]: logits of x, y, visible and certain."""
        return cls(outputs[..., :2].sigmoid(), outputs[..., 2:3], outputs[..., 3:])


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackHeadConfig(Sizes):
    """Every size of a head; the defaults are those of the paper's Table 7 and of the MooG colab.

    Attributes:
        width: hidden and output channels of the query MLP.
        bases: number of frequencies of the Fourier features: 1, 2, 4, ... half periods over the frame.
        temporal_tile_size: number of temporal tiles, each with a query of its own; it divides the frames. The name is
            the released one.
    """

    coordinates: ClassVar[int]
    params: int = 1024
    width: int = 512
    bases: int = 16
    temporal_tile_size: int

    def __post_init__(self) -> None:
        if self.temporal_tile_size < 1 or self.frames % self.temporal_tile_size:
            raise UserError(
                f"{self.frames} frames cannot be divided into {self.temporal_tile_size} temporal tiles; "
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
    """Sizes of a `PointHead`: 8 queries per point, each for 2 of 16 frames."""

    kind: ClassVar[str] = "points"
    coordinates: ClassVar[int] = 2
    heads: int = 8
    temporal_tile_size: int = 8

    def build(self, *, replicas: int = 1, seeds: tuple[int, ...] | None = None, chunk: int = 1024) -> "PointHead":
        return PointHead(self, replicas=replicas, seeds=seeds, chunk=chunk)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxHeadConfig(TrackHeadConfig):
    """Sizes of a `BoxHead`: one query per box, for all frames."""

    kind: ClassVar[str] = "boxes"
    coordinates: ClassVar[int] = 4
    heads: int = 4
    temporal_tile_size: int = 1

    def build(self, *, replicas: int = 1, seeds: tuple[int, ...] | None = None, chunk: int = 1024) -> "BoxHead":
        return BoxHead(self, replicas=replicas, seeds=seeds, chunk=chunk)


class TrackHead(ReplicatedReadout):
    """Base of both heads.

    Args:
        config: sizes.
        replicas, seeds, chunk: as in `AttentionReadout`; a track is `temporal_tile_size` queries of a chunk.
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
        # Again, with the block's parameters: all parameters of a replica come from one random stream.
        self.initialise(seeds)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], *, num_heads: int, frames_per_query: int) -> Self:
        """The head in arrays with the released flax names, without a leading `params/`.

        Args:
            arrays: name -> array, exactly the parameters of the head.
            num_heads: H.
            frames_per_query: frames that one query predicts; it divides the frames.

        Raises:
            UserError: an array is missing, unexpected, or of another shape; it is named.
        """
        keys, times = f"{BLOCK}/key_embedding/kernel", f"{BLOCK}/temporal_posenc/embeddings"
        first = f"{EMBEDDING}/Dense_0/kernel"
        require_arrays(arrays, {keys: 3, times: 3, first: 2})
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
        # Tiles vary fastest: the queries of a track are adjacent.
        if c.temporal_tile_size > 1:
            embedded = (embedded[:, :, :, None] + self.tile[:, None, None]).flatten(2, 3)
        outputs = self.block.outputs(features, embedded)
        by_tile = outputs.view(*outputs.shape[:2], count, c.temporal_tile_size, c.frames_per_query, OUTPUTS)
        return by_tile.permute(0, 1, 3, 4, 2, 5).flatten(2, 3)

    def embed(self, coordinates: Tensor) -> Tensor:
        """Coordinates [B, Q, D] -> queries [R, B, Q, width], before they are repeated for the temporal tiles."""
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
    """Tracks points: `head(features [B, T, N, C], points [B, Q, 2])`, (x, y) in the first frame in [0, 1].

    Returns `PointTracks`, with a leading axis of replicas where there are several. Raw `outputs`, which the loss takes,
    are logits of x, y, visible and certain.
    """

    sizes = PointHeadConfig

    def forward(self, features: Tensor, queries: Tensor | None = None) -> PointTracks:
        return PointTracks.from_outputs(super().forward(features, queries))


class BoxHead(TrackHead):
    """Tracks boxes: `head(features [B, T, N, C], boxes [B, Q, 4])`, (ymin, xmin, ymax, xmax) in the first frame.

    Returns [B, T, Q, 4] in the same order and unit (the frame is [0, 1]), with a leading axis of replicas where there
    are several. There is no activation: sides may lie outside of the frame, and opposite sides may be swapped.
    """

    sizes = BoxHeadConfig


def fourier_features(coordinates: Tensor, bases: int = 16) -> Tensor:
    """Sine and cosine of coordinates [..., D] at `bases` octaves, float32 [..., 2 * bases * D].

    All sines, then all cosines; within each, frequency by frequency, with coordinates varying fastest. A cosine is
    computed as the sine of the float32 angle plus pi / 2, as released: angles reach 1e5, where the two differ by 5e-4.

    Source: `SampleFourierEmbedding`, representations4d, `moog/pos_embeddings.py`; its input is [0, 1], not [-1, 1].
    """
    frequencies = 2.0 ** torch.arange(bases, device=coordinates.device, dtype=torch.float32)
    angles = (coordinates.float() * math.pi)[..., None, :] * frequencies[:, None]
    angles = angles.flatten(-2)
    return torch.cat([angles, angles + math.pi / 2], dim=-1).sin()


def from_released(arrays: Mapping[str, np.ndarray], sizes: Mapping[str, Any]) -> AttentionReadout | PointHead | BoxHead:
    """The readout of any kind in arrays with the released flax names.

    Args:
        arrays: name -> array, exactly the parameters of the readout.
        sizes: its `config.describe()`; without a kind it is an `AttentionReadout`.

    Raises:
        UserError: the kind is unknown, or an array is missing, unexpected, or of another shape.
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
