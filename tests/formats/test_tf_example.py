"""Examples and tensors are those of TensorFlow, and damaged ones are told in one line at bounded cost."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensor_protos import tensor_to_proto
from tensorboard.compat.proto import tensor_pb2

from rvm_bench.errors import UserError
from rvm_bench.formats.protobuf import text
from rvm_bench.formats.tf_example import (
    decode_example,
    decode_sequence_example,
    encode_example,
    encode_sequence_example,
    tensor_from_proto,
)

FEATURES = {
    "images": [b"one", b"\xff\x00"],
    "name": "é",
    "box": np.arange(6, dtype=np.float64).reshape(2, 3),
    "ids": np.array([-1, 0, 2**62]),
    "real": 1.5,
    "yes": True,
    "none": np.empty(0, np.int64),
}


def test_features_come_back_flat_and_in_their_three_kinds():
    found = decode_example(encode_example(FEATURES))
    assert list(found) == list(FEATURES)
    assert found["images"] == [b"one", b"\xff\x00"]
    assert found["name"] == ["é".encode()]
    for name, expected in (("box", np.arange(6)), ("real", [1.5])):
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], expected)
    for name, expected in (("ids", [-1, 0, 2**62]), ("yes", [1]), ("none", [])):
        assert found[name].dtype == np.int64
        np.testing.assert_array_equal(found[name], expected)


def test_an_example_packed_by_hand_is_read():
    """Tags and lengths byte by byte, from feature.proto and the description of the wire format."""
    floats = b"\x12\x0a" + b"\x0a\x08" + np.array([1.0, -2.0], "<f4").tobytes()
    unpacked = b"\x1a\x04" + b"\x08\x05" + b"\x08\x07"
    content = b"\x0a\x04" + b"\x0a\x02hi"
    entries = b"".join(
        b"\x0a" + bytes([len(name) + len(value) + 4]) + b"\x0a" + bytes([len(name)]) + name
        + b"\x12" + bytes([len(value)]) + value
        for name, value in ((b"f", floats), (b"i", unpacked), (b"b", content))
    )  # fmt: skip
    found = decode_example(b"\x0a" + bytes([len(entries)]) + entries)
    np.testing.assert_array_equal(found["f"], [1, -2])
    np.testing.assert_array_equal(found["i"], [5, 7])
    assert found["b"] == [b"hi"]


def test_only_the_features_asked_for_are_looked_at():
    damaged = encode_example(FEATURES).replace(b"\x0a\x03one", b"\x0a\x7fone")
    assert set(decode_example(damaged, {"ids", "absent"})) == {"ids"}
    with pytest.raises(UserError, match=r"^shard 3, feature images: its .* bytes are no Feature message"):
        decode_example(damaged, where="shard 3")


def test_a_sequence_example_comes_back():
    data = encode_sequence_example({"fps": 12}, {"image": [b"a", b"b"], "xy": [np.ones((2, 2)), np.zeros(4)], "no": []})
    context, lists = decode_sequence_example(data)
    np.testing.assert_array_equal(context["fps"], [12])
    assert lists["image"] == [[b"a"], [b"b"]]
    assert lists["no"] == []
    np.testing.assert_array_equal(lists["xy"], [np.ones(4), np.zeros(4)])
    assert decode_sequence_example(data, {"image"})[1].keys() == {"image"}


def test_a_million_features_are_not_looked_at_one_by_one():
    many = b"\x0a\x80\x89\x7a" + b"\x0a\x00" * 1_000_000
    with pytest.raises(UserError, match="1000000 features, expected at most 4096"):
        decode_example(many)


def test_values_that_no_feature_can_hold_are_told():
    with pytest.raises(UserError, match="feature x holds complex128 values"):
        encode_example({"x": 1j})


DTYPES = ["f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "?"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 4), (2, 3, 1)])
def test_tensors_are_those_of_tensorflow(dtype, shape):
    """tensorboard carries the official definition: it reads ours as what it is, and we read what it writes."""
    array = (np.arange(np.prod(shape)).reshape(shape) % 2 * 3).astype(dtype)
    ours = tensor_to_proto(array)
    theirs = tensor_pb2.TensorProto.FromString(ours)
    assert theirs.tensor_content == array.tobytes()
    assert [dim.size for dim in theirs.tensor_shape.dim] == list(shape)
    found = tensor_from_proto(theirs.SerializeToString())
    assert found.dtype == array.dtype
    assert found.flags.writeable
    np.testing.assert_array_equal(found, array)
    assert found.shape == shape


@pytest.mark.parametrize(
    ("dtype", "field", "values", "expected"),
    [
        ("DT_FLOAT", "float_val", [1.5, -2], np.float32([1.5, -2])),
        ("DT_DOUBLE", "double_val", [1.5, 1e300], np.float64([1.5, 1e300])),
        ("DT_INT64", "int64_val", [-1, 2**40], np.int64([-1, 2**40])),
        ("DT_UINT8", "int_val", [0, 255], np.uint8([0, 255])),
        ("DT_UINT16", "int_val", [0, 65535], np.uint16([0, 65535])),
        ("DT_INT8", "int_val", [-128, 127], np.int8([-128, 127])),
        ("DT_BOOL", "bool_val", [True, False], np.array([True, False])),
        ("DT_HALF", "half_val", [0x3C00, 0xC000], np.float16([1, -2])),
    ],
)
def test_values_stored_one_by_one_are_read(dtype, field, values, expected):
    message = official(dtype, (2, 1), **{field: values})
    found = tensor_from_proto(message.SerializeToString())
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected[:, None])


def official(dtype, shape, **fields):
    message = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        message.tensor_shape.dim.add(size=size)
    return message


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (official("DT_FLOAT", (3,), tensor_content=bytes(8)), r"shape \[3\] and float32 values holds 8 bytes"),
        (official("DT_FLOAT", (2**40,), float_val=[0]), "holds 1 values"),
        (official("DT_FLOAT", (2**62,) * 9, float_val=[0]), "holds 1 values"),
        (official("DT_FLOAT", (0, 2**62, 2**62)), "holds 0 values"),
        (official("DT_FLOAT", (1,) * 33, float_val=[0]), "more than 32 dimensions"),
        (official("DT_FLOAT", (-1,), float_val=[0]), "unknown shape"),
        (official("DT_UINT8", (1,), int_val=[256]), "beyond its range"),
        (official("DT_HALF", (1,), half_val=[-1]), "beyond its range"),
        (official("DT_STRING", (1,), string_val=[b"x"]), "data type 7"),
        (official("DT_RESOURCE", ()), "data type 20"),
    ],
)
def test_a_tensor_that_lies_takes_no_memory(message, expected):
    assert peak_bytes(tensor_from_proto, message.SerializeToString(), expected) < 1 << 20


def test_a_tensor_we_cannot_store_is_told():
    with pytest.raises(UserError, match="no tensor of complex128 values; known: float32"):
        tensor_to_proto(np.array([1j]))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"two\nlines", b"x" * 1025, b"\0"])
def test_names_are_one_line_of_text(content):
    with pytest.raises(UserError, match=r"^here: ") as told:
        text(content, "here")
    assert "\n" not in str(told.value)


READERS = {
    "example": (decode_example, encode_example(FEATURES)),
    "sequence": (
        decode_sequence_example,
        encode_sequence_example({"a": [1, 2]}, {"b": [b"xyz"] * 3, "c": [np.ones(2)] * 3}),
    ),
    "tensor": (tensor_from_proto, tensor_to_proto(np.arange(12, dtype=np.float32).reshape(3, 4))),
}


def peak_bytes(read, data, expected=None):
    """The most memory it takes; None or a UserError of one line must come of it, one that matches if `expected`."""
    told = None
    tracemalloc.start()
    try:
        read(data)
    except UserError as error:
        told = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if told is not None:
        assert "\n" not in str(told)
    if expected is not None:
        with pytest.raises(UserError, match=expected):
            raise told or AssertionError("nothing was told")
    return peak


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "data",
    [
        b"\x0b" * 100_000,
        b"\x08" + b"\xff" * 20,
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x0c",
        b"\x00",
        b"\x0a",
    ],
    ids=["nested groups", "endless number", "4 GB", "2^63 bytes", "end of no group", "field 0", "cut off"],
)
def test_what_is_no_message_is_told(kind, data):
    assert peak_bytes(READERS[kind][0], data, r"^data: its \d+ bytes are no \w+ message") < 1 << 20


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=200, deadline=2000)
@given(data=st.data())
def test_no_damage_does_worse_than_a_user_error(kind, data):
    read, good = READERS[kind]
    content = bytearray(good)
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=5)):
        content[place] = value
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    content[start:end] = data.draw(st.one_of(st.just(bytes(content[start:end])), st.binary(max_size=40)))
    assert peak_bytes(read, bytes(content)) < 1 << 20
