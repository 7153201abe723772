"""The demo copy has the official layout of the Waymo data, and its boxes are around what is seen."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet as pq

from readouts.datasets.waymo.split import check_waymo, open_waymo
from readouts.tasks.box_clips import box_windows, clip_boxes
from rvm_bench.demo.waymo import (
    BODY,
    LEAST_VISIBLE_PX,
    PEDESTRIAN,
    ROAD,
    VEHICLE,
    draw_segment,
    visible_boxes,
    write,
)
from rvm_bench.errors import UserError
from rvm_bench.procedural.road import HEIGHT_PX, WIDTH_PX, draw_road

TRAINING, VALIDATION = 3, 4


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "waymo"
    calls = []
    write(folder, training=TRAINING, validation=VALIDATION, progress=lambda name, frames: calls.append((name, frames)))
    videos = [video for split in ("training", "validation") for video in open_waymo(folder, split).videos]
    assert sorted(calls) == sorted((video.name, video.length) for video in videos)
    return folder


def test_the_files_have_every_official_column_with_its_official_type(copy):
    """As to_flatten_dict of waymo_open_dataset.v2 names them, from the dataclasses of the two components."""
    key = {
        "key.segment_context_name": pa.string(),
        "key.frame_timestamp_micros": pa.int64(),
        "key.camera_name": pa.int8(),
    }
    box = {f"[CameraBoxComponent].box.{name}": pa.float64() for name in ("center.x", "center.y", "size.x", "size.y")}
    level = {f"[CameraBoxComponent].difficulty_level.{name}": pa.int8() for name in ("detection", "tracking")}
    boxes = {**key, "key.camera_object_id": pa.string(), **box, "[CameraBoxComponent].type": pa.int8(), **level}
    image = "[CameraImageComponent]"
    images = {
        **key,
        f"{image}.image": pa.binary(),
        f"{image}.pose.transform": pa.list_(pa.float64(), 16),
        **{f"{image}.velocity.linear_velocity.{axis}": pa.float32() for axis in "xyz"},
        **{f"{image}.velocity.angular_velocity.{axis}": pa.float64() for axis in "xyz"},
        f"{image}.pose_timestamp": pa.float64(),
        f"{image}.rolling_shutter_params.shutter": pa.float64(),
        f"{image}.rolling_shutter_params.camera_trigger_time": pa.float64(),
        f"{image}.rolling_shutter_params.camera_readout_done_time": pa.float64(),
    }
    for component, columns in (("camera_image", images), ("camera_box", boxes)):
        files = sorted(copy.glob(f"*/{component}/*.parquet"))
        assert len(files) == TRAINING + VALIDATION
        for file in files:
            schema = pq.read_schema(file)
            assert dict(zip(schema.names, schema.types, strict=True)) == columns
    table = pq.read_table(files[0].parents[1] / "camera_image" / files[0].name)
    assert set(table["key.segment_context_name"].to_pylist()) == {files[0].stem}
    with Image.open(io.BytesIO(table["[CameraImageComponent].image"][0].as_py())) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (WIDTH_PX, HEIGHT_PX))
    pose = np.array(table["[CameraImageComponent].pose.transform"][5].as_py()).reshape(4, 4)
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
    assert pose[2, 2] > 0.95, "the car's z axis points upwards"


def test_what_is_written_is_what_is_read(copy):
    """Boxes to the last bit, frames within what JPEG loses; the scene is drawn again from its seed."""
    for number, (split, count) in enumerate((("training", TRAINING), ("validation", VALIDATION))):
        videos = {video.name: video for video in open_waymo(copy, split).videos}
        assert len(videos) == count
        for segment in range(count):
            name, scene = draw_segment((0, number, segment), split)
            video, frames = videos[name], scene.frames
            assert video.length == frames
            drawn = range(0, frames, 9)
            for t, picture, boxes, present in zip(
                drawn, video.frames(drawn), *video.tracks(np.array(drawn)), strict=True
            ):
                frame = scene.render(t)
                expected = frame.rgb * np.where(frame.instances > 0, BODY, ROAD)[..., None]
                assert np.abs(picture - expected.clip(0, 255)).mean() < 6
                seen = {tuple(yxyx) for yxyx in boxes[present].tolist()}
                truth = {(y0, x0, y1, x1) for _, (x0, y0, x1, y1) in visible_boxes(scene, frame)}
                assert seen == truth


def test_a_box_is_tight_around_what_is_visible_of_its_body():
    rng = np.random.default_rng(5)
    seen = hidden = 0
    for _ in range(5):
        scene = draw_road(rng, 4)
        for t in range(4):
            frame = scene.render(t)
            found = dict(visible_boxes(scene, frame))
            for body in range(len(scene.bodies)):
                mask = frame.instances == body + 1
                if mask.sum() < LEAST_VISIBLE_PX:
                    assert body not in found
                    hidden += 1
                    continue
                x0, y0, x1, y1 = (int(side) for side in found[body])
                inside = mask[y0:y1, x0:x1]
                assert inside.sum() == mask.sum()
                assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
                seen += 1
    assert min(seen, hidden) > 3


def test_the_copy_has_nothing_wrong_with_it_but_its_size(copy):
    assert check_waymo(copy, "training") == [f"training: {TRAINING} segments, the Waymo Open Dataset has 798"]
    assert check_waymo(copy, "validation") == [f"validation: {VALIDATION} segments, the Waymo Open Dataset has 202"]


def test_tracks_have_gaps_kinds_and_ids_of_their_own(copy):
    videos = [video for split in ("training", "validation") for video in open_waymo(copy, split).videos]
    ids = [name for video in videos for name in video.ids]
    assert len(set(ids)) == len(ids)
    assert {int(kind) for video in videos for kind in video.types} == {VEHICLE, PEDESTRIAN}
    gaps = 0
    for video in videos:
        for track in video.tracks(np.arange(video.length))[1].T:
            inside = np.flatnonzero(track)
            gaps += len(inside) < inside[-1] - inside[0] + 1
    assert gaps, "something is hidden and comes back"


def test_clips_for_evaluation_have_queries_that_move_too_far_to_be_kept_where_they_are(copy):
    overlaps, queries = [], []
    for video in open_waymo(copy, "validation").videos:
        windows = box_windows(video)
        assert len(windows) == 2
        for window in windows:
            boxes, present, tracks = clip_boxes(video, window)
            queries.append(len(tracks))
            low, high = np.maximum(boxes[:1, :, :2], boxes[..., :2]), np.minimum(boxes[:1, :, 2:], boxes[..., 2:])
            area = (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
            shared = (high - low).clip(0).prod(axis=-1)
            overlaps += (shared / np.maximum(area + area[:1] - shared, 1e-9))[1:][present[1:]].tolist()
    assert np.mean(queries) > 1.5
    assert 0.2 < np.mean(overlaps) < 0.5


def test_the_copy_is_the_same_every_time_and_changes_with_the_seed(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write(tmp_path / name, seed=seed, training=1, validation=0)
    one, two, three = (
        {file.relative_to(tmp_path / name): file.read_bytes() for file in (tmp_path / name).rglob("*.parquet")}
        for name in ("one", "two", "three")
    )
    assert one == two
    assert len(one) == 2
    assert not one.keys() & three.keys()


def test_an_existing_copy_is_never_overwritten(copy):
    with pytest.raises(UserError, match="training exists; name an empty folder"):
        write(copy, training=1, validation=0)
