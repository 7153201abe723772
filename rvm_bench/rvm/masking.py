"""Which patches of a target frame the decoder's encoder sees. numpy only.

The permutation is an un-shuffling one: with `shuffled` the tokens in a random order, visible ones first,
`tokens = shuffled[inds_restore]`. Source: the authors' inference notebook; the scheme is MAE's.
"""

import numpy as np

MASK_RATIO = 0.95  # paper section 3.2 and the inference notebook


def visible_count(patches: int, ratio: float = MASK_RATIO) -> int:
    """Patches left visible: 12 of 256, 3 of 64.

    The released code writes int(N * (1.0 - 0.95)). `1.0 - 0.95` is 4.4e-17 above 0.05 in binary, and for every N up to
    200 000 it gives the same as int(N * 0.05) and N // 20. N - int(N * 0.95) does not: it rounds the other way.
    """
    return int(patches * (1.0 - ratio))


def draw(
    grid: tuple[int, int],
    *,
    seed: int,
    batch: int = 1,
    targets: int = 1,
    shared: bool = True,
    ratio: float = MASK_RATIO,
) -> tuple[np.ndarray, np.ndarray]:
    """A random mask: `inds_restore` int64 [B, TT, h*w] and `mask` float32 [B, TT, h, w, 1] (1 = hidden).

    Args:
        shared: one permutation for all videos and targets, as the released code draws it; else one for each.
    """
    patches = grid[0] * grid[1]
    rng = np.random.default_rng(seed)
    drawn = 1 if shared else batch * targets
    permutations = np.stack([rng.permutation(patches) for _ in range(drawn)]).reshape(-1, patches)
    inds_restore = np.broadcast_to(permutations.reshape(-1, patches), (batch * targets, patches))
    inds_restore = inds_restore.reshape(batch, targets, patches).astype(np.int64)
    return inds_restore, mask_from_permutation(inds_restore, grid, ratio)


def mask_from_permutation(inds_restore: np.ndarray, grid: tuple[int, int], ratio: float = MASK_RATIO) -> np.ndarray:
    """float32 [..., h, w, 1] from [..., h*w]: 1 where the patch is hidden, 0 where it is visible."""
    hidden = np.asarray(inds_restore) >= visible_count(grid[0] * grid[1], ratio)
    return hidden.reshape(*hidden.shape[:-1], *grid, 1).astype(np.float32)
