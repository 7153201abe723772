"""Overrides of single constants of a protocol (`--set topk=5`), and which constants differ from the official ones."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rvm_bench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class HasConstants(typing.Protocol):
    """A protocol, as `rvm_bench.api.task.Protocol`."""

    def to_dict(self) -> dict[str, Any]: ...


P = TypeVar("P", bound="DataclassInstance")


def override(protocol: P, texts: Sequence[str], *, fixed: str = "id") -> P:
    """A copy of the protocol with some constants replaced, each given as "name=value".

    Values are parsed by the type of the field: true or false for a bool; an integer or a decimal number; one of the
    allowed values for a Literal; "none" if the field is optional; comma-separated elements for a tuple. A value equal
    to the current one changes nothing, not even its type, so that the fingerprint stays the same.

    Args:
        protocol: a frozen dataclass.
        texts: one "name=value" for each constant.
        fixed: the field that names the protocol and its version; it cannot be set.

    Raises:
        UserError: no such constant (the nearest names are offered), a value of another type, the same name twice, or
            a value that the protocol itself refuses.
    """
    hints = typing.get_type_hints(type(protocol))
    known = [field.name for field in dataclasses.fields(protocol) if field.init and field.name != fixed]
    changes: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals):
            raise UserError(f"{text!r} sets no constant of the protocol; expected name=value, as in topk=5")
        if name == fixed:
            raise UserError(f"{fixed} names the protocol and cannot be set; known: {', '.join(known)}")
        if name not in known:
            raise unknown_name(f"constant of {getattr(protocol, fixed)}", name, known)
        if name in changes:
            raise UserError(f"{name} is set twice; give it one value")
        present, read = getattr(protocol, name), _read(name, value, hints[name])
        changes[name] = present if read == present else read
    return dataclasses.replace(protocol, **changes)


def off_protocol(protocol: "HasConstants", official: "HasConstants") -> dict[str, list[Any]]:
    """The constants that differ from the official ones: name -> [official, current], in the order of the fields.

    Empty under the official protocol. A constant that the official protocol lacks counts as None there. Values are
    those of `Protocol.to_dict`, so that the result can be written as JSON.
    """
    expected, current = official.to_dict(), protocol.to_dict()
    return {name: [expected.get(name), value] for name, value in current.items() if expected.get(name) != value}


def check_choices(protocol: "DataclassInstance") -> None:
    """Raises UserError if a Literal field holds none of its allowed values; for `__post_init__` of a dataclass."""
    for name, hint in typing.get_type_hints(type(protocol)).items():
        if typing.get_origin(hint) is typing.Literal:
            _read_choice(name, getattr(protocol, name), typing.get_args(hint))


def check_bounds(protocol: "DataclassInstance") -> None:
    """Raises UserError if a number, or an element of a tuple, is not finite or outside of its `constant` bounds."""
    for field in dataclasses.fields(protocol):
        low, high = field.metadata.get("low"), field.metadata.get("high")
        value = getattr(protocol, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if not math.isfinite(number):
                raise _wrong(field.name, number, "a finite number")
            if (low is not None and number < low) or (high is not None and number > high):
                raise _wrong(field.name, number, _range(low, high))


def _range(low: float | None, high: float | None) -> str:
    if high is None:
        return f"at least {low:g}"
    return f"at most {high:g}" if low is None else f"{low:g} to {high:g}"


def _read(name: str, text: str, hint: Any) -> Any:
    """A text parsed as a value of this type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return _read_choice(name, text, arguments)
    if origin in (typing.Union, types.UnionType):
        kinds = [kind for kind in arguments if kind is not type(None)]
        if len(kinds) < len(arguments) and text.lower() == "none":
            return None
        return _read(name, text, kinds[0])
    if origin is tuple:
        return tuple(_read(name, element.strip(), arguments[0]) for element in text.split(",") if element.strip())
    if hint is str:
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise _wrong(name, text, "true or false")
        return text.lower() == "true"
    if hint is int or hint is float:
        return _read_number(name, text, whole=hint is int)
    raise UserError(f"{name} cannot be set on the command line; use dataclasses.replace in Python")


def _read_number(name: str, text: str, *, whole: bool) -> float:
    """An int if the text is one, in a float field too: a constant written as 20 stays 20 in the protocol's JSON."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = math.nan if whole else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _wrong(name, text, "a whole number" if whole else "a number")
    return value


def _read_choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    found = next((choice for choice in choices if str(choice) == str(value)), None)
    if found is None:
        near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
        raise _wrong(name, value, " or ".join(map(str, choices)) + (f"; did you mean {near[0]}?" if near else ""))
    return found


def _wrong(name: str, value: Any, wanted: str) -> UserError:
    return UserError(f"{name}={value}: expected {wanted}")
