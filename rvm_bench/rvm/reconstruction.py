"""Target frames decoded by an RVM of either backend. Torch or jax comes in with the model that is passed."""

from typing import Any


def reconstruct(model: Any, source: Any, target: Any, deltas: Any, inds_restore: Any) -> Any:
    """Target frames as RVM decodes them, without gradients: float32 [B, TT, H, W, 3] in [0, 1] units.

    It is a tensor or a JAX array, after the model. H and W are multiples of the patch (what lies beyond the last whole
    patch is not decoded). To train, call the torch or flax module's own `reconstruct`.

    Args:
        model: a loaded RVM encoder of either backend, the torch module `rvm_bench.rvm.torch.model.RVM`, or a
            `rvm_bench.rvm.jax.frozen.FrozenRVM`.
        source: frames [B, T, H, W, 3], uint8 or floating in [0, 1]; array or tensor.
        target: frames [B, TT, H, W, 3], likewise.
        deltas: int [B, TT], frames from the sources to each target, below 64 in the released models; or None.
            The authors' notebook counts from the first source frame, the paper from the last.
        inds_restore: int [B, TT, N], the un-shuffling permutation; `rvm_bench.rvm.masking.draw` makes one. The first
            int(N * (1.0 - 0.95)) shuffled patches are visible.

    Raises:
        UserError: shapes that do not fit together, or a delta out of range.
    """
    if getattr(model, "backend", "torch") == "jax":
        return model.reconstruct(source, target, deltas, inds_restore)
    from rvm_bench.rvm.torch.reconstruction import reconstruct

    return reconstruct(model, source, target, deltas, inds_restore)
