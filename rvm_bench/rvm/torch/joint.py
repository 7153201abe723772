"""The ablation of paper Table 3b: frames aggregated by self-attention instead of the recurrent core.

All source tokens go through one ViT together, which has the core's layers on top of its own; a target's visible patches
go through the same ViT alone. Published (sections 4.3 and 9): the tokens of all frames are concatenated before the ViT,
its added layers match the core's layers and parameters, positions have a time dimension, all else stays.

Ours, as the paper does not say it: the added blocks have the core's heads, and an MLP that gives them the core's
parameters (4 blocks of 3072 hidden are 11.8 M to the core's 11.6 M at S); there is one CLS for all frames; the time
dimension is the sinusoid carried on over all frames' patches; a target has the positions of a clip's first frame and
passes through the added layers too.
"""

from torch import Tensor

from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.torch.decoder import Decoder
from rvm_bench.rvm.torch.layers import SelfBlock
from rvm_bench.rvm.torch.model import Reconstructor
from rvm_bench.rvm.torch.positions import clip_positions
from rvm_bench.rvm.torch.vit import FrameEncoder


class JointRVM(Reconstructor):
    """A ViT over all source frames at once. `config.core_*` are the sizes of the added self-attention blocks."""

    def __init__(self, config: RVMConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = FrameEncoder(config)
        self.encoder.blocks.extend(
            SelfBlock(config.width, config.core_heads, config.core_mlp) for _ in range(config.core_layers)
        )
        self.decoder = Decoder(config)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W] in [0, 1] -> features [B, 1 + T * N, D], CLS first, then frame after frame."""
        tokens = self.encoder.project(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        times, h, w, width = tokens.shape[1:]
        return self.encoder.encode((tokens + clip_positions(times, (h, w), width, tokens.device)).flatten(1, 3))

    def context(self, source: Tensor) -> Tensor:
        return self(source)
