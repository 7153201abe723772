"""Tables of a segment are joined by key, in the order of time, and what is damaged is told in one line."""

import pickle
import shutil
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq
from waymo_tables import HEIGHT, NAME, SIZE_Y, WIDTH, jpeg, some_rows, tracks, write

from readouts.datasets.waymo.v2 import open_segment_v2
from rvm_bench.demo.waymo import box_schema, image_schema
from rvm_bench.errors import UserError


def without(schema, column):
    return pa.schema([field for field in schema if field.name != column])


def retyped(schema, column, kind):
    return pa.schema([(field.name, kind if field.name == column else field.type) for field in schema])


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "training", *some_rows())


def test_boxes_are_corners_in_pixels_of_the_front_camera_with_gaps_where_there_is_no_row(folder):
    video = open_segment_v2(folder, NAME)
    assert (video.name, video.length, video.size_hw, video.ids) == (NAME, 40, (HEIGHT, WIDTH), ("car", "bike"))
    np.testing.assert_array_equal(video.types, [1, 4])
    boxes, present = tracks(video)
    assert (boxes.dtype, present.dtype) == (np.float32, bool)
    np.testing.assert_allclose(boxes[:, 0], [[2, k, 10.5, k + 4] for k in range(40)])
    np.testing.assert_array_equal(np.flatnonzero(~present[:, 1]), [0, 1, 2, 3, 4, 7, 8])
    np.testing.assert_array_equal(boxes[7], [[2, 7, 10.5, 11], [0, 0, 0, 0]])
    some, there = video.tracks(np.array([6, 7, 39]))
    np.testing.assert_array_equal(some, boxes[[6, 7, 39]])
    np.testing.assert_array_equal(there, present[[6, 7, 39]])


def test_frames_are_those_asked_for_in_the_order_asked_for_also_across_row_groups_and_in_a_worker(folder):
    video = pickle.loads(pickle.dumps(open_segment_v2(folder, NAME)))
    indices = [39, 0, 17, 3, 4, 5, 17]
    frames = video.frames(indices)
    assert (frames.shape, frames.dtype) == ((7, HEIGHT, WIDTH, 3), np.uint8)
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), 4 * np.array(indices), atol=1.5)
    for wrong in ([], [40], [-1]):
        with pytest.raises(UserError, match="has frames 0 to 39"):
            video.frames(wrong)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_rows_and_the_kind_of_storage_change_nothing_but_the_size(folder, tmp_path, seed):
    images, boxes = some_rows()
    rng = np.random.default_rng(seed)
    rng.shuffle(images), rng.shuffle(boxes)
    text = pa.dictionary(pa.int32(), pa.string()) if seed else pa.large_string()
    other = write(
        tmp_path / "other",
        images,
        boxes,
        image_types=retyped(image_schema(), "key.segment_context_name", text),
        box_types=retyped(box_schema(), "key.camera_object_id", text),
        compression="zstd" if seed else "none",
        use_dictionary=bool(seed),
        write_page_checksum=True,
    )
    one, two = open_segment_v2(folder, NAME), open_segment_v2(other, NAME)
    assert one.ids == two.ids
    np.testing.assert_array_equal(one.time_us, two.time_us)
    for ours, theirs in zip(tracks(one), tracks(two), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(one.frames(range(0, 40, 3)), two.frames(range(0, 40, 3)))


def test_a_segment_without_any_box_is_a_video_without_tracks(tmp_path):
    video = open_segment_v2(write(tmp_path, some_rows()[0], []), NAME)
    assert (video.length, video.ids, *map(np.shape, tracks(video))) == (40, (), (40, 0, 4), (40, 0))


def changed(row, **values):
    """A damage: these values in one row of the boxes, by the end of the column's name."""

    def damage(images, boxes):
        for end, value in values.items():
            (column,) = (name for name in box_schema().names if name.endswith(end))
            boxes[row][column] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (changed(3, object_id=None), "row 3 has no key.camera_object_id"),
        (changed(3, object_id=""), "has no object id"),
        (changed(3, micros=None), "row 3 has no key.frame_timestamp_micros"),
        (changed(3, micros=7), "is at a time at which"),
        (changed(3, type=9), "has a type that is none of 0, 1, 2, 3, 4"),
        (changed(3, type=None), "row 3 has no [CameraBoxComponent].type"),
        (changed(3, segment_context_name="x" * 9000), "holds rows of segment 'xxx"),
        (lambda images, boxes: boxes[3].update({SIZE_Y: float("nan")}), "'car' at time 1553629304300000 is not finite"),
        (lambda images, boxes: boxes[3].update({SIZE_Y: float("inf")}), "is not finite"),
        (lambda images, boxes: boxes[3].update({SIZE_Y: 1e300}), "or beyond a million pixels"),
        (lambda images, boxes: boxes[3].update({SIZE_Y: -1.0}), "has a negative side"),
        (lambda images, boxes: boxes.append(boxes[3]), "'car' at time 1553629304300000 is in its frame twice"),
        (lambda images, boxes: images.append(images[4]), "has the FRONT frame of time 1553629304200000 twice"),
        (lambda images, boxes: images.clear(), "has no frame of the FRONT camera"),
        (lambda images, boxes: images[0].update({"[CameraImageComponent].image": b"no picture"}),
         "frame 0 of"),
        (lambda images, boxes: images[0].update({"[CameraImageComponent].image": None}),
         "has no picture of FRONT frame 0"),
        (lambda images, boxes: images.pop(10), "at which {images} has no FRONT frame"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_in_one_line_that_names_it(tmp_path, damage, message):
    images, boxes = some_rows()
    damage(images, boxes)
    write(tmp_path, images, boxes)
    with pytest.raises(UserError) as told:
        open_segment_v2(tmp_path, NAME)
    assert message.format(images=tmp_path / f"camera_image/{NAME}.parquet") in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({"box_types": without(box_schema(), SIZE_Y)}, f"has no column {SIZE_Y.replace('[', '.').replace(']', '.')}"),
        ({"image_types": without(image_schema(), "[CameraImageComponent].image")}, "has no column .*image"),
        ({"image_types": retyped(image_schema(), "key.camera_name", pa.float64())}, "type double, expected integer"),
        ({"box_types": retyped(box_schema(), "key.camera_object_id", pa.binary())}, "type binary, expected string"),
        ({"image_types": retyped(image_schema(), "[CameraImageComponent].image", pa.string())}, "expected binary"),
    ],
)
def test_a_missing_column_and_one_of_another_type_are_refused_by_name(tmp_path, types, message):
    images, boxes = some_rows()
    for row in images:
        row["[CameraImageComponent].image"] = b"a"
    write(tmp_path, images, boxes, **types)
    with pytest.raises(UserError, match=message):
        open_segment_v2(tmp_path, NAME)


def test_nested_and_repeated_columns_are_refused(folder):
    file = folder / f"camera_box/{NAME}.parquet"
    table = pq.read_table(file)
    place = table.schema.get_field_index(SIZE_Y)
    for kind in (pa.list_(pa.float64()), pa.struct([("y", pa.float64())])):
        values = pa.array([None] * len(table), kind)
        pq.write_table(table.set_column(place, SIZE_Y, values), file)
        with pytest.raises(UserError, match="expected float"):
            open_segment_v2(folder, NAME)
    pq.write_table(table.append_column(SIZE_Y, table.column(SIZE_Y)), file)
    with pytest.raises(UserError, match="has more than one column"):
        open_segment_v2(folder, NAME)
    pq.write_table(pa.table({"key": pa.array([{"camera_name": 1}])}), file)
    with pytest.raises(UserError, match=r"has no column key\.segment_context_name"):
        open_segment_v2(folder, NAME)


def test_without_pyarrow_it_is_told_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"needs a further package .*pip install 'rvm-bench\[tracking\]'"):
        open_segment_v2(folder, NAME)


def test_only_the_row_groups_of_the_frames_asked_for_are_read(tmp_path):
    """Damage to the pictures of the last row group is met by those who ask for them, and by nobody else."""
    write(tmp_path, *some_rows(), write_page_checksum=True, use_dictionary=False)
    file = tmp_path / f"camera_image/{NAME}.parquet"
    metadata = pq.read_metadata(file)
    group = metadata.row_group(metadata.num_row_groups - 1)
    (chunk,) = (c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.endswith(".image"))
    content = bytearray(file.read_bytes())
    # The page's header comes first, and no checksum covers it.
    content[chunk.data_page_offset + chunk.total_compressed_size - 20] ^= 1
    file.write_bytes(content)
    video = open_segment_v2(tmp_path, NAME)
    video.frames(range(30))
    with pytest.raises(UserError, match=r"cannot be read as parquet .*CRC"):
        video.frames([39])


def test_a_frame_of_another_size_and_one_that_is_cut_short_are_told_when_they_are_decoded(tmp_path):
    images, boxes = some_rows()
    images[10]["[CameraImageComponent].image"] = jpeg(9, (WIDTH, HEIGHT + 8))
    images[12]["[CameraImageComponent].image"] = jpeg(9)[:-40]
    video = open_segment_v2(write(tmp_path, images, boxes), NAME)
    video.frames([0, 1, 2, 3, 4, 7])
    with pytest.raises(UserError, match=r"frame 5 of .* is 24x24 px, the first is 24x16"):
        video.frames([4, 5])
    with pytest.raises(UserError, match=r"frame 6 of .* cannot be read as a JPEG"):
        video.frames([6])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_are_a_user_error_or_are_not_read(tmp_path_factory, data):
    """Also without the checksums of pages, which the official files may lack; a changed number is then not noticed."""
    base = tmp_path_factory.getbasetemp() / "waymo_damage"
    checksums = data.draw(st.booleans())
    source = base / f"whole_{checksums}"
    if not source.exists():
        write(source, *some_rows(tuple(range(12))), write_page_checksum=checksums)
    work = base / "work"
    shutil.copytree(source, work, dirs_exist_ok=True)
    file = work / data.draw(st.sampled_from(["camera_image", "camera_box"])) / f"{NAME}.parquet"
    content = bytearray(file.read_bytes())
    match data.draw(st.sampled_from(["cut", "flip", "footer", "overwrite"])):
        case "cut":
            content = content[: data.draw(st.integers(0, len(content) - 1))]
        case "flip":
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        case "footer":
            footer = int.from_bytes(content[-8:-4], "little") + 8
            content[-data.draw(st.integers(1, footer))] = data.draw(st.integers(0, 255))
        case "overwrite":
            place = data.draw(st.integers(0, len(content) - 1))
            noise = data.draw(st.binary(min_size=1, max_size=64))
            content[place : place + len(noise)] = noise
    file.write_bytes(content)
    message = ""
    try:
        video = open_segment_v2(work, NAME)
        assert video.frames(range(video.length)).shape == (video.length, *video.size_hw, 3)
        assert tracks(video)[0].shape == (video.length, len(video.ids), 4)
    except UserError as error:
        message = str(error)
    assert "\n" not in message
