"""Writes demo clips in the official layout of MOVi-E, as TensorFlow Datasets writes it.

    movi_e/256x256/1.0.0/movi_e-train.tfrecord-00000-of-00008      one tf.train.Example a clip
                         dataset_info.json

A clip is a `world.World`: 24 frames at 12 a second, with exact depth, segments, object coordinates, normals, boxes and
poses under their official names and quantised as officially. The pictures are smaller than the folder says. Optical
flow, physics (mass, friction, velocities, collisions) and 2-D boxes are not drawn, and so not there. The background's
object coordinates are 0.

Source of the layout: google-research/kubric, `challenges/movi/movi_e.py`; tensorflow/datasets,
`core/proto/dataset_info.proto`.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from rvm_bench.errors import UserError
from rvm_bench.formats.tf_example import encode_example
from rvm_bench.formats.tfrecord import write_records
from rvm_bench.procedural.view import UPRIGHT
from rvm_bench.procedural.world import FOCAL, World, make_world

SIDE_PX = 96
FRAMES = 24
SENSOR_MM = 32.0
FOLDER = "movi_e/256x256/1.0.0"
IMAGES = ("video", "segmentations", "depth", "object_coordinates", "normal")

_TO_WORLD = UPRIGHT[:3, :3]
# MOVi-E's cameras look along their own -z with y up, ours along z with y down.
_OWN_AXES = np.diag([1.0, -1, -1])
_FULL = 65535


def write(
    folder: Path,
    *,
    seed: int = 0,
    training: int = 128,
    shards: int = 8,
    side_px: int = SIDE_PX,
    progress: Callable[[str, int], object] | None = None,
) -> None:
    """Writes `training` clips under `folder`, in `shards` files; the defaults take some 55 s and 190 MB.

    The files are the same bytes for the same arguments and library versions. After each clip, `progress` is called with
    its name and the number of its frames.

    Raises UserError where the folder already has shards, so that no real copy is ever overwritten.
    """
    target = folder / FOLDER
    info = target / "dataset_info.json"
    if target.exists():
        raise UserError(f"{target} exists; name an empty folder for the demo copy, or remove that one")
    target.mkdir(parents=True)
    lengths, size = [], 0
    for shard, clips in enumerate(np.array_split(np.arange(training), shards)):
        records = []
        for clip in clips.tolist():
            arrays = draw_truth(make_world((seed, clip), frames=FRAMES), side_px)
            records.append(encode_example(_features(f"{clip}", arrays)))
            if progress is not None:
                progress(f"{clip}", FRAMES)
        write_records(target / f"movi_e-train.tfrecord-{shard:05d}-of-{shards:05d}", records)
        lengths.append(len(records))
        size += sum(map(len, records))
    content = {
        "name": "movi_e",
        "configName": "256x256",
        "version": "1.0.0",
        "fileFormat": "tfrecord",
        "description": "Procedural clips in the layout of MOVi-E, written by rvm-bench.",
        "splits": [
            {
                "name": "train",
                "shardLengths": [str(length) for length in lengths],
                "numBytes": str(size),
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        ],
    }
    info.write_text(json.dumps(content, indent=2) + "\n")


def draw_truth(world: World, side_px: int = SIDE_PX) -> dict[str, np.ndarray]:
    """All that is stored of a world, by its official name, before it is encoded.

    Images are [T, H, W] or [T, H, W, 3] in their stored type; `metadata/depth_range` [2] are the least and the greatest
    distance in metres; boxes [S, T, 8, 3], positions [..., 3] and quaternions [..., 4] (w, x, y, z) are float32, in
    metres and with z up.
    """
    frames = [_draw_frame(world, t, side_px) for t in range(world.frames)]
    drawn = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
    distance = drawn.pop("distance")
    low, high = distance.min(), distance.max()
    drawn["depth"] = np.rint((distance - low) / (high - low) * _FULL).astype(np.uint16)
    rooms = [world.at(t) for t in range(world.frames)]
    cameras = np.stack([world.camera_at(t, side_px, side_px).to_world for t in range(world.frames)])
    boxes = np.array([[block.corners for block in room.blocks] for room in rooms]) @ _TO_WORLD.T
    turns = _TO_WORLD @ np.array([[block.turn for block in room.blocks] for room in rooms])
    objects = np.arange(1, boxes.shape[1] + 1)
    visibility = (drawn["segmentations"][:, None] == objects[:, None, None]).sum(axis=(2, 3))
    return drawn | {
        "metadata/depth_range": np.array([low, high], np.float32),
        "instances/bboxes_3d": boxes.swapaxes(0, 1).astype(np.float32),
        "instances/positions": boxes.mean(axis=2).swapaxes(0, 1).astype(np.float32),
        "instances/quaternions": _quaternions(turns.swapaxes(0, 1)),
        "instances/visibility": visibility.T,
        "camera/positions": (cameras[:, :3, 3] @ _TO_WORLD.T).astype(np.float32),
        "camera/quaternions": _quaternions(_TO_WORLD @ cameras[:, :3, :3] @ _OWN_AXES),
        "camera/focal_length": np.array([FOCAL * SENSOR_MM], np.float32),
        "camera/sensor_width": np.array([SENSOR_MM], np.float32),
        "camera/field_of_view": np.array([2 * math.atan(0.5 / FOCAL)], np.float32),
    }


def _draw_frame(world: World, t: int, side_px: int) -> dict[str, np.ndarray]:
    """The images of a frame as they are stored, and instead of the depth the distance from the camera in metres."""
    room, camera = world.at(t), world.camera_at(t, side_px, side_px)
    hits, rays = room.look(camera)
    own, normals = np.zeros((side_px, side_px, 3)), room.normals_at(hits)
    for index, block in enumerate(room.blocks):
        here = hits.surface // 6 == index + 1
        own[here] = block.place(hits.surface[here] % 6, hits.u[here], hits.v[here]) / (2 * block.half) + 0.5
    return {
        "video": room.photograph(camera),
        "segmentations": (hits.surface // 6).astype(np.uint8),
        "distance": hits.along * np.linalg.norm(rays, axis=-1),
        "object_coordinates": np.rint(own * _FULL).astype(np.uint16),
        "normal": np.rint((normals @ _TO_WORLD.T + 1) / 2 * _FULL).astype(np.uint16),
    }


def _features(name: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    frames, height, width = arrays["segmentations"].shape
    objects = len(arrays["instances/bboxes_3d"])
    images = {key: [_png(image) for image in arrays[key]] for key in IMAGES}
    numbers = {key: array for key, array in arrays.items() if key not in IMAGES}
    return {
        **images,
        **numbers,
        "metadata/video_name": name,
        "metadata/width": width,
        "metadata/height": height,
        "metadata/num_frames": frames,
        "metadata/num_instances": objects,
        "background": "procedural room",
        "instances/asset_id": [f"procedural solid {i}" for i in range(objects)],
    }


def _png(image: np.ndarray) -> bytes:
    encoded = cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1]
    return bytes(encoded)


def _quaternions(turns: np.ndarray) -> np.ndarray:
    """(w, x, y, z) of rotations [..., 3, 3], float32 [..., 4]."""
    xyzw = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_quat()
    return xyzw[:, [3, 0, 1, 2]].reshape(*turns.shape[:-2], 4).astype(np.float32)
