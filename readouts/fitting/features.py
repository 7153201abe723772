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
            computed one have the same bits. Stored clips are in a buffer that the next call overwrites.
        """
        store = self.store
        if store is None:
            self.misses += len(keys)
            return self._encode(clip, range(len(keys)), shape)
        # One buffer for all batches: allocating pages costs more than reading the features. It is NumPy's because NumPy
        # asks the system for huge pages, and int16 because NumPy has no bfloat16.
        if self._buffer.shape[1:] != shape or len(self._buffer) < len(keys):
            self._buffer = np.empty((len(keys), *shape), np.int16)
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
        # `fill`: a cached clip must have the same bits, whichever clips were encoded in the same call.
        fresh = encode_clips(self.encoder, clips, fill=self.store is not None)
        if fresh.shape[1:] != shape:
            raise UserError(f"features of a clip are {tuple(fresh.shape[1:])}; the readout expects {shape}")
        return fresh


def encode_clips(encoder: Encoder, clips: np.ndarray, *, fill: bool = False) -> Tensor:
    """uint8 [B, T, H, W, 3] -> float32 [B, T, N, D] of an encoder's readout layer; `fill` as in `Encoder.clips`.

    Frames whose sides are no multiple of the patch size are resized to the next smaller multiple: 256 px to 252 for
    patches of 14 (our choice: the paper says nothing). This keeps relative coordinates, which a crop would not.
    """
    (b, t, *size_hw), patch = clips.shape[:4], encoder.card.patch
    multiple_hw = size_hw[0] // patch * patch, size_hw[1] // patch * patch
    if min(multiple_hw) and list(multiple_hw) != size_hw:
        clips = resize(clips.reshape(-1, *clips.shape[2:]), multiple_hw).reshape(b, t, *multiple_hw, 3)
    return encoder.clips(clips, fill=fill).flatten(2, 3)
