"""One configurable Vision Transformer for every family of the paper's tables; `ViTConfig` has their differences.

Residual stream, tokens and norms are float32; `rvm_bench.nn.dense.set_matmul_dtype` puts matrix products into bfloat16.

Shape letters: B batch, T frames, H W pixels, t h w grid of tokens, N tokens (CLS included), D width.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.vit.config import ViTConfig
from rvm_bench.nn.dense import Dense, DenseGelu
from rvm_bench.nn.positions import resize_positions
from rvm_bench.nn.sinusoids import sinusoid_table

MLP_ROWS = 1024  # tokens per MLP call on the fast path: a hidden layer of 13 MB at ViT-B
COPIED_BYTES = 8 << 20  # size of a sequence's qkv above which copying keys and values pays (docs/benchmarks.md)


class ViT(nn.Module):
    """Normalised pixels [B, 3, T, H, W] -> tokens [B, N, D] in the order CLS, then tubelets, rows, columns.

    T is a multiple of the tubelet. Pixels beyond the last whole patch are dropped.
    """

    derived = ("_positions",)  # a cache, not part of the weights' hash

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = c = config
        # A convolution whose stride is its kernel is one matrix product over flattened patches, and faster as such.
        self.patch_embed = Dense(3 * c.tubelet * c.patch**2, c.width)
        if c.cls:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, c.width))
        if c.positions == "stored":
            self.pos_embed = nn.Parameter(torch.zeros(1, c.cls + math.prod(c.grid), c.width))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width, eps=c.norm_eps) if c.final_norm else nn.Identity()
        self._positions: dict[tuple, Tensor] = {}  # resized position tables by grid

    def forward(self, pixels: Tensor, blocks: int | None = None) -> Tensor:
        """float32 tokens [B, N, D] after the first `blocks` blocks (None: all) and the final norm, if there is one."""
        x = self.embed(pixels)
        for block in self.blocks[:blocks]:
            x = block(x)
        return self.norm(x)

    def embed(self, pixels: Tensor) -> Tensor:
        """float32 tokens [B, N, D] before the first block: CLS and patches, positions added."""
        t, h, w = self.grid(pixels)
        p, tubelet = self.config.patch, self.config.tubelet
        whole = pixels[:, :, : t * tubelet, : h * p, : w * p]
        patches = whole.unflatten(4, (w, p)).unflatten(3, (h, p)).unflatten(2, (t, tubelet))
        patches = patches.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)
        positions = self.positions((t, h, w), square=pixels.shape[-1] == pixels.shape[-2])
        x = self.patch_embed(patches) + positions
        if self.config.cls:
            cls = self.cls_token + self.pos_embed[:, :1]
            x = torch.cat([cls.expand(len(x), -1, -1), x], dim=1)
        return x

    def grid(self, pixels: Tensor) -> tuple[int, int, int]:
        """Tubelets, rows and columns of the tokens of pixels [..., T, H, W]."""
        frames, height, width = pixels.shape[-3:]
        return frames // self.config.tubelet, height // self.config.patch, width // self.config.patch

    def positions(self, grid: tuple[int, int, int], square: bool) -> Tensor:
        """The position table of a grid, float32 [1, t * h * w, D], cached per grid.

        Args:
            grid: (t, h, w).
            square: whether the frames are square. Released image models resize the table for frames that are not, even
                if their grid is the native one (224 x 230 pixels), so this does too.
        """
        config, device = self.config, self.patch_embed.weight.device
        native = grid == config.grid and (square or config.tubelet > 1)
        key = (grid, native, device)
        if key not in self._positions:
            if len(self._positions) >= 8:  # bounds memory over videos of many sizes
                self._positions.clear()
            # A tensor made in inference mode could not be used with gradients later.
            with torch.inference_mode(False), torch.no_grad():
                if config.positions == "stored":
                    table = self.pos_embed[0, int(config.cls) :].float()
                else:
                    table = torch.from_numpy(sinusoid_table(math.prod(config.grid), config.width))
                if not native:
                    table = resize_positions(table.view(*config.grid, -1), grid, config.resize)
                self._positions[key] = table.reshape(1, math.prod(grid), -1).to(device)
        return self._positions[key]


class Block(nn.Module):
    """Pre-norm block: self-attention, then MLP, on [B, N, D]. May overwrite its input."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        c = config
        self.norm1 = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.attn = Attention(c)
        self.norm2 = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.mlp = GatedMlp(c.width, c.hidden) if c.gated else Mlp(c.width, c.hidden, c.gelu)
        self.ls1 = nn.Parameter(torch.ones(c.width)) if c.layer_scale else None
        self.ls2 = nn.Parameter(torch.ones(c.width)) if c.layer_scale else None

    def forward(self, x: Tensor) -> Tensor:
        x = _add(x, self.attn.proj, self.attn(self.norm1(x)), self.ls1)
        if not self.mlp.last.on_fast_path():
            return self.add_mlp(x)
        # Allocating the hidden layer of a large grid is slow (fresh pages), so the MLP runs over `MLP_ROWS` tokens at a
        # time. The rows are views: the stream is updated in place.
        for rows in x.view(-1, x.shape[-1]).split(MLP_ROWS):
            self.add_mlp(rows)
        return x

    def add_mlp(self, x: Tensor) -> Tensor:
        """x + MLP(norm(x)), with layer scale if there is one."""
        return _add(x, self.mlp.last, self.mlp(self.norm2(x)), self.ls2)


def _add(stream: Tensor, layer: Dense, input: Tensor, scale: Tensor | None) -> Tensor:
    """stream + layer(input), or stream + scale * layer(input)."""
    return layer.add_to(stream, input) if scale is None else layer.add_scaled(stream, input, scale)


class Attention(nn.Module):
    """Self-attention on [B, N, D] without its output projection, which the block fuses with the residual addition."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.qv_bias = config.bias == "qv"
        self.qkv = Dense(width, 3 * width, bias=not self.qv_bias)
        if self.qv_bias:
            self.q_bias = nn.Parameter(torch.zeros(width))
            self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = Dense(width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x)
        if self.qv_bias:
            for part, bias in ((0, self.q_bias), (2, self.v_bias)):
                qkv[..., part * len(bias) : (part + 1) * len(bias)] += bias.to(qkv.dtype)
        query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if qkv.device.type == "cpu" and qkv[0].nbytes > COPIED_BYTES:
            # Each block of queries reads all keys and values of its head again: contiguous reads repay the copy.
            key, value = key.contiguous(), value.contiguous()
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class Mlp(nn.Module):
    """First layer and GELU of an MLP: [B, N, D] -> [B, N, hidden]. The block applies the last layer."""

    def __init__(self, width: int, hidden: int, gelu: Literal["erf", "tanh"]) -> None:
        super().__init__()
        self.fc1 = DenseGelu(width, hidden, gelu)
        self.fc2 = Dense(hidden, width)

    @property
    def last(self) -> Dense:
        return self.fc2

    def forward(self, x: Tensor) -> Tensor:
        return self.fc1(x)


class GatedMlp(nn.Module):
    """SwiGLU: [B, N, D] -> silu(first half) * second half, [B, N, hidden]. The block applies the last layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w12 = Dense(width, 2 * hidden)
        self.w3 = Dense(hidden, width)

    @property
    def last(self) -> Dense:
        return self.w3

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.w12(x).chunk(2, dim=-1)
        return F.silu(gate).mul_(up)


def randomise(model: ViT, seed: int = 0) -> ViT:
    """The model with untrained weights: Xavier-uniform kernels, normal(0, 0.02) CLS and positions, zero biases, unit
    scales. The same config and seed give the same weights.

    Kernels that write into the residual stream are divided by the square root of their number, as in GPT-2, so that a
    deep stack starts close to the identity.
    """
    generator = torch.Generator().manual_seed(seed)
    residual_scale = math.sqrt(2 * model.config.layers)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("cls_token", "pos_embed"):
                parameter.normal_(0, 0.02, generator=generator)
            elif parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter, generator=generator)
                if name.endswith(("attn.proj.weight", "fc2.weight", "w3.weight")):
                    parameter.div_(residual_scale)
            else:
                parameter.fill_(float(name.endswith("weight") or "ls" in name))
    return model
