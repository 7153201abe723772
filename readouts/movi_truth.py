"""What a rendered MOVi clip knows about itself: the truth that point tracks are made from.

Source: google-research/kubric, `challenges/movi/movi_e.py` for what is stored, `challenges/point_tracking/dataset.py`
for what tracks are made from.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MoviTruth:
    """One clip of T frames of H x W pixels with S objects, as stored, decoded and otherwise untouched.

    World coordinates are metres, z up. A camera looks along its own -z axis, with x to the right and y up.

    Attributes:
        video: uint8 [T, H, W, 3] RGB.
        segmentations: uint8 [T, H, W]; 0 is background, i + 1 is object i. Ids above S may occur in damaged data only,
            and are refused by the reader.
        depth_m: float32 [T, H, W]; distance to the camera's centre (not to its plane) in metres.
        object_coordinates: uint16 [T, H, W, 3]; xyz in the object's own box, 0 to 65535 from corner to corner; of no
            meaning on the background.
        normals: uint16 [T, H, W, 3]; surface normal xyz in world coordinates, 0 to 65535 for -1 to 1.
        bboxes_3d: float32 [S, T, 8, 3]; corners of each object's box in world coordinates, in metres, in the order of
            `itertools.product((-0.5, 0.5), repeat=3)` over the box's own x, y, z.
        object_quaternions: float32 [S, T, 4]; rotation of each object to the world, (w, x, y, z).
        camera_positions: float32 [T, 3] in metres.
        camera_quaternions: float32 [T, 4]; rotation of the camera to the world, (w, x, y, z).
        focal_length, sensor_width: of the camera, in one unit (millimetres); their ratio times W is the focal length
            in pixels, and the principal point is the centre of the image.
    """

    video: np.ndarray
    segmentations: np.ndarray
    depth_m: np.ndarray
    object_coordinates: np.ndarray
    normals: np.ndarray
    bboxes_3d: np.ndarray
    object_quaternions: np.ndarray
    camera_positions: np.ndarray
    camera_quaternions: np.ndarray
    focal_length: float
    sensor_width: float
