"""The frame encoder: a plain ViT that sees one frame at a time, without pixel normalisation beyond / 255."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.torch.layers import Recomputing, SelfBlock
from rvm_bench.rvm.torch.positions import encoder_positions


class FrameEncoder(Recomputing):
    """Frames [N, 3, H, W] in [0, 1] -> tokens [N, 1 + h*w, D], CLS first."""

    def __init__(self, config: RVMConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.cls_token = nn.Parameter(torch.zeros(1, config.width))
        # The patch convolution does not overlap, so it is one matrix product over flattened patches.
        self.patch_embedding = nn.Linear(config.patch**2 * 3, config.width)
        self.blocks = nn.ModuleList(SelfBlock(config.width, config.heads, config.mlp) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)

    def forward(self, frames: Tensor) -> Tensor:
        return self.encode(self.embed(frames).flatten(1, 2))

    def embed(self, frames: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, h, w, D]: patches with positions. Pixels beyond the last whole patch are not seen."""
        tokens = self.project(frames)
        return tokens + encoder_positions((tokens.shape[1], tokens.shape[2]), tokens.shape[-1], tokens.device)

    def project(self, frames: Tensor) -> Tensor:
        """The same without positions."""
        count, _, height, width = frames.shape
        h, w = height // self.patch, width // self.patch
        pixels = frames[:, :, : h * self.patch, : w * self.patch].permute(0, 2, 3, 1)
        patches = pixels.unflatten(2, (w, self.patch)).unflatten(1, (h, self.patch)).transpose(2, 3)
        return self.patch_embedding(patches.reshape(count, h, w, -1))

    def encode(self, tokens: Tensor, seen: Tensor | None = None) -> Tensor:
        """Any subset of embedded patches [N, n, D] -> [N, 1 + n, D]. CLS is put first and has no position.

        With `seen`, bool [N, n], only these patches and CLS are attended to; the others' outputs mean nothing.
        """
        x = torch.cat([self.cls_token.expand(len(tokens), 1, -1), tokens], dim=1)
        mask = None if seen is None else F.pad(seen, (1, 0), value=True)[:, None, None]
        for block in self.blocks:
            x = self.run(block, x, mask)
        return self.norm(x)
