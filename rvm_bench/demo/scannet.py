"""Writes demo scans in the official layouts of ScanNet v2: colour and depth from a camera carried through rooms.

    scannetv2_train.txt, scannetv2_val.txt             one scan a line
    scans/scene9000_00/color/0.jpg                     RGB, 160 x 120
                       depth/0.png                     16-bit gray, 128 x 96, millimetres, 0 where there is none
                       pose/0.txt                      4 x 4, camera to world, metres, the world's z upwards
                       intrinsic/intrinsic_color.txt   4 x 4 in pixels, pixel centres at integers; also _depth
    scans/scene9000_01/scene9000_01.sens               the other form of the same

As in real scans there is no depth where the sensor's projector, beside its camera, cannot shine; where a surface is
seen at a grazing angle; and beyond the sensor's reach. Elsewhere depth is exact to the millimetre: there is no noise.

Source of the layout: ScanNet/ScanNet, `SensReader` and `Tasks/Benchmark`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rvm_bench.demo.sens import write_sens
from rvm_bench.errors import UserError
from rvm_bench.procedural.room import Room, make_room
from rvm_bench.procedural.view import UPRIGHT, Camera

COLOUR_HW = 120, 160
DEPTH_HW = 96, 128
JPEG_QUALITY = 90
NEAR_M, FAR_M = 0.4, 6.0
"""The sensor's reach along the camera's axis."""
BASELINE_M = 0.075
"""How far to the right of its camera the sensor's projector is."""
GRAZING = 0.12
"""Least cosine between a ray and a surface's normal at which the sensor still sees the surface."""


@dataclass(frozen=True, kw_only=True)
class DemoScan:
    """One scan: its room, its number among the scans of that room, its split, and whether it is a `.sens` file."""

    room: int
    number: int = 0
    split: str = "train"
    sens: bool = False

    @property
    def name(self) -> str:
        return f"scene{self.room:04d}_{self.number:02d}"


SCANS = (
    *(DemoScan(room=9000 + k, sens=k % 4 == 3) for k in range(14)),
    DemoScan(room=9000, number=1, sens=True),
    *(DemoScan(room=9100 + k, sens=k % 4 == 3, split="val") for k in range(4)),
)
"""Fifteen scans of fourteen rooms to train on, four of other rooms to validate. No real room has such a number."""


def write(
    folder: Path,
    *,
    seed: int = 0,
    scans: tuple[DemoScan, ...] = SCANS,
    frames: int = 32,
    progress: Callable[[str, int], object] | None = None,
) -> None:
    """Writes `scans` of `frames` frames under `folder`; the defaults take some 16 s and 6.5 MB.

    The files are the same bytes for the same arguments and library versions. After each frame, `progress` is called
    with the scan's name and the number of its frames written so far.

    Raises UserError where the folder already has split files, so that no real copy is ever overwritten.
    """
    for listing in (folder / f"scannetv2_{split}.txt" for split in ("train", "val")):
        if listing.exists():
            raise UserError(f"{listing} exists; name an empty folder for the demo copy, or remove that one")
    for scan in scans:
        room = make_room((seed, scan.room), scan.number)
        target = folder / "scans" / scan.name
        target.mkdir(parents=True, exist_ok=True)
        recorded = _record(room, scan.name, frames, progress)
        colour_k, depth_k = (_intrinsics(room.camera_at(0.0, *size_hw)) for size_hw in (COLOUR_HW, DEPTH_HW))
        if scan.sens:
            write_sens(
                target / f"{scan.name}.sens",
                recorded,
                colour_intrinsics=colour_k,
                depth_intrinsics=depth_k,
                jpeg_quality=JPEG_QUALITY,
            )
        else:
            _extract(target, recorded, colour_k, depth_k)
    for split in ("train", "val"):
        names = [scan.name for scan in scans if scan.split == split]
        (folder / f"scannetv2_{split}.txt").write_text("".join(f"{name}\n" for name in names))


def sense_depth(room: Room, camera: Camera) -> np.ndarray:
    """What a structured-light sensor with this camera measures, uint16 [H, W] in millimetres, 0 where it cannot."""
    hits, rays = room.look(camera)
    points = camera.to_world[:3, 3] + hits.along[..., None] * rays
    projector = camera.to_world[:3, 3] + BASELINE_M * camera.to_world[:3, 0]
    # A point is lit where nothing comes before it on the way from the projector.
    lit = room.cast(projector, points - projector).along > 1 - 2e-3
    facing = np.abs((room.normals[hits.surface] * rays).sum(axis=-1)) / np.linalg.norm(rays, axis=-1)
    seen = lit & (facing >= GRAZING) & (hits.along >= NEAR_M) & (hits.along <= FAR_M)
    return np.where(seen, np.rint(hits.along * 1000), 0).astype(np.uint16)


def _record(
    room: Room, name: str, frames: int, progress: Callable[[str, int], object] | None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Colour, depth and pose of one frame after the other."""
    for t in range(frames):
        tau = t / max(frames - 1, 1)
        colour_camera, depth_camera = (room.camera_at(tau, *size_hw) for size_hw in (COLOUR_HW, DEPTH_HW))
        yield room.photograph(colour_camera), sense_depth(room, depth_camera), UPRIGHT @ colour_camera.to_world
        if progress is not None:
            progress(name, t + 1)


def _extract(
    target: Path,
    recorded: Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]],
    colour_k: np.ndarray,
    depth_k: np.ndarray,
) -> None:
    for kind in ("color", "depth", "pose", "intrinsic"):
        (target / kind).mkdir(exist_ok=True)
    for kind, matrix in (("color", colour_k), ("depth", depth_k)):
        np.savetxt(target / "intrinsic" / f"intrinsic_{kind}.txt", matrix, fmt="%f")
        np.savetxt(target / "intrinsic" / f"extrinsic_{kind}.txt", np.eye(4), fmt="%f")
    for t, (colour, depth, pose) in enumerate(recorded):
        Image.fromarray(colour).save(target / "color" / f"{t}.jpg", quality=JPEG_QUALITY)
        Image.fromarray(depth).save(target / "depth" / f"{t}.png")
        np.savetxt(target / "pose" / f"{t}.txt", pose, fmt="%f")


def _intrinsics(camera: Camera) -> np.ndarray:
    """[4, 4] with pixel centres at integers."""
    matrix = np.eye(4)
    matrix[:3, :3] = camera.intrinsics
    matrix[:2, 2] -= 0.5
    return matrix
