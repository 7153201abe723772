"""Features of batches of clips: from the store where it has them, else from the frozen encoder."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from readouts.fitting.feature_store import FeatureStore
from rvm_bench.api.encoder import Encoder
from rvm_bench.errors import UserError
from rvm_bench.media.resize import resize


class FrozenFeatures:
    """Features of batches of clips, from a store where it has them, else from the encoder.

    Attributes:
        hits, misses: clips that came from the store, and that did not.
    """

    def __init__(self, encoder: Encoder, store: FeatureStore | None = None) -> None:
        self.encoder, self.store = encoder, store
        self.hits = self.misses = 0
        self._buffer = np.empty(0, np.int16)

    def __call__(self, keys: Sequence[str | None], clip: Callable[[int], np.ndarray], shape: tuple[int, ...]) -> Tensor:
        """Features of a batch.

        Args:
            keys: of the clips' exact pixels; None where a clip will not come again.
            clip: position in the batch -> uint8 [T, H, W, 3]; called for clips that are not in the store.
            shape: [T, N, D] of a clip's features.

        Returns:
            [B, T, N, D] on the encoder's device: float32 without a store, with one in its dtype. A stored clip and a
            computed one have the same bits. Of stored clips it is valid until the next call: allocating memory for
            every batch costs more than reading the features.
        """
        store = self.store
        if store is None:
            self.misses += len(keys)
            return self._encode(clip, range(len(keys)), shape)
        if self._buffer.shape[1:] != shape or len(self._buffer) < len(keys):
            self._buffer = np.empty((len(keys), *shape), np.int16)
        # Memory of NumPy's, reused: it asks the system for huge pages, which torch does not, and is faster to copy to.
        batch, missing = torch.from_numpy(self._buffer[: len(keys)]).view(store.dtype), []
        for position, key in enumerate(keys):
            if key is None or store.read(key, shape, out=batch[position]) is None:
                missing.append(position)
        self.hits, self.misses = self.hits + len(keys) - len(missing), self.misses + len(missing)
        if missing:
            fresh = store.round(self._encode(clip, missing, shape))
            if len(missing) == len(keys):
                batch = fresh
            else:
                batch[missing] = fresh.cpu()
            for position in missing:
                if (key := keys[position]) is not None:
                    store.add(key, batch[position])
        return batch.to(self.encoder.device)

    def _encode(self, clip: Callable[[int], np.ndarray], positions: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        clips = np.stack([clip(position) for position in positions])
        fresh = encode_clips(self.encoder, clips, fill=self.store is not None)
        if fresh.shape[1:] != shape:
            raise UserError(f"features of a clip are {tuple(fresh.shape[1:])}; the readout expects {shape}")
        return fresh


def encode_clips(encoder: Encoder, clips: np.ndarray, *, fill: bool = False) -> Tensor:
    """uint8 [B, T, H, W, 3] -> float32 [B, T, N, D] of an encoder's readout layer; `fill` as in `Encoder.clips`.

    Pictures that patches do not fill are resized to the next smaller size that they do: 256 px to 252 for patches of 14
    (ours: the paper is silent). So a place in the picture stays the same share of it, which a crop would not do.
    """
    (b, t, *size_hw), step = clips.shape[:4], encoder.card.patch
    filled = size_hw[0] // step * step, size_hw[1] // step * step
    if min(filled) and list(filled) != size_hw:
        clips = resize(clips.reshape(-1, *clips.shape[2:]), filled).reshape(b, t, *filled, 3)
    return encoder.clips(clips, fill=fill).flatten(2, 3)
