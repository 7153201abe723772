"""A TFRecord gives back what was written, by us or by others, and a damaged one is told in one line at bounded cost."""

import io
import struct
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboard.summary.writer.record_writer import RecordWriter

from rvm_bench.errors import UserError
from rvm_bench.formats.tfrecord import (
    check_records,
    masked_crc32c,
    read_record,
    read_records,
    record_index,
    write_records,
)

RECORDS = [b"first", b"", bytes(range(256)) * 5, b"last"]


@pytest.fixture
def good(tmp_path):
    write_records(tmp_path / "good.tfrecord", RECORDS)
    return tmp_path / "good.tfrecord"


def test_checksums_are_those_of_the_standard():
    """CRC-32C of "123456789" is 0xe3069283 (RFC 3720, B.4, and every catalogue of CRCs); masked by hand here."""
    rotated = 0xE3069283 >> 15 | (0xE3069283 << 17) % 2**32
    assert masked_crc32c(b"123456789") == (rotated + 0xA282EAD8) % 2**32


def test_what_was_written_comes_back(good):
    assert list(read_records(good)) == RECORDS
    assert list(read_records(good, check=False)) == RECORDS
    assert check_records(good) == len(RECORDS)
    assert [p.name for p in good.parent.iterdir()] == ["good.tfrecord"], "no temporary file stays"


def test_the_bytes_are_those_that_tensorboard_writes(good):
    theirs = io.BytesIO()
    writer = RecordWriter(theirs)
    for data in RECORDS:
        writer.write(data)
    assert good.read_bytes() == theirs.getvalue()


def test_any_record_is_read_by_its_place(good):
    index = record_index(good)
    assert [length for _, length in index] == [len(data) for data in RECORDS]
    for i in (2, 0, 3, 1):
        assert read_record(good, i, *index[i]) == RECORDS[i]


def test_the_index_reads_no_record(good):
    """Damage within the data is no matter to the index, and is found when the record is read."""
    index = record_index(good)
    flip(good, index[2][0] + 12 + 700)
    assert record_index(good) == index
    for read in (lambda: list(read_records(good)), lambda: read_record(good, 2, *index[2])):
        with pytest.raises(UserError, match=rf"good\.tfrecord, record 2 at byte {index[2][0]}: .* wrong checksum"):
            read()
    assert len(list(read_records(good, check=False))) == len(RECORDS)


def test_a_file_of_no_records_is_empty(tmp_path):
    write_records(tmp_path / "none.tfrecord", [])
    assert list(read_records(tmp_path / "none.tfrecord")) == []


def test_a_failed_write_leaves_what_was_there(good):
    def broken():
        yield b"new"
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_records(good, broken())
    assert list(read_records(good)) == RECORDS
    assert len(list(good.parent.iterdir())) == 1


def flip(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (5, "record 0 at byte 0: .*the file ends after 5 of its first 12"),
        (30, "record 1 at byte 21"),
        (-1, "record 3 at byte"),
    ],
)
def test_a_cut_file_names_the_record_it_ends_in(good, keep, message):
    good.write_bytes(good.read_bytes()[:keep])
    for read in (list, lambda records: record_index(good)):
        with pytest.raises(UserError, match=message):
            read(read_records(good))


def test_a_wrong_length_is_told_by_its_checksum(good):
    flip(good, 0)
    with pytest.raises(UserError, match=r"record 0 at byte 0: .*its length has a wrong checksum; is this a TFRecord"):
        list(read_records(good))


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**40, 26])
def test_a_length_that_lies_takes_no_memory(tmp_path, length):
    head = struct.pack("<Q", length)
    file = tmp_path / "lie.tfrecord"
    file.write_bytes(head + struct.pack("<I", masked_crc32c(head)) + bytes(29))
    tracemalloc.start()
    try:
        for read in (lambda: list(read_records(file)), lambda: record_index(file)):
            with pytest.raises(UserError, match=f"{length} bytes long, of which the file holds 25"):
                read()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_missing_or_shrinks_is_told(good):
    with pytest.raises(UserError, match=r"none\.tfrecord cannot be read"):
        list(read_records(good.with_name("none.tfrecord")))
    index = record_index(good)
    good.write_bytes(good.read_bytes()[:40])
    with pytest.raises(UserError, match="has become shorter"):
        read_record(good, 2, *index[2])


@settings(max_examples=200, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_damage_no_wrong_record_comes_back(good, data):
    """Bits flipped, a piece cut out or put in, the end cut: what comes back is records that were written."""
    write_records(good, RECORDS)
    content = bytearray(good.read_bytes())
    for place, bit in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 7)), max_size=4)):
        content[place] ^= 1 << bit
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    content[start:end] = data.draw(st.sampled_from([bytes(content[start:end]), b"", b"\0" * 16]))
    good.write_bytes(content)
    found, told = [], []
    try:
        for record in read_records(good):
            found.append(record)
    except UserError as error:
        told.append(str(error))
    assert all(record in RECORDS for record in found)
    assert not any("\n" in line for line in told)
    try:
        assert len(record_index(good)) >= len(found)
    except UserError:
        assert told
