"""The examination: every check in turn, each answered by a verdict whatever the model does."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import partial

from rvm_bench.api.encoder import Encoder
from rvm_bench.doctor import alignment, contract, facts, repeats
from rvm_bench.doctor.subject import Subject
from rvm_bench.doctor.verdict import Verdict, fail, not_done, said

BUDGET_S = 60.0

Check = Callable[[Subject], Verdict | None]

CHECKS: dict[str, Check] = {
    "card": facts.card,
    "frozen": contract.frozen,
    "shapes": contract.shapes,
    "remainder": contract.remainder,
    "precision": contract.precision,
    "finite": contract.finite,
    "uses input": contract.uses_input,
    "place": alignment.place,
    "timing": alignment.timing,
    "causal": alignment.causal,
    "windows": alignment.windows,
    "independent": repeats.independent,
    "repeatable": repeats.repeatable,
    "stateless": repeats.stateless,
    "reloaded": repeats.reloaded,
    "untouched": repeats.untouched,
    "batches": repeats.batches,
    "encode": repeats.encodes,
    "taps": facts.taps,
    "weights": facts.weights,
    "translation": alignment.translation,
    "memory": facts.memory,
    "speed": facts.speed,
}
"""The checks by name, the most telling first; `runs` goes before them all. None of a check: not for this kind."""

NAME_WIDTH = max(map(len, CHECKS))


def examine(
    encoder: Encoder, *, reload: Callable[[], Encoder] | None = None, budget_s: float = BUDGET_S
) -> Iterator[Verdict]:
    """Verdicts on an encoder, each as soon as it is known; nothing that the model does ends them early.

    The stimuli are procedural and seeded (`rvm_bench.doctor.stimuli`), a few frames of 6x8 patches of the model, less
    for a slow model; but for time and memory the same encoder gets the same verdicts on the same machine.

    Args:
        encoder: frozen, as `load_encoder` returns it.
        reload: makes the same encoder anew; without it nothing is said about loading.
        budget_s: seconds to keep to. The stimuli shrink to fit; what the budget does not reach is named in a note.
    """
    start = time.perf_counter()
    subject = Subject(encoder, reload)
    reported: dict[str, str] = {}
    runs: dict[str, Check] = {"runs": partial(contract.runs, budget_s=budget_s)}
    for name, check in (runs | CHECKS).items():
        spent = time.perf_counter() - start
        if spent > budget_s:
            verdict: Verdict | None = not_done(
                f"{spent:.0f} s are spent, of {budget_s:.0f}", "allow more with --budget SECONDS"
            )
        else:
            verdict = _guarded(name, check, subject, reported)
        if verdict is not None:
            yield dataclasses.replace(verdict, check=name)


def _guarded(name: str, check: Check, subject: Subject, reported: dict[str, str]) -> Verdict | None:
    """The verdict of a check, also where the model raises. `reported`: each exception so far and the check that met it
    first, so that it is reported once."""
    try:
        return check(subject)
    except Exception as error:  # Whatever a plug-in raises is a finding, and must not hide the findings after it.
        message = said(error)
    if message in reported:
        return fail(f"cannot be measured: fails as in `{reported[message]}`", "")
    reported[message] = name
    return fail(message, "the model fails here; mend this first")
