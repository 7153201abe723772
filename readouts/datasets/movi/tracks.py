"""Point tracks from the ground truth of a rendered MOVi clip: positions and visibility of surface points.

A point on an object moves rigidly with the object's 3-D box; a point of the background stays at its unprojected world
position. Visibility follows from depth, segmentation and normals. The rules are those of google-research/kubric,
`challenges/point_tracking/dataset.py`, reimplemented in NumPy.

Image coordinates (x, y) have their origin at the outer corner of the top left pixel, whose centre is (0.5, 0.5).
"""

import dataclasses

import numpy as np

from rvm_bench.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MoviTruth:
    """One clip of T frames of H x W pixels with S objects, decoded but otherwise as stored.

    World coordinates are in metres, z up. The camera looks along its -z axis, with x to the right and y up.

    Attributes:
        video: uint8 [T, H, W, 3] RGB.
        segmentations: uint8 [T, H, W]; 0 is background, i + 1 is object i. The reader refuses ids above S.
        depth_m: float32 [T, H, W]; distance to the camera's centre (not to the image plane) in metres.
        object_coordinates: uint16 [T, H, W, 3]; xyz in the object's box, 0 to 65535 from corner to corner; undefined on
            the background.
        normals: uint16 [T, H, W, 3]; surface normal xyz in world coordinates, 0 to 65535 for -1 to 1.
        bboxes_3d: float32 [S, T, 8, 3]; corners of each object's box in world coordinates, in metres, in the order of
            `itertools.product((-0.5, 0.5), repeat=3)` over the box's x, y, z.
        object_quaternions: float32 [S, T, 4]; rotation of each object to the world, (w, x, y, z).
        camera_positions: float32 [T, 3] in metres.
        camera_quaternions: float32 [T, 4]; rotation of the camera to the world, (w, x, y, z).
        focal_length, sensor_width: of the camera, in the same unit (millimetres); their ratio times W is the focal
            length in pixels. The principal point is the centre of the image.
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


_CORNERS = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3, indexing="ij"), axis=-1).reshape(8, 3)
_FULL = 65535
# Offsets (x, y) to the four pixels around a point, and to the four neighbours of a pixel.
_AROUND = np.array([(0, 0), (1, 0), (0, 1), (1, 1)])
_BESIDE = ((-1, 0), (1, 0), (0, -1), (0, 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackRules:
    """Constants of track generation; those of kubric's `challenges/point_tracking/dataset.py` unless stated otherwise.

    Attributes:
        stride: queries are sampled from every stride-th frame, row and column, with a random offset.
        object_share: at most this fraction of an object's pixels on that grid become queries.
        depth_slack: a point is occluded where its distance times this exceeds the depth of all four pixels around it.
        smooth_cosine: a normal is used where its cosine with those of the four neighbouring pixels is at least this;
            kubric uses smooth normals only, the criterion and its value are ours.
    """

    stride: int = 4
    object_share: float = 0.1
    depth_slack: float = 0.99
    smooth_cosine: float = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tracks:
    """n points through T frames.

    Attributes:
        query_tyx: float32 [n, 3]; frame, and y and x in pixels, of each query: the centre of a pixel.
        xy: float32 [T, n, 2] as fractions of width and height, also where the point is occluded or outside the image;
            -1 where it is behind the camera.
        visible: bool [T, n]; true at the query.
        segments: int64 [n]; segment of each point, 0 the background and i + 1 object i.
    """

    query_tyx: np.ndarray
    xy: np.ndarray
    visible: np.ndarray
    segments: np.ndarray


def make_tracks(
    truth: MoviTruth,
    rng: np.random.Generator,
    *,
    tracks: int = 256,
    query_frame: int | None = None,
    window: tuple[int, int] | None = None,
    rules: TrackRules | None = None,
) -> Tracks:
    """Random tracks of a clip, spread over its segments as evenly as their sizes allow.

    For training as in SciVid: `tracks=64, query_frame=0, window=(first, 16)`.

    Args:
        truth: the clip.
        rng: for the choice of query pixels.
        tracks: their number. Where `TrackRules.object_share` leaves fewer, the rest is sampled from the whole grid.
        query_frame: frame of all queries, relative to the window; None for random frames.
        window: first frame and number of frames; None for the whole clip. Frame numbers of the result start at it.
        rules: constants that differ from the official ones.

    Raises:
        UserError: a window or a query frame outside the clip, or fewer pixels on the grid than `tracks`.
    """
    rules = rules or TrackRules()
    truth = _crop_in_time(truth, window)
    query_tyx = _sample_queries(truth.segmentations, rng, tracks, query_frame, rules)
    t, y, x = query_tyx.T
    segments = truth.segmentations[t, y, x].astype(np.int64)
    world, axes = _carry(truth, query_tyx, segments)
    xy, distance = _project(truth, world)
    facing = _facing(truth, query_tyx, segments, world, axes, rules)
    visible = facing & _unoccluded(truth, xy, distance, segments, rules)
    height, width = truth.segmentations.shape[1:]
    shares = np.where(np.isfinite(distance)[..., None], xy / (width, height), -1)
    return Tracks(
        query_tyx=query_tyx.astype(np.float32) + np.array([0, 0.5, 0.5], np.float32),
        xy=shares.astype(np.float32),
        visible=visible,
        segments=segments,
    )


def _crop_in_time(truth: MoviTruth, window: tuple[int, int] | None) -> MoviTruth:
    """The frames of a window, as views."""
    if window is None:
        return truth
    frames, (first, count) = len(truth.segmentations), window
    if not 0 <= first < first + count <= frames:
        raise UserError(f"a window of {count} frames from frame {first} on; the clip has frames 0 to {frames - 1}")
    part = slice(first, first + count)
    return dataclasses.replace(
        truth,
        video=truth.video[part],
        segmentations=truth.segmentations[part],
        depth_m=truth.depth_m[part],
        object_coordinates=truth.object_coordinates[part],
        normals=truth.normals[part],
        bboxes_3d=truth.bboxes_3d[:, part],
        object_quaternions=truth.object_quaternions[:, part],
        camera_positions=truth.camera_positions[part],
        camera_quaternions=truth.camera_quaternions[part],
    )


def _sample_queries(
    segmentations: np.ndarray, rng: np.random.Generator, tracks: int, query_frame: int | None, rules: TrackRules
) -> np.ndarray:
    """Frame, row and column of the queries, int64 [tracks, 3], in random order."""
    frames = len(segmentations)
    if query_frame is not None and not 0 <= query_frame < frames:
        raise UserError(f"query frame {query_frame}; the window has frames 0 to {frames - 1}")
    first_t, *first_yx = rng.integers(rules.stride, size=3).tolist()
    times = np.arange(first_t % frames, frames, rules.stride) if query_frame is None else np.array([query_frame])
    rows, columns = (
        np.arange(first % size, size, rules.stride)
        for first, size in zip(first_yx, segmentations.shape[1:], strict=True)
    )
    grid = segmentations[np.ix_(times, rows, columns)].ravel()
    if tracks > len(grid):
        raise UserError(f"{tracks} tracks from {len(grid)} pixels; ask for fewer tracks, or for a smaller stride")
    # Shuffled before the stable sort, so that the first pixels of a segment are a random sample of it.
    order = rng.permutation(len(grid))
    by_segment = order[np.argsort(grid[order], kind="stable")]
    sizes = np.bincount(grid)
    rank = np.arange(len(grid)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    shares = _balance(np.floor(sizes * rules.object_share).astype(int), tracks)
    within = rank < np.repeat(shares, sizes)
    chosen, others = by_segment[within], by_segment[~within]
    more = rng.choice(others, tracks - len(chosen), replace=False)
    index = rng.permutation(np.concatenate([chosen, more]))
    t, y, x = np.unravel_index(index, (len(times), len(rows), len(columns)))
    return np.stack([times[t], rows[y], columns[x]], axis=1)


def _balance(limits: np.ndarray, total: int) -> np.ndarray:
    """Counts int [K], as equal as their limits allow, that sum to `total`, or to all limits if these are less."""
    counts, remaining = np.zeros_like(limits), total
    # By increasing limit: what one cannot take is divided among the later ones.
    for done, k in enumerate(np.argsort(limits, kind="stable").tolist()):
        counts[k] = min(int(limits[k]), remaining // (len(limits) - done))
        remaining -= int(counts[k])
    return counts


def _carry(truth: MoviTruth, query_tyx: np.ndarray, segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World positions of the points in every frame, float64 [T, n, 3] in metres, and the axes of their objects' boxes,
    [T, n, 3, 3] with the edge vectors as rows. Those of the background are constant."""
    t, y, x = query_tyx.T
    frames = len(truth.segmentations)
    world = np.repeat(_unproject(truth, query_tyx)[None], frames, axis=0)
    axes = np.tile(np.eye(3), (frames, len(t), 1, 1))
    on_object = segments > 0
    boxes = truth.bboxes_3d[segments[on_object] - 1].swapaxes(0, 1).astype(np.float64)
    # The least-squares affine map from the unit cube to the box. The cube's corners are centred and orthogonal, so that
    # the normal equations are diagonal.
    axes[:, on_object] = np.einsum("ca,tncw->tnaw", _CORNERS / (_CORNERS**2).sum(axis=0), boxes)
    local = truth.object_coordinates[t, y, x][on_object] / _FULL - 0.5
    world[:, on_object] = boxes.mean(axis=2) + np.einsum("na,tnaw->tnw", local, axes[:, on_object])
    return world, axes


def _unproject(truth: MoviTruth, query_tyx: np.ndarray) -> np.ndarray:
    """World positions of the surfaces at pixels, float64 [n, 3]: at their depth on the ray through the centre."""
    t, y, x = query_tyx.T
    height, width = truth.segmentations.shape[1:]
    focal = truth.focal_length / truth.sensor_width * width
    rays = np.stack([(x + 0.5 - width / 2) / focal, -(y + 0.5 - height / 2) / focal, -np.ones(len(x))], axis=1)
    rays *= (truth.depth_m[t, y, x] / np.linalg.norm(rays, axis=1))[:, None]
    return truth.camera_positions[t] + np.einsum("nwc,nc->nw", _rotations(truth.camera_quaternions)[t], rays)


def _project(truth: MoviTruth, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x, y in pixels, float64 [T, n, 2], and distances from the camera's centre in metres, [T, n]; NaN and infinite for
    points behind the camera."""
    height, width = truth.segmentations.shape[1:]
    focal = truth.focal_length / truth.sensor_width * width
    offset = world - truth.camera_positions[:, None]
    right, up, back = np.moveaxis(np.einsum("twc,tnw->tnc", _rotations(truth.camera_quaternions), offset), -1, 0)
    front = back < 0
    ahead = np.where(front, -back, np.nan)
    xy = np.stack([focal * right / ahead + width / 2, height / 2 - focal * up / ahead], axis=-1)
    return xy, np.where(front, np.linalg.norm(offset, axis=-1), np.inf)


def _unoccluded(
    truth: MoviTruth, xy: np.ndarray, distance: np.ndarray, segments: np.ndarray, rules: TrackRules
) -> np.ndarray:
    """Whether points are in the image and not occluded, bool [T, n]: of the four pixels around a point, one shows its
    segment, and one is at least as far away."""
    frames, height, width = truth.segmentations.shape
    size = np.array([width, height])
    inside = np.isfinite(distance) & np.logical_and.reduce((xy >= 0) & (xy < size), axis=-1)
    corner = np.floor(np.where(inside[..., None], xy, 0) - 0.5).astype(np.int64)
    x, y = np.moveaxis(np.clip(corner[:, :, None] + _AROUND, 0, size - 1), -1, 0)
    t = np.arange(frames)[:, None, None]
    same = (truth.segmentations[t, y, x] == segments[:, None]).any(axis=-1)
    reached = distance * rules.depth_slack <= truth.depth_m[t, y, x].max(axis=-1)
    return inside & same & reached


def _facing(
    truth: MoviTruth,
    query_tyx: np.ndarray,
    segments: np.ndarray,
    world: np.ndarray,
    axes: np.ndarray,
    rules: TrackRules,
) -> np.ndarray:
    """Whether the surface faces the camera, bool [T, n]; also true where that is unknown: on the background, and where
    the query's normal is not smooth or does not face the camera in the query frame."""
    t, y, x = query_tyx.T
    height, width = truth.segmentations.shape[1:]
    normal = _normals(truth, t, y, x)
    reliable = segments > 0
    for dx, dy in _BESIDE:
        neighbour = _normals(truth, t, np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1))
        reliable &= (normal * neighbour).sum(axis=1) >= rules.smooth_cosine
    # Boxes move rigidly: the normalised axes are a rotation, which maps the normal from frame to frame.
    rotations = axes / np.linalg.norm(axes, axis=-1, keepdims=True)
    rows = np.arange(len(t))
    in_box = np.einsum("naw,nw->na", rotations[t, rows], normal)
    to_camera = truth.camera_positions[:, None] - world
    facing = np.einsum("na,tnaw,tnw->tn", in_box, rotations, to_camera) > 0
    reliable &= facing[t, rows]
    return facing | ~reliable


def _normals(truth: MoviTruth, t: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Surface normals at pixels in world coordinates, float64 [n, 3] of length 1, or 0 where none is stored."""
    normals = truth.normals[t, y, x] * (2 / _FULL) - 1
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0.5, normals / np.maximum(length, 0.5), 0)


def _rotations(quaternions: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] of (w, x, y, z) [..., 4]."""
    w, x, y, z = np.moveaxis(quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True), -1, 0).astype(float)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
