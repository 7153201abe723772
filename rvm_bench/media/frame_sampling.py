"""Which frames of a video make a clip: native frame numbers, never timestamps, so a variable frame rate needs no rule.

A clip of n frames with stride s is frames a, a + s, ..., a + (n - 1) s. Its span counts as n s frames, and what lies
beyond the last frame is the last frame again. Source of both, and of the three ways to choose a: kauldron,
`contrib/data/frame_sampling.py`, the sampler of the group that published the protocol.
"""

from typing import TYPE_CHECKING

import numpy as np

from rvm_bench.errors import UserError

if TYPE_CHECKING:
    pass


def middle_clip(length: int, frames: int, stride: int) -> np.ndarray:
    """int64 [frames]: the clip whose span lies in the middle of a video of `length` frames.

    Source: kauldron `MiddleClip`, a = max(0, length - frames * stride) // 2. SSv2 is evaluated on it (the paper names
    no number of clips, so one).

    Raises:
        UserError: a length, number of frames or stride below 1.
    """
    return _clip(_room(length, frames, stride) // 2, length, frames, stride)


def random_clip(length: int, frames: int, stride: int, rng: np.random.Generator) -> np.ndarray:
    """int64 [frames]: a clip that starts at random, uniformly in [0, length - frames * stride), for training.

    The upper end is excluded, as in kauldron `RandomClip` (`tf.random.uniform` with that `maxval`): the clip that ends
    with the video is never drawn, unless the video is no longer than its span. Draws from `rng` once in any case, so
    that what follows does not depend on the length.

    Raises:
        UserError: a length, number of frames or stride below 1.
    """
    return _clip(int(rng.integers(max(1, _room(length, frames, stride)))), length, frames, stride)


def linspaced_clips(length: int, frames: int, stride: int, clips: int) -> np.ndarray:
    """int64 [clips, frames]: clips that start at equal distances, the first with the video, the last ending with it.

    Source: kauldron `MultiClip`, a = int(linspace(0, max(0, length - frames * stride), clips)); Kinetics-700 is
    evaluated on 7 of them (paper section 11.1). Whole numbers are divided here, so no rounding of floats decides.

    Raises:
        UserError: fewer than 2 clips (kauldron refuses them too), or a length, number of frames or stride below 1.
    """
    if clips < 2:
        raise UserError(f"{clips} linearly spaced clips were asked for; it takes at least 2, one is `middle_clip`")
    starts = np.arange(clips) * _room(length, frames, stride) // (clips - 1)
    return _clip(starts[:, None], length, frames, stride)


def consecutive_clips(length: int, frames: int, stride: int) -> list[np.ndarray]:
    """int64 [frames] each: clips that follow one another without overlap, from the first frame on.

    Frames that do not fill another clip are left out. How ScanNet, Perception Test and Waymo are cut is not published
    (RVM and 4DS give 16 frames); we take every clip there is.

    Raises:
        UserError: a length, number of frames or stride below 1.
    """
    _room(length, frames, stride)
    span = (frames - 1) * stride + 1
    return [start + stride * np.arange(frames) for start in range(0, length - span + 1, frames * stride)]


def _room(length: int, frames: int, stride: int) -> int:
    """By how many frames a clip can be moved."""
    for name, value in (("length", length), ("frames", frames), ("stride", stride)):
        if value < 1:
            raise UserError(f"{name} of a clip is {value}; it must be at least 1")
    return max(0, length - frames * stride)


def _clip(start: int | np.ndarray, length: int, frames: int, stride: int) -> np.ndarray:
    return np.minimum(start + stride * np.arange(frames), length - 1)


def spread(length: int, columns: int) -> list[int]:
    """At most `columns` times from the first to the last of `length`, at equal distances."""
    return sorted(set(np.linspace(0, length - 1, columns).round().astype(int).tolist()))
