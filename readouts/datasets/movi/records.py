"""Decoder of MOVi-E's records: a rendered clip with its ground truth, or one with tracks generated from it.

Two kinds of records are published.

**Truth**: a tf.train.Example as TensorFlow Datasets writes it. Nested names are joined by "/", arrays are stored flat,
a video is a list of encoded images. The features read here, for T frames of H x W and S objects:

    video                     T PNGs, 8-bit RGB
    segmentations             T PNGs, 8-bit gray; 0 background, i + 1 object i
    depth                     T PNGs, 16-bit gray; 0 to 65535 from the first to the second value of metadata/depth_range
    object_coordinates        T PNGs, 16-bit RGB
    normal                    T PNGs, 16-bit RGB
    metadata/depth_range      float [2], metres
    instances/bboxes_3d       float [S * T * 8 * 3]
    instances/quaternions     float [S * T * 4]
    camera/positions          float [T * 3]
    camera/quaternions        float [T * 4]
    camera/focal_length, camera/sensor_width      float [1]

**Tracks**: a tf.train.SequenceExample whose lists have one entry per frame:

    image/encoded             the image, PNG or JPEG, 8-bit RGB
    tracks/2d                 TensorProto float32 [n, 2], xy as fractions of width and height
    tracks/visibility         TensorProto float32 [n], 1 where visible

Source: google-research/kubric, `challenges/movi/movi_e.py`; tensorflow/datasets, `core/example_serializer.py`,
`core/features/{image,video,tensor}_feature.py`; google-deepmind/scivid, `data/readers/movi.py` and `datasets.md`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from readouts.datasets.movi.tracks import MoviTruth
from rvm_bench.errors import UserError
from rvm_bench.formats.tf_example import Feature, decode_example, decode_sequence_example, tensor_from_proto
from rvm_bench.media.encoded_images import decode_image, image_header

MAX_CLIP_PIXELS = 1 << 24
"""More frames x height x width than this are damage; MOVi-E has 24 x 256 x 256, a tenth of it. A few bytes of a
compressed image can expand to many pixels, so this bounds the memory of a clip."""

IMAGES = {
    "video": "RGB",
    "segmentations": "gray",
    "depth": "16-bit gray",
    "object_coordinates": "16-bit RGB",
    "normal": "16-bit RGB",
}
ARRAYS = (
    "metadata/depth_range",
    "instances/bboxes_3d",
    "instances/quaternions",
    "camera/positions",
    "camera/quaternions",
    "camera/focal_length",
    "camera/sensor_width",
)
TRUTH_MARK, TRACKS_MARK = "metadata/depth_range", "tracks/2d"
"""Small features that distinguish the two kinds of records."""
LISTS = "image/encoded", "tracks/2d", "tracks/visibility"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MoviClip:
    """A clip, with either ground truth to generate tracks from, or tracks.

    Attributes:
        frames: uint8 [T, H, W, 3] RGB.
        truth: of a "truth" record; None otherwise.
        tracks_xy: float32 [T, n, 2], (x, y) as fractions of width and height, as stored also where a point is occluded
            or outside of the image. None where there is `truth`.
        visible: bool [T, n]; None where there is `truth`.
    """

    frames: np.ndarray
    truth: MoviTruth | None = None
    tracks_xy: np.ndarray | None = None
    visible: np.ndarray | None = None


def record_kind(data: bytes, *, where: str) -> str:
    """The kind of a record, "truth" or "tracks". UserError, which starts with `where`, if it is neither."""
    # In the encoding, the features of an Example have the field number of the context of a SequenceExample.
    features, lists = decode_sequence_example(data, {TRUTH_MARK, TRACKS_MARK}, where=where)
    if TRACKS_MARK in lists:
        return "tracks"
    if TRUTH_MARK in features:
        return "truth"
    raise UserError(f"{where}: neither features with {TRUTH_MARK!r} nor lists with {TRACKS_MARK!r}; is this MOVi-E?")


def decode_clip(data: bytes, kind: str, *, where: str) -> MoviClip:
    """The clip of a record of a known kind.

    Args:
        data: the record.
        kind: of `record_kind`.
        where: which record it is, for errors.

    Raises:
        UserError: a feature is missing, damaged, or its number of frames, size, type or shape does not fit the others;
            or a value is not finite, or a segment belongs to no object.
    """
    return _decode_truth(data, where) if kind == "truth" else _decode_tracks(data, where)


def _decode_truth(data: bytes, where: str) -> MoviClip:
    features = decode_example(data, {*IMAGES, *ARRAYS}, where=where)
    images = {name: _images(features, name, where) for name in IMAGES}
    count, size_hw = len(images["video"]), _size_hw(images["video"], f"{where}, video")
    decoded = {name: _decode(images[name], IMAGES[name], count, size_hw, f"{where}, {name}") for name in IMAGES}
    arrays = {name: _numbers(features, name, where) for name in ARRAYS}
    truth = MoviTruth(
        video=decoded["video"],
        segmentations=decoded["segmentations"],
        depth_m=_metres(decoded["depth"], _shaped(arrays, "metadata/depth_range", (2,), where), where),
        object_coordinates=decoded["object_coordinates"],
        normals=decoded["normal"],
        bboxes_3d=_shaped(arrays, "instances/bboxes_3d", (-1, count, 8, 3), where),
        object_quaternions=_shaped(arrays, "instances/quaternions", (-1, count, 4), where),
        camera_positions=_shaped(arrays, "camera/positions", (count, 3), where),
        camera_quaternions=_shaped(arrays, "camera/quaternions", (count, 4), where),
        focal_length=_positive(arrays, "camera/focal_length", where),
        sensor_width=_positive(arrays, "camera/sensor_width", where),
    )
    objects, highest = len(truth.bboxes_3d), int(truth.segmentations.max())
    if len(truth.object_quaternions) != objects or highest > objects:
        raise UserError(
            f"{where}: {objects} boxes, {len(truth.object_quaternions)} quaternions and segments up to {highest} "
            "do not fit one another; get the file again"
        )
    return MoviClip(frames=truth.video, truth=truth)


def _decode_tracks(data: bytes, where: str) -> MoviClip:
    _, lists = decode_sequence_example(data, LISTS, where=where)
    entries = {name: [_one(feature, f"{where}, {name}") for feature in lists.get(name, ())] for name in LISTS}
    count = len(entries["image/encoded"])
    if any(len(entries[name]) != count for name in LISTS) or not count:
        found = ", ".join(f"{len(entries[name])} of {name}" for name in LISTS)
        raise UserError(f"{where}: {found}, expected one of each per frame; get the file again")
    images = entries["image/encoded"]
    frames = _decode(images, "RGB", count, _size_hw(images, f"{where}, image/encoded"), f"{where}, image/encoded")
    xy = _tensors(entries["tracks/2d"], 2, f"{where}, tracks/2d")
    visibility = _tensors(entries["tracks/visibility"], 1, f"{where}, tracks/visibility")
    if xy.shape != (*visibility.shape, 2):
        raise UserError(
            f"{where}: tracks/2d of shape {list(xy.shape)} and tracks/visibility of {list(visibility.shape)}, expected "
            "[T, n, 2] and [T, n]; get the file again"
        )
    return MoviClip(frames=frames, tracks_xy=xy, visible=visibility > 0.5)


def _images(features: dict[str, Feature], name: str, where: str) -> list[bytes]:
    images = features.get(name)
    if not isinstance(images, list) or not images:
        raise UserError(f"{where}: no images under {name!r}, expected one for each frame; is this MOVi-E?")
    return images


def _size_hw(images: Sequence[bytes], where: str) -> tuple[int, int]:
    """Height and width of the first image; UserError where a clip of that size would be too large."""
    (height, width), _ = image_header(images[0], where=f"{where}, frame 0")
    if len(images) * height * width > MAX_CLIP_PIXELS:
        raise UserError(
            f"{where}: {len(images)} frames of {width}x{height} px are more than {MAX_CLIP_PIXELS:,} pixels; "
            "get the file again"
        )
    return height, width


def _decode(images: Sequence[bytes], pixels: str, count: int, size_hw: tuple[int, int], where: str) -> np.ndarray:
    if len(images) != count:
        raise UserError(f"{where}: {len(images)} images for {count} frames; get the file again")
    return np.stack(
        [
            decode_image(image, pixels=pixels, size_hw=size_hw, where=f"{where}, frame {i}")
            for i, image in enumerate(images)
        ]
    )


def _numbers(features: dict[str, Feature], name: str, where: str) -> np.ndarray:
    values = features.get(name)
    if not isinstance(values, np.ndarray) or values.dtype != np.float32:
        raise UserError(f"{where}: no real numbers under {name!r}; is this MOVi-E?")
    if not np.isfinite(values).all():
        raise UserError(f"{where}: {name} holds values that are not finite; get the file again")
    return values


def _shaped(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    try:
        return arrays[name].reshape(shape)
    except ValueError as error:
        wanted = " x ".join("S" if size < 0 else str(size) for size in shape)
        raise UserError(
            f"{where}: {name} has {arrays[name].size} values, expected {wanted}; get the file again"
        ) from error


def _positive(arrays: dict[str, np.ndarray], name: str, where: str) -> float:
    value = float(_shaped(arrays, name, (1,), where)[0])
    if value <= 0:
        raise UserError(f"{where}: {name} is {value:g}, expected more than 0; get the file again")
    return value


def _metres(depth: np.ndarray, range_m: np.ndarray, where: str) -> np.ndarray:
    """Stored depth in metres, float32 [T, H, W], in float32 arithmetic as in the official track generation."""
    low, high = range_m
    if not 0 <= low <= high:
        raise UserError(f"{where}: metadata/depth_range is {low:g} to {high:g} m; get the file again")
    return low + depth.astype(np.float32) * (high - low) / np.float32(np.iinfo(np.uint16).max)


def _one(feature: Feature, where: str) -> bytes:
    if not isinstance(feature, list) or len(feature) != 1:
        raise UserError(f"{where}: a frame without exactly one byte string; get the file again")
    return feature[0]


def _tensors(contents: Sequence[bytes], rank: int, where: str) -> np.ndarray:
    """float32 [T, ...] from one tensor per frame, all of one shape."""
    tensors = [tensor_from_proto(content, where=f"{where}, frame {i}") for i, content in enumerate(contents)]
    for i, tensor in enumerate(tensors):
        if tensor.dtype != np.float32 or tensor.ndim != rank or tensor.shape != tensors[0].shape:
            raise UserError(
                f"{where}, frame {i}: {tensor.dtype} of shape {list(tensor.shape)}, expected float32 of {rank} "
                f"dimensions, in every frame {list(tensors[0].shape)}; get the file again"
            )
        if not np.isfinite(tensor).all():
            raise UserError(f"{where}, frame {i}: values that are not finite; get the file again")
    return np.stack(tensors)
