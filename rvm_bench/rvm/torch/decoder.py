"""The decoder: from features of source frames and a few visible patches of a target frame to its pixels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvm_bench.errors import UserError
from rvm_bench.nn.dense import Dense
from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.torch.layers import CrossTransformer
from rvm_bench.rvm.torch.positions import decoder_positions


class Decoder(nn.Module):
    def __init__(self, config: RVMConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.patch = config.patch
        self.embedder = Dense(config.width, width)  # one for the visible tokens and the source features
        self.delta_embedder = nn.Linear(config.delta_bins, width)
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.transformer = CrossTransformer(width, config.decoder_layers, config.decoder_heads, config.decoder_mlp)
        self.pixels = Dense(width, config.patch**2 * 3)

    def forward(
        self,
        context: Tensor,
        visible: Tensor,
        deltas: Tensor | None,
        inds_restore: Tensor,
        grid: tuple[int, int],
        *,
        share_keys: bool = True,
    ) -> Tensor:
        """Target frames, float32 [B, TT, h*P, w*P, 3] in [0, 1] units.

        Every target attends to all tokens of all sources, without a code for their place or time.

        Args:
            context: [B, M, D], all tokens of the source frames, CLS included.
            visible: [B*TT, 1 + n, D], CLS first, then the first n shuffled patches of each target.
            deltas: int [B, TT], the time to each target; None leaves the code out.
            inds_restore: int [B, TT, N], puts shuffled patches back in place.
            grid: (h, w) of the target, N = h * w.
            share_keys: whether the context's keys and values are projected once for all targets of a video, or, as in
                the released code, once for each. The result is the same.

        Raises:
            UserError: a delta outside [0, delta_bins).
        """
        batch, targets, patches = inds_restore.shape
        context = self.embedder(context).float()
        if not share_keys:
            context = context.repeat_interleave(targets, dim=0)
        visible = self.embedder(visible).float()
        cls_token, visible = visible[:, :1], visible[:, 1:]

        hidden = self.mask_token.expand(batch * targets, patches - visible.shape[1], -1)
        shuffled = torch.cat([visible, hidden], dim=1)
        order = inds_restore.flatten(0, 1)[..., None].expand(-1, -1, shuffled.shape[-1])
        tokens = shuffled.gather(1, order) + decoder_positions(patches, shuffled.shape[-1], shuffled.device)
        if deltas is not None:
            tokens = tokens + self._delta_code(deltas.flatten())[:, None]

        tokens = self.transformer(torch.cat([cls_token, tokens], dim=1), context)
        pixels = self.pixels(tokens[:, 1:]).float()
        h, w = grid
        pixels = pixels.view(batch, targets, h, w, self.patch, self.patch, 3).transpose(3, 4)
        return pixels.reshape(batch, targets, h * self.patch, w * self.patch, 3)

    def _delta_code(self, deltas: Tensor) -> Tensor:
        bins = self.delta_embedder.in_features
        if not ((deltas >= 0) & (deltas < bins)).all():
            raise UserError(
                f"deltas are {deltas.tolist()}; expected frames from the sources to a target in 0..{bins - 1}"
            )
        return self.delta_embedder(F.one_hot(deltas.long(), bins).to(self.delta_embedder.weight.dtype))
