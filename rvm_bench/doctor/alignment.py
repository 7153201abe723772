"""Which pixels and which frames a feature answers to. Always measured alike: change a part of the input and look where
the features change most. In a network with global attention everything may change a little; its own token changes most.
"""

import numpy as np

from rvm_bench.doctor import stimuli
from rvm_bench.doctor.subject import LEAK, Subject, TimeResponse
from rvm_bench.doctor.verdict import Verdict, fail, note, ok

CELLS = ((1 / 6, 6 / 8), (4 / 6, 1 / 8), (0, 3 / 8), (5 / 6, 5 / 8))
"""Places of the changed patch, as shares of the grid's height and width: none is near its mirror image, its transpose,
or the cell where it would land in a grid read column by column."""

REACH = 1
"""Cells by which the strongest answer may miss the changed patch: a convolution's field straddles its neighbours."""

OWN_SHARE = 0.5
"""How strongly, against the strongest, the changed patch's own cell must answer. Even where a convolution's cells lie
between two patches both answer about alike; where the map is shifted by a cell, the own cell does not answer."""

PLATEAU = 0.9
"""Feature frames that answer at least this much of the strongest share the peak: the frames of one tube."""


def place(subject: Subject) -> Verdict:
    """The features that answer to a patch of the image lie at that patch."""
    h, w = subject.grid
    image = stimuli.scene(*subject.size(subject.grid), seed=7)
    before = subject.features(image[None])[0].astype(np.float64)
    distances, shares, misses = [], [], []
    for seed, (down, right) in enumerate(CELLS):
        cell = int(down * h), int(right * w)
        after = subject.features(stimuli.with_patch(image, cell, subject.card.patch, seed=200 + seed)[None])[0]
        response = np.sqrt(((after - before) ** 2).sum(-1))
        if not response.max() > 0:
            return fail(
                f"noise in the patch of cell {cell} changes no feature", "the features must come from the frames"
            )
        peak = tuple(int(i) for i in np.unravel_index(np.nanargmax(response), response.shape))
        distances.append(max(abs(peak[0] - cell[0]), abs(peak[1] - cell[1])))
        shares.append(float(response[cell] / response.max()))
        if distances[-1] > REACH or shares[-1] < OWN_SHARE:
            misses.append(f"{cell} answers at {peak}")
    measured = (
        f"changed patches answer {', '.join(map(str, distances))} cells from their place, their own cell with at least "
        f"{min(shares):.0%} of the strongest answer"
    )
    if 2 * len(misses) >= len(CELLS):
        return fail(
            f"{measured}: (row, column) {', '.join(misses)} of {h}x{w}",
            "tokens must become the grid row by row, top left first: unflatten(1, (h, w)), without CLS and registers",
        )
    return note(f"{measured}: (row, column) {', '.join(misses)}") if misses else ok(measured)


def timing(subject: Subject) -> Verdict:
    """The features that answer to a frame lie at that frame, or in a clip model at its tube."""
    tubelet = subject.tubelet
    lags = [_lag(response, tubelet) for response in subject.time_responses]
    frames = ", ".join(str(response.frame) for response in subject.time_responses)
    tube = "" if tubelet == 1 else f" from the middle of its tube of {tubelet:g} frames"
    measured = f"frames {frames} changed: strongest answer {', '.join(f'{lag:+g}' for lag in lags)} frames{tube}"
    silent = [str(r.frame) for r in subject.time_responses if not r.rms_T[r.frame] > 0]
    mend = (
        "feature t must answer to frame t: look for a shift, a reversed axis, or time and batch mixed up by a reshape"
    )
    if silent:
        return fail(f"{measured}; features of frame {', '.join(silent)} do not answer to their own frame", mend)
    # Half a tube: what a plateau of two frames may miss; a shift by one frame of a two-frame tube is not less.
    if float(np.median(np.abs(lags))) >= tubelet / 2:
        return fail(measured, mend)
    return note(measured) if max(map(abs, lags)) >= tubelet / 2 else ok(measured)


def causal(subject: Subject) -> Verdict:
    """Whether later frames change earlier features; an error where the card says that they do not."""
    earlier, amount = 0, 0.0
    for response in subject.time_responses:
        past = response.largest_T[: response.frame]
        if (past > LEAK).any():
            earlier = max(earlier, response.frame - int(np.argmax(past > LEAK)))
            amount = max(amount, float(past.max()))
    if earlier and subject.card.causal:
        return fail(
            f"a frame changes features up to {earlier} frames before it, by up to {amount:.1e} standard deviations; "
            "the card says causal",
            "say causal=False in the card, or keep later frames out",
        )
    if earlier:
        return note(
            f"a frame changes features up to {earlier} frames before it, by up to {amount:.2g} standard deviations, "
            "as the card says (causal=False)"
        )
    if not subject.card.causal:
        return note("no frame changed earlier features, though the card says causal=False")
    return ok("no frame changes the features of frames before it")


def windows(subject: Subject) -> Verdict | None:
    """Models of more than one frame only: nothing passes from window to window, forwards or backwards."""
    frames = subject.card.frames
    if frames == 1:
        return None
    worst = 0.0
    for response in subject.time_responses:
        outside = np.arange(len(response.largest_T)) // frames != response.frame // frames
        worst = max(worst, float(response.largest_T[outside].max(initial=0)))
    if worst <= LEAK:
        return ok(f"windows of {frames} frames do not change one another")
    measured = f"a frame changes features of another window of {frames} frames by up to {worst:.1e} standard deviations"
    if subject.kind == "clip":
        return fail(measured, "a ClipEncoder keeps nothing from window to window")
    return note(measured)


def translation(subject: Subject) -> Verdict:
    """How well the features follow when the image moves by one patch down and one to the right. Never an error."""
    patch = subject.card.patch
    height, width = subject.size(subject.grid)
    image = stimuli.scene(height + patch, width + patch, seed=8)
    still = subject.features(image[None, :height, :width])[0]
    moved = subject.features(image[None, patch:, patch:])[0]
    follow = _correlation(moved[:-1, :-1], still[1:, 1:])
    stay = _correlation(moved[:-1, :-1], still[:-1, :-1])
    if not (np.isfinite(still).all() and np.isfinite(moved).all()):
        return fail("features of a texture are not finite, so that they cannot be compared", "see `finite`")
    if not np.isfinite(follow):
        return note("cannot be measured: the features are the same all over a frame")
    return note(
        f"an image moved by one patch: features correlate {follow:.2f} with those of the same pixels, {stay:.2f} with "
        "those of the same place (position embeddings and borders keep the first below 1)"
    )


def _lag(response: TimeResponse, tubelet: float) -> float:
    """Frames from the changed frame, or the middle of its tube, to the middle of the strongest answer near its peak."""
    tube = response.frame // tubelet
    middle = tube * tubelet + (tubelet - 1) / 2
    strongest = response.rms_T.max()
    if not strongest > 0:
        return float("inf")
    first = last = int(np.argmax(response.rms_T))
    if tubelet > 1:
        while first > 0 and response.rms_T[first - 1] >= PLATEAU * strongest:
            first -= 1
        while last + 1 < len(response.rms_T) and response.rms_T[last + 1] >= PLATEAU * strongest:
            last += 1
    return (first + last) / 2 - middle


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson correlation of two maps [h, w, D] over all values, each channel's mean over the map taken off."""
    a, b = ((maps - maps.mean((0, 1))).astype(np.float64).ravel() for maps in (one, other))
    with np.errstate(all="ignore"):
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))
