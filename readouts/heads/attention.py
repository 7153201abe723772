"""The attentive readout: learned or given queries cross-attend once to all tokens of a clip's frozen features.

This is the released AttentionReadout (github.com/google-deepmind/representations4d, `models/readout.py`) with both of
its defaults on: the residual of V-JEPA's pooler and a learned temporal embedding. Several readouts of one shape train
side by side as one module: every parameter has a leading axis of replicas, and the features are normalised once.

The released module has a key bias. It adds one constant to all logits of a query, to which softmax is invariant; its
gradient is rounding noise, which Adam would scale up to full steps. So it is loaded and saved, but not used.

Shape letters: R replicas, B clips, T frames, N tokens of a frame, M = T N, C channels of a feature, P channels of the
readout, H heads, d = P / H, Q queries, K outputs of a query.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from readouts.heads.replicated import Names, ReplicatedReadout, Sizes, require_arrays
from rvm_bench.errors import UserError

NORM_EPS = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadoutConfig(Sizes):
    """Every size of a readout.

    Attributes:
        outputs: K, output channels of a query.
        queries: number of learned queries; 0 where queries are an input.
        query_channels: channels of input queries; 0 where queries are learned.
        output_shape: (frames, height, width, channels) of the video that the outputs are rearranged into; None: not.
        patch: (frames, height, width) of the patch of that video that one query predicts.
    """

    kind: ClassVar[str] = "attention"
    outputs: int
    queries: int = 0
    query_channels: int = 0
    output_shape: tuple[int, int, int, int] | None = None
    patch: tuple[int, int, int] | None = None

    def build(
        self, *, replicas: int = 1, seeds: tuple[int, ...] | None = None, chunk: int = 1024
    ) -> "AttentionReadout":
        return AttentionReadout(self, replicas=replicas, seeds=seeds, chunk=chunk)


class AttentionReadout(ReplicatedReadout):
    """One or several attentive readouts.

    Args:
        config: sizes.
        replicas: number of readouts that train side by side; a single one has no replica axis in its output.
        seeds: of the initialisation, one per replica; the default is 0, 1, ...
        chunk: queries per attention call. Smaller chunks need less memory (in training each is computed twice); the
            result is the same.
        fold: with one learned query, fold the key projection into the query and project values after pooling: the same
            function for a fraction of the FLOPs. False computes keys and values, for comparison.
    """

    config: ReadoutConfig
    norm_scale: Tensor
    norm_bias: Tensor
    time: Tensor
    query: Tensor
    query_kernel: Tensor
    query_bias: Tensor
    key_kernel: Tensor
    key_bias: Tensor
    value_kernel: Tensor
    value_bias: Tensor
    token_norm_scale: Tensor
    token_norm_bias: Tensor

    def __init__(
        self,
        config: ReadoutConfig,
        *,
        replicas: int = 1,
        seeds: tuple[int, ...] | None = None,
        chunk: int = 1024,
        fold: bool = True,
    ) -> None:
        super().__init__()
        c = config
        if c.params % c.heads:
            raise UserError(f"a readout of {c.params} channels cannot be split into {c.heads} heads")
        if bool(c.queries) == bool(c.query_channels):
            raise UserError("a readout has either learned queries or input queries: set queries or query_channels")
        self.config, self.replicas, self.chunk = config, replicas, chunk
        self.folded = fold and c.queries == 1
        shapes = {
            "norm_scale": (c.channels,),
            "norm_bias": (c.channels,),
            "time": (c.frames, c.channels),
            "key_kernel": (c.channels, c.params),
            "key_bias": (c.params,),
            "value_kernel": (c.channels, c.params),
            "value_bias": (c.params,),
            "out_kernel": (c.params, c.params),
            "out_bias": (c.params,),
            "token_norm_scale": (c.params,),
            "token_norm_bias": (c.params,),
            "mlp_in_kernel": (c.params, 4 * c.params),
            "mlp_in_bias": (4 * c.params,),
            "mlp_out_kernel": (4 * c.params, c.params),
            "mlp_out_bias": (c.params,),
            "head_kernel": (c.params, c.outputs),
            "head_bias": (c.outputs,),
        }
        if c.queries:
            shapes["query"] = (c.queries, c.params)
        else:
            shapes |= {"query_kernel": (c.query_channels, c.params), "query_bias": (c.params,)}
        self.register(shapes)
        self.initialise(seeds)

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        *,
        num_heads: int,
        num_queries: int | None = None,
        output_shape: tuple[int, int, int, int] | None = None,
        patch: tuple[int, int, int] | None = None,
    ) -> "AttentionReadout":
        """The readout in arrays with the released flax names, without a leading `params/`.

        Args:
            arrays: name -> array, exactly the parameters of the readout.
            num_heads: H.
            num_queries: learned queries; None reads their number from the arrays (which have none where queries are an
                input).
            output_shape, patch: as in `ReadoutConfig`.

        Raises:
            UserError: an array is missing, unexpected, or of another shape; it is named.
        """
        learned = "query" in arrays or bool(num_queries)
        head = "Dense_1" if learned else "Dense_2"
        given = {"query": 3} if learned else {"Dense_0/kernel": 2}
        require_arrays(arrays, {"key_embedding/kernel": 3, "temporal_posenc/embeddings": 3, **given, f"{head}/bias": 1})
        channels = arrays["key_embedding/kernel"].shape[0]
        config = ReadoutConfig(
            frames=arrays["temporal_posenc/embeddings"].shape[0],
            channels=channels,
            params=math.prod(arrays["key_embedding/kernel"].shape[1:]),
            heads=num_heads,
            outputs=arrays[f"{head}/bias"].shape[0],
            queries=arrays["query"].shape[0] if learned else 0,
            query_channels=0 if learned else arrays["Dense_0/kernel"].shape[0],
            output_shape=None if output_shape is None else tuple(output_shape),  # type: ignore[arg-type]
            patch=None if patch is None else tuple(patch),  # type: ignore[arg-type]
        )
        if num_queries is not None and num_queries != config.queries:
            raise UserError(f"readout: has {config.queries} learned queries; expected {num_queries}")
        module = cls(config)
        module.load(arrays)
        return module

    def names(self) -> Names:
        return released_names(self.config)

    def outputs(self, features: Tensor, queries: Tensor | None = None) -> Tensor:
        """Outputs of all replicas.

        Args:
            features: [B, T, N, C].
            queries: [B, Q, query_channels], or [R, B, Q, query_channels] with queries of each replica; None where they
                are learned.

        Returns:
            [R, B, Q, K]; [R, B, K] for one learned query; [R, B, *output_shape] where the config has one.

        Raises:
            ValueError: shapes that do not fit, or queries where they are learned, or none where they are not.
        """
        c = self.config
        if features.shape[1] != c.frames or features.shape[3] != c.channels:
            raise ValueError(f"features {tuple(features.shape)}; expected [B, {c.frames}, N, {c.channels}]")
        if (queries is None) != bool(c.queries):
            raise ValueError("queries must be given exactly where the readout has no learned ones")
        normed = F.layer_norm(features.float(), (c.channels,), eps=NORM_EPS)
        outputs = self._head(self.query, self._pool(normed)) if self.folded else self._attend_all(normed, queries)
        if c.queries == 1:
            outputs = outputs.squeeze(2)
        return outputs if c.output_shape is None else self._lay_out(outputs)

    def _pool(self, normed: Tensor) -> Tensor:
        """The attended values [R, B, 1, P] of the single learned query, from normalised features [B, T, N, C].

        softmax(q (x Wk)^T) (x Wv) = (softmax((q Wk^T) x^T) x) Wv. Keys are never computed, and values only of the H
        pooled features: 2 M C H multiplications per clip and replica, where keys and values of all tokens take 2 M C P.
        Here x = scale * normed + shift, shift = bias + time [T, C]. All replicas share `normed`; scale and shift are
        applied to the query before and to the pooled features after, so that x of a replica is never computed.
        """
        c, size = self.config, self.config.params // self.config.heads
        b, t, n, _ = normed.shape
        split = (self.replicas, c.channels, c.heads, size)
        folded = torch.einsum("rchd,rhd->rhc", self.key_kernel.view(split), self.query.view(-1, c.heads, size))
        folded = folded / math.sqrt(size)
        shift = self.norm_bias[:, None] + self.time  # [R, T, C]
        # Logits: the shift of a token depends on its frame alone, so its part is one number per frame.
        by_time = torch.einsum("rhc,rtc->rht", folded, shift).flatten(0, 1)  # [RH, T]
        by_token = (folded * self.norm_scale[:, None]).flatten(0, 1)  # [RH, C]
        # Replicas and heads are one axis: a single product per clip serves all of them.
        logits = torch.matmul(by_token, normed.flatten(1, 2).mT)  # [B, RH, M]
        logits = logits.view(b, -1, t, n) + by_time[:, :, None]
        weights = logits.flatten(2).softmax(-1)
        # Pooled x = scale * (pooled normed) + the shift of each frame times the sum of its weights.
        pooled = torch.matmul(weights, normed.flatten(1, 2)).view(b, self.replicas, c.heads, c.channels)
        pooled = pooled * self.norm_scale[:, None]
        times = weights.view(b, self.replicas, c.heads, t, n).sum(-1)
        pooled = pooled + torch.einsum("brht,rtc->brhc", times, shift)
        values = torch.einsum("brhc,rchd->rbhd", pooled, self.value_kernel.view(split)).flatten(2)
        return (values + self.value_bias[:, None])[:, :, None]

    def _attend_all(self, normed: Tensor, given: Tensor | None) -> Tensor:
        """Outputs [R, B, Q, K] of all queries, chunk by chunk: there is no self-attention, so chunks are exact."""
        b, t, n, _ = normed.shape
        tokens = normed.flatten(1, 2)
        keys, values = (
            self._project(tokens, kernel, bias, (t, n))
            for kernel, bias in ((self.key_kernel, None), (self.value_kernel, self.value_bias))
        )
        if given is None:
            queries = self.query[:, None].expand(-1, b, -1, -1)
        else:
            given = given.expand(self.replicas, -1, -1, -1)
            queries = self._dense(given.flatten(1, 2), "query").unflatten(1, given.shape[1:3])
        chunks = queries.split(self.chunk, dim=2)
        if len(chunks) > 1 and torch.is_grad_enabled():
            # Activations of one chunk at a time: each is computed again in the backward pass.
            return torch.cat(
                [checkpoint(self._attend, part, keys, values, use_reentrant=False) for part in chunks], dim=2
            )
        return torch.cat([self._attend(part, keys, values) for part in chunks], dim=2)

    def _project(self, tokens: Tensor, kernel: Tensor, bias: Tensor | None, grid: tuple[int, int]) -> Tensor:
        """Keys or values [R B, H, M, d] of tokens [B, M, C].

        The affine part of the LayerNorm and the temporal embedding differ between replicas. They are folded into kernel
        and bias, so that all replicas share the normalised tokens.
        """
        scaled = self.norm_scale[..., None] * kernel
        shift = torch.einsum("rtc,rcp->rtp", self.norm_bias[:, None] + self.time, kernel)
        if bias is not None:
            shift = shift + bias[:, None]
        out = torch.bmm(tokens.flatten(0, 1).expand(self.replicas, -1, -1), scaled)
        out = out.unflatten(1, (-1, *grid)) + shift[:, None, :, None]
        return out.flatten(2, 3).unflatten(-1, (self.config.heads, -1)).flatten(0, 1).transpose(1, 2)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        r, b = queries.shape[:2]
        split = queries.flatten(0, 1).unflatten(-1, (self.config.heads, -1)).transpose(1, 2)
        attended = F.scaled_dot_product_attention(split, keys, values)
        return self._head(queries, attended.transpose(1, 2).flatten(2).unflatten(0, (r, b)))

    def _head(self, queries: Tensor, attended: Tensor) -> Tensor:
        """Queries and attended values, both [R, B, Q, P] -> outputs [R, B, Q, K]; queries [R, Q, P] serve all clips.

        Output projection with the query as residual, LayerNorm, MLP with residual, linear head.
        """
        r, b, q, _ = attended.shape
        if queries.ndim == 3:
            queries = queries[:, None].expand(-1, b, -1, -1)
        token = queries.flatten(1, 2) + self._dense(attended.flatten(1, 2), "out")
        normed = F.layer_norm(token, token.shape[-1:], eps=NORM_EPS)
        normed = normed * self.token_norm_scale[:, None] + self.token_norm_bias[:, None]
        hidden = F.gelu(self._dense(normed, "mlp_in"), approximate="tanh")
        token = token + self._dense(hidden, "mlp_out")
        return self._dense(token, "head").view(r, b, q, self.config.outputs)

    def _lay_out(self, outputs: Tensor) -> Tensor:
        """[R, B, Q, K] -> [R, B, T, H, W, c]: patches in the order t, h, w, and outputs t, h, w, c inside each."""
        shape, patch = self.config.output_shape, self.config.patch
        assert shape is not None
        assert patch is not None
        grid = [side // step for side, step in zip(shape[:3], patch, strict=True)]
        blocks = outputs.view(*outputs.shape[:2], *grid, *patch, shape[3])
        return blocks.permute(0, 1, 2, 5, 3, 6, 4, 7, 8).reshape(*outputs.shape[:2], *shape)


def released_names(config: ReadoutConfig) -> Names:
    """Our parameter names -> names and shapes in a released checkpoint."""
    c, split = config, (config.heads, config.params // config.heads)
    out, head = ("Dense_0", "Dense_1") if c.queries else ("Dense_1", "Dense_2")
    names: Names = {
        "norm_scale": ("LayerNorm_0/scale", (c.channels,)),
        "norm_bias": ("LayerNorm_0/bias", (c.channels,)),
        "time": ("temporal_posenc/embeddings", (c.frames, 1, c.channels)),
        "key_kernel": ("key_embedding/kernel", (c.channels, *split)),
        "key_bias": ("key_embedding/bias", split),
        "value_kernel": ("value_embedding/kernel", (c.channels, *split)),
        "value_bias": ("value_embedding/bias", split),
        "out_kernel": (f"{out}/kernel", (c.params, c.params)),
        "out_bias": (f"{out}/bias", (c.params,)),
        "token_norm_scale": ("LayerNorm_1/scale", (c.params,)),
        "token_norm_bias": ("LayerNorm_1/bias", (c.params,)),
        "mlp_in_kernel": ("MLP_0/Dense_0/kernel", (c.params, 4 * c.params)),
        "mlp_in_bias": ("MLP_0/Dense_0/bias", (4 * c.params,)),
        "mlp_out_kernel": ("MLP_0/Dense_1/kernel", (4 * c.params, c.params)),
        "mlp_out_bias": ("MLP_0/Dense_1/bias", (c.params,)),
        "head_kernel": (f"{head}/kernel", (c.params, c.outputs)),
        "head_bias": (f"{head}/bias", (c.outputs,)),
    }
    if c.queries:
        names["query"] = ("query", (c.queries, *split))
    else:
        names["query_kernel"] = ("Dense_0/kernel", (c.query_channels, c.params))
        names["query_bias"] = ("Dense_0/bias", (c.params,))
    return names


def average_clips(logits: Tensor, clips: int) -> Tensor:
    """Class probabilities of videos [B, K], from logits [B * clips, K] with the clips of a video adjacent.

    The mean of the clips' softmax, as the released readout has it at test time.
    """
    return logits.float().softmax(-1).unflatten(0, (-1, clips)).mean(1)
