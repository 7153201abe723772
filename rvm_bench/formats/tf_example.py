"""tf.train.Example, tf.train.SequenceExample and TensorProto, without TensorFlow.

A feature is one of three lists: bytes, float32 or int64. Its shape is not stored; who reads it knows it. A sequence
example has a context, which is a set of features, and under further names lists of features, one per frame.

Source of names and numbers: tensorflow/tensorflow, `tensorflow/core/example/{example,feature}.proto` and
`tensorflow/core/framework/{tensor,tensor_shape,types}.proto`.
"""

import functools
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.formats.protobuf import message_classes, parse, text

Feature = list[bytes] | np.ndarray
"""Bytes as a list, numbers as float32 [n] or int64 [n]."""

MAX_FEATURES = 4096
"""Messages of more features are damage; MOVi-E, which has many, has about fifty."""
MAX_RANK = 32
"""Tensors of more dimensions are damage; NumPy's own limit is 64."""

_DTYPES: dict[int, tuple[str, str]] = {
    1: ("<f4", "float_val"),
    2: ("<f8", "double_val"),
    3: ("<i4", "int_val"),
    4: ("<u1", "int_val"),
    5: ("<i2", "int_val"),
    6: ("<i1", "int_val"),
    9: ("<i8", "int64_val"),
    10: ("?", "bool_val"),
    17: ("<u2", "int_val"),
    19: ("<f2", "half_val"),
}
"""DataType of types.proto -> element type, and the field that holds values of it one by one."""


def encode_example(features: Mapping[str, Any]) -> bytes:
    """A tf.train.Example of named features.

    Args:
        features: name -> bytes, text, or a sequence of either; or numbers of any shape, which are stored flat, in
            row-major order: real ones as float32, integers and booleans as int64.
    """
    return _messages()["Example"](features=_features(features)).SerializeToString()


def decode_example(data: bytes, names: Container[str] | None = None, *, where: str = "data") -> dict[str, Feature]:
    """Name -> values of a tf.train.Example, in the order stored.

    Args:
        data: the message.
        names: the features that are wanted; all if None. The others are passed over at no cost.
        where: what `data` is, for errors.

    Raises:
        UserError: `data` is damaged.
    """
    example = parse(_messages()["Example"], data, where)
    return _decode_features(example.features, names, where)


def encode_sequence_example(context: Mapping[str, Any], lists: Mapping[str, Sequence[Any]]) -> bytes:
    """A tf.train.SequenceExample.

    Args:
        context: as the features of `encode_example`.
        lists: name -> one feature per frame, each as those of `encode_example`.
    """
    message = _messages()["SequenceExample"](context=_features(context))
    for name, features in lists.items():
        content = _messages()["FeatureList"](feature=[_feature(name, values) for values in features])
        message.feature_lists.entry.add(key=name.encode(), value=content.SerializeToString())
    return message.SerializeToString()


def decode_sequence_example(
    data: bytes, names: Container[str] | None = None, *, where: str = "data"
) -> tuple[dict[str, Feature], dict[str, list[Feature]]]:
    """The context of a tf.train.SequenceExample, and name -> one feature per frame of its lists.

    Arguments and errors as `decode_example`; `names` goes for both.
    """
    example = parse(_messages()["SequenceExample"], data, where)
    lists = {}
    for name, content in _wanted(example.feature_lists, names, where):
        features = parse(_messages()["FeatureList"], content, f"{where}, list {name}").feature
        lists[name] = [_decode_feature(feature, f"{where}, list {name}") for feature in features]
    return _decode_features(example.context, names, where), lists


def tensor_from_proto(data: bytes, *, where: str = "data") -> np.ndarray:
    """The array of a TensorProto, of its own element type, writable.

    Memory follows what is stored, not what the shape claims. So the one value that TensorFlow repeats over a shape, in
    constants of a graph, is refused as well; in data sets it does not occur.

    Args:
        data: the message.
        where: what `data` is, for errors.

    Raises:
        UserError: `data` is damaged, of another element type than real, integer or boolean, or of a shape that does not
            fit what is stored.
    """
    message = parse(_messages()["TensorProto"], data, where)
    if message.dtype not in _DTYPES:
        raise UserError(f"{where}: a tensor of data type {message.dtype}, expected one of {sorted(_DTYPES)}")
    element, field = _DTYPES[message.dtype]
    dtype = np.dtype(element)
    dims = message.tensor_shape.dim
    shape = tuple(int(dim.size) for dim in dims[:MAX_RANK])
    if message.tensor_shape.unknown_rank or min(shape, default=0) < 0 or len(dims) > MAX_RANK:
        raise UserError(f"{where}: a tensor of unknown shape or of more than {MAX_RANK} dimensions; get the file again")
    count = math.prod(shape)
    if message.tensor_content:
        if len(message.tensor_content) != count * dtype.itemsize:
            raise _misfit(where, shape, dtype, f"{len(message.tensor_content)} bytes")
        # Any byte but 0 is true; NumPy would keep it as it is.
        values = np.frombuffer(message.tensor_content, "<u1" if element == "?" else dtype).astype(dtype)
    else:
        values = _single_values(message, field, dtype, where)
        if len(values) != count:
            raise _misfit(where, shape, dtype, f"{len(values)} values")
    try:
        return values.reshape(shape)
    except ValueError as error:
        raise _misfit(where, shape, dtype, f"{len(values)} values") from error


def _single_values(message: Any, field: str, dtype: np.dtype, where: str) -> np.ndarray:
    stored = np.array(getattr(message, field))
    if field == "half_val":
        stored, dtype = stored.astype(np.int64), np.dtype("<u2")
    values = stored.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(values, stored):
        raise UserError(f"{where}: a tensor of {dtype} that holds values beyond its range; get the file again")
    return values.view("<f2") if field == "half_val" else values


def _misfit(where: str, shape: tuple[int, ...], dtype: np.dtype, content: str) -> UserError:
    return UserError(
        f"{where}: a tensor of shape {list(shape)!s:.60} and {dtype} values holds {content}; get the file again"
    )


def _features(features: Mapping[str, Any]) -> Any:
    message = _messages()["Features"]()
    for name, values in features.items():
        message.entry.add(key=name.encode(), value=_feature(name, values))
    return message


def _feature(name: str, values: Any) -> bytes:
    message = _messages()["Feature"]()
    if isinstance(values, bytes | str):
        values = [values]
    if isinstance(values, list | tuple) and values and all(isinstance(value, bytes | str) for value in values):
        message.bytes_list.value.extend(value.encode() if isinstance(value, str) else value for value in values)
        return message.SerializeToString()
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "biuf":
        raise UserError(f"feature {name} holds {numbers.dtype} values, expected bytes, text or numbers")
    real = numbers.dtype.kind == "f"
    kind = message.float_list if real else message.int64_list
    # An empty list is a list all the same.
    kind.SetInParent()
    kind.value.extend(numbers.ravel().astype(np.float64 if real else np.int64).tolist())
    return message.SerializeToString()


def _decode_features(features: Any, names: Container[str] | None, where: str) -> dict[str, Feature]:
    return {
        name: _decode_feature(content, f"{where}, feature {name}") for name, content in _wanted(features, names, where)
    }


def _wanted(entries: Any, names: Container[str] | None, where: str) -> Iterator[tuple[str, bytes]]:
    if len(entries.entry) > MAX_FEATURES:
        raise UserError(f"{where}: {len(entries.entry)} features, expected at most {MAX_FEATURES}; get the file again")
    for entry in entries.entry:
        name = text(entry.key, where)
        if names is None or name in names:
            yield name, entry.value


def _decode_feature(content: bytes, where: str) -> Feature:
    message = parse(_messages()["Feature"], content, where)
    kinds = [kind for kind in ("bytes_list", "float_list", "int64_list") if message.HasField(kind)]
    if len(kinds) > 1:
        raise UserError(f"{where} holds {' and '.join(kinds)}, expected one of them; get the file again")
    if not kinds or kinds == ["bytes_list"]:
        return list(message.bytes_list.value)
    if kinds == ["float_list"]:
        return np.array(message.float_list.value, np.float32)
    return np.array(message.int64_list.value, np.int64)


@functools.cache
def _messages() -> dict[str, Any]:
    entry = {"key": (1, "bytes"), "value": (2, "bytes")}
    return message_classes(
        "rvm_bench.tensorflow",
        {
            "Entry": entry,
            "Example": {"features": (1, "Features")},
            "SequenceExample": {"context": (1, "Features"), "feature_lists": (2, "Features")},
            "Features": {"entry": (1, "repeated Entry")},
            "FeatureList": {"feature": (1, "repeated bytes")},
            "Feature": {"bytes_list": (1, "BytesList"), "float_list": (2, "FloatList"), "int64_list": (3, "Int64List")},
            "BytesList": {"value": (1, "repeated bytes")},
            "FloatList": {"value": (1, "repeated float")},
            "Int64List": {"value": (1, "repeated int64")},
            "TensorProto": {
                "dtype": (1, "int32"),
                "tensor_shape": (2, "TensorShape"),
                "tensor_content": (4, "bytes"),
                "float_val": (5, "repeated float"),
                "double_val": (6, "repeated double"),
                "int_val": (7, "repeated int32"),
                "int64_val": (10, "repeated int64"),
                "bool_val": (11, "repeated bool"),
                "half_val": (13, "repeated int32"),
            },
            "TensorShape": {"dim": (2, "repeated Dim"), "unknown_rank": (3, "bool")},
            "Dim": {"size": (1, "int64")},
        },
    )
