"""Is it an encoder at all: it runs, is frozen, and keeps shapes, dtype and range for every video."""

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rvm_bench.api.encoder import Encoder
from rvm_bench.api.tensors import arrays_of, modules_of
from rvm_bench.doctor import stimuli
from rvm_bench.doctor.subject import GRIDS, SMALL_GRID, WORK, Subject, described, difference, spread
from rvm_bench.doctor.verdict import Verdict, fail, note, ok, said

ACTIVE_IN_TRAINING = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase, nn.RReLU)


def runs(subject: Subject, budget_s: float) -> Verdict:
    """Runs once, and picks the size of the stimuli by how long that took."""
    encoder = subject.encoder
    for _ in range(2):  # The first pass also warms up.
        start = time.perf_counter()
        subject.features(subject.small)
        seconds = time.perf_counter() - start
    per_cell_s = seconds / (len(subject.small) * SMALL_GRID[0] * SMALL_GRID[1])
    for grid in GRIDS:
        subject.grid = grid
        if per_cell_s * subject.window * grid[0] * grid[1] * WORK < budget_s / 2:
            break
    height, width = subject.size(subject.grid)
    measured = (
        f"{subject.kind} encoder {type(encoder).__name__} on {encoder.device}, {str(encoder.dtype)[6:]}, "
        f"{torch.get_num_threads()} threads; examined on {subject.window}-frame videos of {height}x{width} px "
        f"({subject.grid[0]}x{subject.grid[1]} patches)"
    )
    if subject.grid != GRIDS[0]:
        return note(f"{measured}, less than {GRIDS[0][0]}x{GRIDS[0][1]} patches because the model is slow here")
    return ok(measured)


def frozen(subject: Subject) -> Verdict:
    """Evaluation mode and no gradients, in every module that runs or is held, wherever it is held."""
    encoder = subject.encoder
    ran: dict[int, tuple[nn.Module, bool]] = {}

    def remember(module: nn.Module, arguments: Any) -> None:
        _, trained = ran.get(id(module), (module, False))
        ran[id(module)] = module, trained or module.training

    # A hook on all modules also meets those that the encoder hides in closures, or trains inside its forward method.
    handle = nn.modules.module.register_module_forward_pre_hook(remember)
    try:
        carries_gradient = any(getattr(piece, "requires_grad", False) for piece in encoder.stream(subject.small.copy()))
    finally:
        handle.remove()
    modules = {id(m): m for top in modules_of(encoder, base=Encoder) for m in top.modules()}
    modules |= {key: module for key, (module, _) in ran.items()}
    loose = [value for _, value in arrays_of(encoder, base=Encoder) if isinstance(value, Tensor)]
    states = {id(m): bool(list(m.parameters(False)) or list(m.buffers(False))) for m in modules.values()}
    in_training = [
        type(m).__name__
        for key, m in modules.items()
        if (m.training or ran.get(key, (m, False))[1]) and (states[key] or isinstance(m, ACTIVE_IN_TRAINING))
    ]
    parameters = {id(p): p for m in modules.values() for p in m.parameters(False)} | {id(t): t for t in loose}
    wanting = sum(1 for p in parameters.values() if p.requires_grad)
    moved = {id(m) for top in modules_of(encoder, base=Encoder) for m in top.modules()}
    stray = [type(m).__name__ for key, m in modules.items() if states[key] and key not in moved]
    hold = "hold each network as an attribute of the encoder, and leave eval and requires_grad to Encoder.to"
    wrong = []
    if in_training:
        wrong.append(f"in training mode: {_listed(in_training)}")
    if wanting:
        wrong.append(f"{wanting} tensors require gradients")
    if carries_gradient:
        wrong.append("features carry gradients")
    if wrong:
        return fail("; ".join(wrong), hold)
    if stray:
        return note(
            f"{_listed(stray)} out of reach of the encoder's attributes: it is neither moved nor hashed",
            hold,
        )
    if not modules:
        return ok("no modules")
    return ok(f"{len(modules)} modules in evaluation mode, no tensor requires gradients")


def shapes(subject: Subject) -> Verdict:
    """One map [H // patch, W // patch, width] per frame, for every length, on frames that are not square."""
    frames = subject.card.frames
    lengths = sorted({1, 2, frames, frames + 1, 2 * frames + 1, 17})
    tall, wide = SMALL_GRID[::-1], SMALL_GRID
    cases = [(wide, length) for length in lengths] + [(tall, 1), (subject.grid, len(subject.long))]
    wrong: dict[str, list[str]] = {}
    for grid, length in cases:
        size = subject.size(grid)
        try:
            if grid == subject.grid:
                _ = subject.long_features
            else:
                subject.features(stimuli.drifting(length, *size, seed=3))
            if tuple(subject.encoder.grid(*size)) != grid:
                raise ValueError(f"encoder.grid says {subject.encoder.grid(*size)} of {grid} patches")
        except Exception as error:  # A plug-in may raise anything; which videos it fails on is what is measured.
            wrong.setdefault(said(error), []).append(f"T={length} of {size[0]}x{size[1]} px")
    if wrong:
        found = "; ".join(f"{_listed(videos)}: {message}" for message, videos in wrong.items())
        return fail(found, "every video of T >= 1 frames gives float32 [T, H // patch, W // patch, width], row by row")
    grids = ", ".join(f"{h}x{w}" for h, w in (wide, tall, subject.grid))
    return ok(
        f"float32 [T, h, w, {subject.card.width}] for T = {', '.join(map(str, lengths))} and grids h x w of {grids}"
    )


def remainder(subject: Subject) -> Verdict | None:
    """Frames whose sides are no multiple of the patch: what is left over is left out."""
    patch = subject.card.patch
    if patch == 1:
        return None
    grid = SMALL_GRID
    height, width = grid[0] * patch + min(3, patch - 1), grid[1] * patch + min(5, patch - 1)
    try:
        subject.features(stimuli.drifting(1, height, width, seed=4))
    except Exception as error:  # As in `shapes`.
        return fail(said(error), "crop the frames to whole patches in the forward method")
    return ok(f"{height}x{width} px give a grid of {grid[0]}x{grid[1]}, as H // {patch}, W // {patch} promise")


def precision(subject: Subject) -> Verdict | None:
    """What the adapter's own method returns: a floating tensor of the encoder's dtype, or float32; whole tubes."""
    raw = subject.raw_output()
    if raw is None:
        return None
    if not isinstance(raw, Tensor):
        return fail(f"the forward method returns a {type(raw).__name__}", "return a torch tensor")
    expected = {torch.float32, torch.bfloat16, torch.float16, subject.encoder.dtype}
    if raw.dtype not in expected:
        return fail(
            f"the forward method returns {raw.dtype}, cast to float32 behind it",
            "return features in float32 (or the encoder's dtype), neither rounded to integers nor computed in float64",
        )
    if subject.kind == "clip" and subject.card.frames % raw.shape[1]:
        return fail(
            f"{subject.card.frames} frames become {raw.shape[1]} time steps, not a whole number of frames each",
            "forward_clip returns [B, tubes, h, w, D] with all tubes of the clip, without CLS",
        )
    return ok(f"the forward method returns {raw.dtype}, stream yields torch.float32")


def finite(subject: Subject) -> Verdict:
    """No NaN or infinity, on texture, on flat frames and at both ends of the range."""
    size = subject.size(SMALL_GRID)
    frames = max(2, subject.card.frames)
    videos = {name: stimuli.flat(name, frames, *size) for name in stimuli.FLAT}
    videos["0/255 noise"] = stimuli.extremes(frames, *size, seed=5)
    found = {name: subject.features(video) for name, video in videos.items()} | {"texture": subject.long_features}
    wrong = [
        f"{np.mean(~np.isfinite(values)):.0%} of the values on {name}"
        for name, values in found.items()
        if not np.isfinite(values).all()
    ]
    if wrong:
        return fail(
            f"not finite: {', '.join(wrong)}",
            "look for a division by a spread, norm or sum that is 0, or for an overflow",
        )
    largest = max(float(np.abs(values).max()) for values in found.values())
    return ok(f"finite on {', '.join(found)}; largest value {largest:.3g}")


def uses_input(subject: Subject) -> Verdict:
    """Other videos give other features, and so do other places and other frames."""
    other = subject.features(stimuli.drifting(len(subject.short), *subject.size(subject.grid), seed=6))
    features = subject.short_features
    change = difference(other, features)
    mend = "the features must come from the frames that are given; look for a cache, a stale buffer or a constant"
    if change <= 1e-4:
        return fail(f"another video changes the features by {described(change)}", mend)
    with np.errstate(all="ignore"):
        over_space = float(features.std((1, 2)).max()) / spread(features)
    if not over_space > 1e-4:
        return fail("all cells of a textured frame have the same features", mend)
    return ok(f"another video changes the features by up to {change:.2g} standard deviations")


def held_parameters(encoder: Encoder) -> int:
    """Numbers in all parameters and loose floating tensors that the encoder holds, each counted once."""
    modules = [module for top in modules_of(encoder, base=Encoder) for module in top.modules()]
    buffers = {id(buffer) for module in modules for buffer in module.buffers(False)}
    held = {id(value): value for _, value in arrays_of(encoder, base=Encoder) if isinstance(value, Tensor)}
    return sum(t.numel() for key, t in held.items() if key not in buffers and t.is_floating_point())


def _listed(items: list[str], most: int = 4) -> str:
    """The first few of the items, each once, and how many more there are."""
    unique = list(dict.fromkeys(items))
    more = f" and {len(unique) - most} more" if len(unique) > most else ""
    return ", ".join(unique[:most]) + more
