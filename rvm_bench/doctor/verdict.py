"""What a check says: a level, one line of what was measured, and how to mend it."""

import dataclasses
import os
import traceback
from enum import StrEnum

from rvm_bench.errors import UserError

LONGEST_MESSAGE = 300


class Level(StrEnum):
    """OK: as the contract says. NOTE: worth knowing, no mistake. FAIL: numbers of this model would be wrong."""

    OK = "ok"
    NOTE = "note"
    FAIL = "FAIL"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """One line of the report.

    Attributes:
        level: how bad it is.
        measured: one line of what was found, with its numbers.
        mend: what to do about it; empty unless something should be done.
        check: name of the check; `examine` fills it in.
        done: False where the check was not made, for want of time or of what it needs.
    """

    level: Level
    measured: str
    mend: str = ""
    check: str = ""
    done: bool = True

    def line(self, width: int) -> str:
        """The verdict as one line of text, its check's name padded to `width` characters."""
        return f"{self.level:4}  {self.check:{width}}  {self.measured}" + (f" -> {self.mend}" if self.mend else "")


class Broken(Exception):
    """What an encoder returned breaks its contract, so that a check cannot go on."""


def ok(measured: str) -> Verdict:
    return Verdict(level=Level.OK, measured=measured)


def note(measured: str, mend: str = "") -> Verdict:
    return Verdict(level=Level.NOTE, measured=measured, mend=mend)


def not_done(why: str, mend: str = "") -> Verdict:
    return Verdict(level=Level.NOTE, measured=f"not done: {why}", mend=mend, done=False)


def fail(measured: str, mend: str) -> Verdict:
    return Verdict(level=Level.FAIL, measured=measured, mend=mend)


def said(error: Exception) -> str:
    """An exception as one line: its type, its message, and the line of code outside torch that raised it."""
    message = " ".join(str(error).split())
    if len(message) > LONGEST_MESSAGE:
        message = message[: LONGEST_MESSAGE - 3] + "..."
    if isinstance(error, UserError | Broken):
        return message
    inside_torch = f"{os.sep}torch{os.sep}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if inside_torch not in f.filename]
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {message}{place}"
