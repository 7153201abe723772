"""Raw pixels as features: no parameters, the floor of every task. Apart from its card, because it needs torch."""

from torch import Tensor

from rvm_bench.api.card import EncoderCard, Provenance
from rvm_bench.api.encoder import ImageEncoder


class PixelEncoder(ImageEncoder):
    """The pixels of each patch in [0, 1], row-major with channels last (16 x 16 x 3 = 768 values)."""

    def __init__(self, card: EncoderCard) -> None:
        super().__init__()
        self.card = card
        self.weights = Provenance(kind="none")

    def forward_frames(self, frames: Tensor) -> Tensor:
        n, channels, height, width = frames.shape
        p = self.card.patch
        h, w = self.grid(height, width)
        cropped = frames[:, :, : h * p, : w * p]
        return cropped.reshape(n, channels, h, p, w, p).permute(0, 2, 4, 3, 5, 1).reshape(n, h, w, -1)


def build(card: EncoderCard, device: str = "cpu", dtype: str = "float32") -> PixelEncoder:
    """The `pixels` encoder. It has no network, so device and dtype do not change its values."""
    return PixelEncoder(card)
