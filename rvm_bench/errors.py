"""Mistakes a user can mend, damaged files among them, and the nearest-name suggestion that goes with some."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence


class UserError(Exception):
    """A mistake that the user can mend; the message is one line: what, where, what was expected, how to mend it.

    The command line prints the message and exits with code 2; a library caller sees an ordinary exception.
    """


class DamagedFile(UserError):
    """A video or an image that cannot be read although it is there; it is left out, and counted, if one asks for it."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """An error for a name that is not in `known`, offering the nearest ones (or all, where none is near)."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    offer = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
    return UserError(f"unknown {kind} {name!r}; {offer}")


def listed(names: Sequence[str], at_most: int = 20) -> str:
    """The first names, separated by commas, and how many there are beyond them."""
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more


@contextlib.contextmanager
def optional_packages(what: str, extra: str) -> Iterator[None]:
    """Around imports of packages that a plain installation lacks.

    Args:
        what: needs them, as the beginning of a sentence: "figures need".
        extra: of this package that installs them.

    Raises:
        UserError: an import failed; the message has the command that installs what is missing.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(f"{what} a further package ({error}); pip install 'rvm-bench[{extra}]'") from error
