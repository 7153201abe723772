"""RVM as released: a ViT per frame, a gated recurrent core over time, and the decoder it was trained with.

Source: arXiv 2512.13684 and the authors' inference notebook; where the two differ, the notebook (it is what the
checkpoints fit). Every difference that matters is said at its line.
"""

import abc

import torch
from torch import Tensor, nn

from rvm_bench.errors import UserError
from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.masking import MASK_RATIO, visible_count
from rvm_bench.rvm.torch.core import GatedCore
from rvm_bench.rvm.torch.decoder import Decoder
from rvm_bench.rvm.torch.vit import FrameEncoder


class Reconstructor(nn.Module, abc.ABC):
    """What decodes target frames from source frames, however it takes in the latter (`context`).

    Shape letters: B videos, T source frames, TT target frames, N = h*w patches, D width.
    """

    config: RVMConfig
    encoder: FrameEncoder
    decoder: Decoder

    @abc.abstractmethod
    def context(self, source: Tensor) -> Tensor:
        """Sources [B, T, 3, H, W] in [0, 1] -> [B, M, D], all tokens that the decoder attends to."""

    def reconstruct(
        self,
        source: Tensor,
        target: Tensor,
        deltas: Tensor | None,
        inds_restore: Tensor,
        *,
        mask_ratio: float = MASK_RATIO,
        visible_only: bool = True,
        share_keys: bool = True,
    ) -> Tensor:
        """Target frames decoded from the sources and 5 % of the targets' own patches: float32 [B, TT, H', W', 3].

        H' and W' are H and W less what is beyond the last whole patch. The released loss is the mean squared error
        over all of these pixels, hidden or not, in [0, 1] units.

        Args:
            source: [B, T, 3, H, W] in [0, 1].
            target: [B, TT, 3, H, W] in [0, 1]. Its visible patches pass through the ViT only, not the core.
            deltas: int [B, TT] in [0, delta_bins), or None.
            inds_restore: int [B, TT, N] as `rvm_bench.rvm.masking` draws them.
            mask_ratio: share of a target's patches that is hidden.
            visible_only, share_keys: the two savings of a step. Without the first, hidden patches go through the ViT
                too, where nothing attends to them; for the second see `Decoder`. The result is the same.

        Raises:
            UserError: shapes that do not fit together, or a delta out of range.
        """
        embedded = self.encoder.embed(target.flatten(0, 1))
        grid = (embedded.shape[1], embedded.shape[2])
        patches = grid[0] * grid[1]
        if tuple(inds_restore.shape) != (*target.shape[:2], patches):
            raise UserError(
                f"inds_restore has shape {tuple(inds_restore.shape)}; expected {(*target.shape[:2], patches)} "
                "= [batch, targets, patches]"
            )
        embedded, order = embedded.flatten(1, 2), inds_restore.flatten(0, 1)
        count = visible_count(patches, mask_ratio)
        places = order.argsort(dim=1)[:, :count, None].expand(-1, -1, embedded.shape[-1])
        if visible_only:
            visible = self.encoder.encode(embedded.gather(1, places))
        else:
            encoded = self.encoder.encode(embedded, seen=order < count)
            visible = torch.cat([encoded[:, :1], encoded[:, 1:].gather(1, places)], dim=1)
        context = self.context(source)
        return self.decoder(context, visible, deltas, inds_restore.long(), grid, share_keys=share_keys)


class RVM(Reconstructor):
    """The whole network. `forward` gives features, `reconstruct` pixels."""

    def __init__(self, config: RVMConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = FrameEncoder(config)
        self.core = GatedCore(config)
        self.decoder = Decoder(config)

    def forward(self, frames: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Frames [B, T, 3, H, W] in [0, 1] -> features [B, T, 1 + N, D] (CLS first) and the state [B, 1 + N, D].

        The frames go through the ViT together and only the core is a scan. Passing the state on continues a video.
        """
        tokens = self.encoder(frames.flatten(0, 1))
        return self.core(tokens.unflatten(0, frames.shape[:2]), state)

    def context(self, source: Tensor) -> Tensor:
        features, _ = self(source)
        return features.flatten(1, 2)
