"""Tables of positions and the ways in which released models resize them to another grid."""

from torch import Tensor
from torch.nn import functional as F

RULES = {
    "bicubic": "torch bicubic (a = -0.75) of each time slot to the grid's size",
    "bicubic+0.1": "the same by scale factors (h + 0.1) / h0 and (w + 0.1) / w0, which move the samples a little",
    "antialiased": "antialiased bicubic (a = -0.5) of each time slot, equal to jax.image.resize's to 1e-6",
    "trilinear": "linear in time and space",
}


def resize_positions(table: Tensor, grid: tuple[int, int, int], rule: str) -> Tensor:
    """A table [t0, h0, w0, D] on another grid, [t, h, w, D], by one of `RULES`.

    Only "trilinear" can change the number of time slots. The grid's own size goes through the rule like any other:
    a caller that wants the stored table there must not call.
    """
    t, h, w = grid
    slots = table.permute(0, 3, 1, 2)
    if rule == "trilinear":
        out = F.interpolate(slots.transpose(0, 1)[None], size=grid, mode="trilinear", align_corners=False)[0]
        return out.permute(1, 2, 3, 0).contiguous()
    if t != len(table):
        raise ValueError(f"the rule {rule!r} keeps {len(table)} time slots; it cannot give {t}")
    if rule == "bicubic":
        out = F.interpolate(slots, size=(h, w), mode="bicubic", align_corners=False)
    elif rule == "bicubic+0.1":
        scale = ((h + 0.1) / table.shape[1], (w + 0.1) / table.shape[2])
        out = F.interpolate(slots, scale_factor=scale, mode="bicubic", align_corners=False)
    elif rule == "antialiased":
        # A trap: for a single column, torch 2.13's antialiased CPU kernel repeats the first row: lay it on its side.
        on_side = w == 1
        out = F.interpolate(
            slots.mT if on_side else slots,
            size=(w, h) if on_side else (h, w),
            mode="bicubic",
            align_corners=False,
            antialias=True,
        )
        out = out.mT if on_side else out
    else:
        raise ValueError(f"unknown rule {rule!r}; known: {', '.join(RULES)}")
    return out.permute(0, 2, 3, 1).contiguous()
