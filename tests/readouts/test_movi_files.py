"""MOVi-E is read from every published form, and what is missing, damaged or none of it is told in one line."""

import json
import pickle
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensor_protos import tensor_to_proto

from readouts.datasets.movi.copy import INFO, open_movi
from rvm_bench.errors import UserError
from rvm_bench.formats.tf_example import encode_example, encode_sequence_example
from rvm_bench.formats.tfrecord import record_index, write_records

T, H, W, S = 3, 8, 10, 2
TFDS = Path("movi_e/256x256/1.0.0")


def png(image):
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def stored(seed):
    """What is in a record with truth, by the names of the truth's attributes; depth as stored."""
    rng = np.random.default_rng(seed)
    return {
        "video": rng.integers(0, 256, (T, H, W, 3)).astype(np.uint8),
        "segmentations": rng.integers(0, S + 1, (T, H, W)).astype(np.uint8),
        "depth": rng.integers(0, 65536, (T, H, W)).astype(np.uint16),
        "object_coordinates": rng.integers(0, 65536, (T, H, W, 3)).astype(np.uint16),
        "normals": rng.integers(0, 65536, (T, H, W, 3)).astype(np.uint16),
        "bboxes_3d": rng.normal(size=(S, T, 8, 3)).astype(np.float32),
        "object_quaternions": rng.normal(size=(S, T, 4)).astype(np.float32),
        "camera_positions": rng.normal(size=(T, 3)).astype(np.float32),
        "camera_quaternions": rng.normal(size=(T, 4)).astype(np.float32),
    }


def truth_features(seed=0, **others):
    """The features of a record, under the names of movi_e.py joined as TensorFlow Datasets joins them."""
    content = stored(seed)
    return {
        "video": [png(frame) for frame in content["video"]],
        "segmentations": [png(frame) for frame in content["segmentations"]],
        "depth": [png(frame) for frame in content["depth"]],
        "object_coordinates": [png(frame) for frame in content["object_coordinates"]],
        "normal": [png(frame) for frame in content["normals"]],
        "metadata/depth_range": np.array([0.5, 20.5]),
        "metadata/video_name": "1234",
        "instances/bboxes_3d": content["bboxes_3d"],
        "instances/quaternions": content["object_quaternions"],
        "camera/positions": content["camera_positions"],
        "camera/quaternions": content["camera_quaternions"],
        "camera/focal_length": 35.0,
        "camera/sensor_width": 32.0,
        "forward_flow": np.zeros(12, np.int64),
        **others,
    }


def tracks_lists(seed=0, **others):
    rng = np.random.default_rng(seed)
    xy, visibility = rng.random((T, 5, 2), np.float32), rng.integers(0, 2, (T, 5)).astype(np.float32)
    lists = {
        "image/encoded": [png(frame) for frame in stored(seed)["video"]],
        "tracks/2d": [tensor_to_proto(frame) for frame in xy],
        "tracks/visibility": [tensor_to_proto(frame) for frame in visibility],
    }
    return xy, visibility, {**lists, **others}


def truth(seed=0, **others):
    return encode_example(truth_features(seed, **others))


def tracks(seed=0, **others):
    return encode_sequence_example({}, tracks_lists(seed, **others)[2])


def write_array_record(file, records):
    pytest.importorskip("array_record")
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(file), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def write_copy(root, form="tfrecord", counts=(2, 1)):
    """Clips numbered 0, 1, ... by their seeds, in shards as TensorFlow Datasets lays them out, with its record."""
    folder = root / TFDS
    folder.mkdir(parents=True)
    seeds = iter(range(sum(counts)))
    for number, count in enumerate(counts):
        write = write_records if form == "tfrecord" else write_array_record
        records = [truth(next(seeds)) for _ in range(count)]
        write(folder / f"movi_e-train.{form}-{number:05d}-of-{len(counts):05d}", records)
    splits = [{"name": "train", "shardLengths": [str(count) for count in counts], "numBytes": "1"}]
    (folder / INFO).write_text(json.dumps({"name": "movi_e", "splits": splits}))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_copy(tmp_path)


@pytest.mark.parametrize("form", ["tfrecord", "array_record"])
def test_a_clip_with_truth_comes_back_as_stored_by_its_number(tmp_path, form):
    write_copy(tmp_path, form)
    copy = pickle.loads(pickle.dumps(open_movi(tmp_path)))
    assert (len(copy), copy.kind, copy.shards.form) == (3, "truth", form)
    assert copy.names == ["train-00000-0000", "train-00000-0001", "train-00001-0000"]
    for i in (2, 0, 1):
        clip, expected = copy.clip(i), stored(i)
        depth = expected.pop("depth")
        for name, array in expected.items():
            assert getattr(clip.truth, name).dtype == array.dtype, name
            np.testing.assert_array_equal(getattr(clip.truth, name), array, err_msg=name)
        assert clip.truth.depth_m.dtype == np.float32
        np.testing.assert_allclose(clip.truth.depth_m, 0.5 + depth / 65535 * 20.0, rtol=1e-6)
        assert (clip.truth.focal_length, clip.truth.sensor_width) == (35.0, 32.0)
        assert clip.frames is clip.truth.video
        assert clip.tracks_xy is None
    with pytest.raises(IndexError):
        copy.clip(3)
    assert copy.problems() == []


@pytest.mark.parametrize("form", ["tfrecord", "array_record"])
def test_a_clip_with_tracks_comes_back_as_stored(tmp_path, form):
    (tmp_path / "full/movi").mkdir(parents=True)
    write = write_records if form == "tfrecord" else write_array_record
    write(tmp_path / f"full/movi/train.{form}-00000-of-00001", [tracks(0), tracks(1)])
    copy = open_movi(tmp_path)
    assert (len(copy), copy.kind, copy.expected) == (2, "tracks", None)
    for i in (1, 0):
        clip = copy.clip(i)
        xy, visibility, _ = tracks_lists(i)
        np.testing.assert_array_equal(clip.frames, stored(i)["video"])
        assert (clip.tracks_xy.dtype, clip.visible.dtype) == (np.float32, bool)
        np.testing.assert_array_equal(clip.tracks_xy, xy)
        np.testing.assert_array_equal(clip.visible, visibility == 1)
        assert clip.truth is None
    assert copy.problems() == []


def test_a_copy_is_found_from_any_folder_on_the_way(folder):
    for root in (folder, *folder.parents[:3]):
        assert len(open_movi(root)) == 3
    with pytest.raises(UserError, match="has no shards of the validation split"):
        open_movi(folder, "validation")
    with pytest.raises(UserError, match="unknown split 'trian'; did you mean train"):
        open_movi(folder, "trian")
    with pytest.raises(UserError, match="no such folder of MOVi-E"):
        open_movi(folder / "none")


def test_a_missing_shard_is_told_unless_it_may_be_missing(folder):
    before = open_movi(folder).manifest_sha256()
    (folder / "movi_e-train.tfrecord-00000-of-00002").unlink()
    with pytest.raises(UserError, match=r"train\.tfrecord-00000-of-00002 is missing; .*--allow-missing"):
        open_movi(folder)
    copy = open_movi(folder, allow_missing=True)
    assert copy.names == ["train-00001-0000"], "a clip keeps its name"
    assert len(copy.problems()) == 1
    assert copy.manifest_sha256() != before


def test_a_shard_with_other_clips_than_expected_is_told(folder):
    """TFRecords that end between two records look whole; only dataset_info.json tells."""
    file = folder / "movi_e-train.tfrecord-00000-of-00002"
    second, _ = record_index(file)[1]
    file.write_bytes(file.read_bytes()[:second])
    with pytest.raises(UserError, match=r"00000-of-00002 has 1 clips, dataset_info\.json says 2"):
        open_movi(folder)
    (folder / INFO).unlink()
    assert len(open_movi(folder)) == 2
    file.write_bytes(b"")
    with pytest.raises(UserError, match="00000-of-00002 is empty"):
        open_movi(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not what TensorFlow Datasets writes"),
        ("[]", "is not what TensorFlow Datasets writes"),
        ('{"splits": [{"name": "train"}]}', "is not what TensorFlow Datasets writes"),
        ('{"splits": [{"name": "train", "shardLengths": ["x"]}]}', "is not what TensorFlow Datasets writes"),
        ("[" * 100_000, "is not what TensorFlow Datasets writes"),
        ('{"splits": [{"name": "test"}]}', "has no train split"),
        ('{"splits": [{"name": "train", "shardLengths": ["3"]}]}', "lists 1 shards, the file names say 2"),
    ],
)
def test_a_damaged_info_file_is_told(folder, content, message):
    (folder / INFO).write_text(content)
    with pytest.raises(UserError, match=message) as told:
        open_movi(folder)
    assert "\n" not in str(told.value)


def test_two_sets_of_shards_are_not_mixed(folder):
    (folder / "movi_e-train.tfrecord-00000-of-00003").write_bytes(b"")
    with pytest.raises(UserError, match=r"several sets of shards .*tfrecord in 2 and movi_e-train.tfrecord in 3"):
        open_movi(folder)


def test_a_shard_beyond_its_count_is_told(folder):
    (folder / "movi_e-train.tfrecord-00002-of-00002").write_bytes(b"")
    with pytest.raises(UserError, match="has a number that is not below its count"):
        open_movi(folder)


def test_array_records_without_their_package_tell_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    (tmp_path / "train.array_record-00000-of-00001").write_bytes(b"")
    with pytest.raises(UserError, match=r"needs a further package .*; pip install 'rvm-bench\[tracking\]'"):
        open_movi(tmp_path)


def test_a_damaged_array_record_is_told(tmp_path):
    file = tmp_path / "train.array_record-00000-of-00001"
    write_array_record(file, [tracks(i) for i in range(3)])
    copy, whole = open_movi(tmp_path), file.read_bytes()
    place = whole.index(b"tracks/2d")
    file.write_bytes(whole[:place] + b"X" + whole[place + 1 :])
    with pytest.raises(UserError, match="array_record-00000-of-00001, record 0: cannot be read"):
        copy.clip(0)
    file.write_bytes(whole[:1000])
    with pytest.raises(UserError, match=r"its index: cannot be read \(no ArrayRecord file, or not"):
        open_movi(tmp_path)


def first_clip(tmp_path, record):
    write_records(tmp_path / "train.tfrecord-00000-of-00001", [record])
    return open_movi(tmp_path).clip(0)


def bomb(size):
    """A PNG whose header claims size x size pixels, with the checksum that belongs to it."""
    head = struct.pack(">4sIIBBBBB", b"IHDR", size, size, 8, 2, 0, 0, 0)
    image = png(np.zeros((1, 1, 3), np.uint8))
    return image[:12] + head + struct.pack(">I", zlib.crc32(head)) + image[33:]


def test_a_bomb_is_refused_by_its_header(tmp_path):
    good = truth_features()["video"]
    wide = [png(np.zeros((2000, 3000, 3), np.uint8))] * T
    tracemalloc.start()
    try:
        for video, message in (
            ([bomb(60000)] * T, r"record 0, video, frame 0: its header claims 60000x60000 px"),
            ([*good[:2], bomb(60000)], r"record 0, video, frame 2: its header claims 60000x60000 px"),
            ([*good[:2], bomb(4000)], r"record 0, video, frame 2: 4000x4000 px, expected 10x8 as before"),
            (wide, r"record 0, video: 3 frames of 3000x2000 px are more than 16,777,216 pixels"),
        ):
            with pytest.raises(UserError, match=message):
                first_clip(tmp_path, truth(video=video))
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"depth": []}, "no images under 'depth'"),
        ({"depth": truth_features()["depth"][:2]}, "depth: 2 images for 3 frames"),
        ({"depth": truth_features()["normal"]}, "depth, frame 0: its pixels are 16-bit RGB, expected 16-bit gray"),
        ({"camera/positions": np.zeros(8)}, "camera/positions has 8 values, expected 3 x 3"),
        ({"camera/positions": np.full(9, np.nan)}, "camera/positions holds values that are not finite"),
        ({"camera/positions": np.zeros(9, int)}, "no real numbers under 'camera/positions'"),
        ({"instances/bboxes_3d": np.zeros(100)}, "instances/bboxes_3d has 100 values, expected S x 3 x 8 x 3"),
        ({"instances/bboxes_3d": np.zeros(72)}, "1 boxes, 2 quaternions and segments up to 2 do not fit one another"),
        ({"camera/focal_length": 0.0}, "camera/focal_length is 0, expected more than 0"),
        ({"metadata/depth_range": np.array([2.0, 1.0])}, "metadata/depth_range is 2 to 1 m"),
        ({"segmentations": [png(np.full((H, W), 3, np.uint8))] * T}, "2 boxes, 2 quaternions and segments up to 3"),
    ],
)
def test_truth_that_does_not_fit_is_told(tmp_path, others, message):
    with pytest.raises(UserError, match=rf"train\.tfrecord-00000-of-00001, record 0.*{message}"):
        first_clip(tmp_path, truth(**others))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"image/encoded": []}, "0 of image/encoded, 3 of tracks/2d"),
        ({"tracks/visibility": []}, "0 of tracks/visibility, expected one of each per frame"),
        ({"tracks/visibility": [b""] * T}, "tracks/visibility, frame 0: a tensor of data type 0"),
        ({"tracks/visibility": [np.zeros(5)] * T}, "tracks/visibility: a frame without exactly one byte string"),
        ({"tracks/visibility": [tensor_to_proto(np.zeros(4, "f4"))] * T}, r"tracks/2d of shape \[3, 5, 2\]"),
        (
            {"tracks/2d": [tensor_to_proto(np.zeros((5, 2)))] * T},
            r"frame 0: float64 of shape \[5, 2\], expected float32",
        ),
        ({"tracks/2d": [tensor_to_proto(np.full((5, 2), np.inf, "f4"))] * T}, "frame 0: values that are not finite"),
    ],
)
def test_tracks_that_do_not_fit_are_told(tmp_path, others, message):
    with pytest.raises(UserError, match=rf"record 0.*{message}"):
        first_clip(tmp_path, tracks(**others))


def test_another_data_set_is_told(tmp_path):
    with pytest.raises(UserError, match=r"neither features with .* nor lists with .*; is this MOVi-E\?"):
        first_clip(tmp_path, encode_example({"image": b"x", "label": 3}))


@settings(max_examples=120, deadline=3000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_does_worse_than_a_user_error(tmp_path, data):
    """Damage within a record whose checksums fit it, as a writer's fault would leave it."""
    content = bytearray(data.draw(st.sampled_from(GOOD)))
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, max_size=5)):
        content[place] = value
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    content[start:end] = data.draw(st.one_of(st.just(bytes(content[start:end])), st.binary(max_size=20)))
    tracemalloc.start()
    try:
        first_clip(tmp_path, bytes(content))
    except UserError as error:
        told = str(error)
    else:
        told = ""
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2 << 20
    assert "\n" not in told


GOOD = [truth(), tracks()]
