"""Protocol buffer messages from a table of their fields, without a compiler, read strictly.

Only the fields that we read need to be in the table; on the wire a field is a number and a kind, so all others are
passed over. Text is declared as bytes and decoded by `text`, so that a damaged name is an error of ours; a map is, on
the wire, a repeated message with a key (1) and a value (2), and is declared so. A message that is not always wanted may
be declared as bytes as well, and be parsed later.

Source: protobuf.dev, "Encoding".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from rvm_bench.errors import UserError, optional_packages

Fields = Mapping[str, tuple[int, str]]
"""Field name -> its number, and its kind: "int32", "int64", "bool", "float", "double", "bytes", or the name of a
message of the same table; after "repeated " where there may be many."""

_FIXED_BYTES = {1: 8, 5: 4}
"""Kind on the wire -> bytes of its content; besides these there are 0, whole numbers, and 2, with a length."""


def message_classes(package: str, messages: Mapping[str, Fields]) -> dict[str, Any]:
    """Message name -> its class, for a table of messages. `package` tells the messages of two tables apart."""
    with optional_packages("protobuf messages need", "tfrecord"):
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto2")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field_name, (number, declared) in fields.items():
            many, kind = declared.startswith("repeated "), declared.removeprefix("repeated ")
            field = message.field.add(name=field_name, number=number)
            field.label = field.LABEL_REPEATED if many else field.LABEL_OPTIONAL
            if kind in messages:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                field.type = field.Type.Value(f"TYPE_{kind.upper()}")
                field.options.packed = many and kind != "bytes"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


def parse(message_class: Any, data: bytes, where: str) -> Any:
    """The message that `data` holds.

    Raises:
        UserError: `data` is no such message; `where` tells which data, at the start of the message.
    """
    from google.protobuf.message import DecodeError

    try:
        return message_class.FromString(data)
    except DecodeError as error:
        name = message_class.DESCRIPTOR.name
        raise UserError(f"{where}: its {len(data)} bytes are no {name} message; get the file again") from error


def text(content: bytes, where: str, limit: int = 1024) -> str:
    """A name as text.

    Raises:
        UserError: it is longer than `limit` bytes, not UTF-8, or of more than one line; the error begins with `where`.
    """
    if len(content) > limit:
        raise UserError(f"{where}: a name of {len(content)} bytes, expected at most {limit}; get the file again")
    name = content.decode(errors="replace")
    if not name.isprintable() or "\N{REPLACEMENT CHARACTER}" in name:
        raise UserError(f"{where}: the name {content[:40]!r} is no text; get the file again")
    return name


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A field of a message where it lies in a file.

    Attributes:
        number: of the field.
        start, length: where its content begins in the file, and how long it is, in bytes.
        value: of a whole number; None of others.
    """

    number: int
    start: int
    length: int
    value: int | None


def walk_fields(file: BinaryIO, start: int, end: int, where: str) -> Iterator[Field]:
    """The fields of the message between two places of a file, in order, without reading what is in them.

    The file may be moved between two fields.

    Raises:
        UserError: what is there is no message; the error begins with `where`.
    """
    offset = start
    while offset < end:
        file.seek(offset)
        head = file.read(min(20, end - offset))
        tag, place = _varint(head, 0, where)
        number, wire = tag >> 3, tag & 7
        value = None
        if wire == 0:
            value, behind = _varint(head, place, where)
            length = behind - place
        elif wire == 2:
            length, place = _varint(head, place, where)
        elif wire in _FIXED_BYTES:
            length = _FIXED_BYTES[wire]
        else:
            raise UserError(f"{where}: a field of unknown kind {wire} at byte {offset}; get the file again")
        field = Field(number=number, start=offset + place, length=length, value=value)
        offset = field.start + length
        if number == 0 or offset > end:
            raise UserError(
                f"{where}: a field of {length} bytes at byte {field.start} does not fit; get the file again"
            )
        yield field


def _varint(content: bytes, place: int, where: str) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the place behind it."""
    value = 0
    for shift, byte in enumerate(content[place : place + 10]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, place + shift + 1
    raise UserError(f"{where}: a number that is cut off or longer than ten bytes; get the file again")
