"""The training split of point tracking: windows of MOVi-E's clips with point tracks.

As in SciVid: a random window, uniformly sampled points, queries in the window's first frame; a point that is occluded
there is masked out, not replaced. Records with ground truth have no tracks: these are generated, all of them visible in
the first frame. Source: scivid, `configs/evals/stir_2d_tracking.py`, `data/readers/movi.py`.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np

from readouts.datasets.movi.copy import MoviCopy
from readouts.datasets.movi.records import MoviClip
from readouts.datasets.movi.tracks import TrackRules, make_tracks
from readouts.fitting.sampling import Item
from readouts.tasks.color_augmentation import colour
from readouts.tasks.sources import TaskSource, quarter_starts
from readouts.tasks.tracking_protocols import PerceptionProtocol
from rvm_bench.errors import UserError
from rvm_bench.media.resize import resize

POOL = 512
"""Tracks generated once per fixed window, from which each visit samples: generating them costs more than a step."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MoviSource(TaskSource[Any]):
    """The training clips.

    Attributes:
        copy: of MOVi-E.
    """

    resizing: ClassVar[str] = "square"
    protocol: PerceptionProtocol
    copy: MoviCopy = dataclasses.field(repr=False)

    @functools.cached_property
    def windows(self) -> list[tuple[int, int]]:
        """The examples, as (clip, first frame): one per clip, or all fixed windows, a quarter of their length apart."""
        if not self.protocol.fixed_clips:
            return [(index, 0) for index in range(len(self.copy))]
        starts = quarter_starts(len(self.copy.clip(0).frames), self.protocol.frames, 1)
        return [(index, start) for index in range(len(self.copy)) for start in starts]

    @functools.cached_property
    def names(self) -> list[str]:
        return [self._clip_names[number] for number, _ in self.windows]

    def random_item(self, index: int, rng: np.random.Generator) -> Item:
        number, _ = self.windows[index]
        clip = self.copy.clip(number)
        start = int(rng.integers(self._last(clip) + 1))
        points = self._points(clip, start, self.protocol.tracks, rng)
        frames = clip.frames[start : start + self.protocol.frames]
        seed = int(rng.integers(2**63))
        return self._item(functools.partial(self._pixels, frames, seed), points, rng, key=None)

    def held_out_item(self, index: int) -> Item:
        rng = np.random.default_rng([1, index])
        if self.protocol.fixed_clips:
            return self.fixed_item(index, rng)
        number, _ = self.windows[index]
        clip = self.copy.clip(number)
        start = self._last(clip) // 2
        frames = clip.frames[start : start + self.protocol.frames]
        points = self._points(clip, start, self.protocol.tracks, rng)
        return self._item(functools.partial(self._pixels, frames, None), points, rng, key=self._key(number, start))

    def fixed_item(self, index: int, rng: np.random.Generator) -> Item:
        number, start = self.windows[index]

        def pixels() -> np.ndarray:
            return self._pixels(self.copy.clip(number).frames[start : start + self.protocol.frames], None)

        return self._item(pixels, _pool(self, number, start), rng, key=self._key(number, start))

    def _item(self, pixels: Any, points: tuple[np.ndarray, np.ndarray], rng: np.random.Generator, *, key: Any) -> Item:
        """An example with `protocol.tracks` of the points [T, n, 2], visible bool [T, n], padded where n is less."""
        xy, visible = points
        count = self.protocol.tracks
        sampled = rng.permutation(xy.shape[1])[:count]
        query_mask = np.zeros(count, bool)
        query_mask[: len(sampled)] = visible[0, sampled]
        tracks = np.full((len(xy), count, 2), -1, np.float32)
        tracks[:, : len(sampled)] = xy[:, sampled]
        # As released: masked queries and their tracks are at -1.
        tracks[:, ~query_mask] = -1
        track_visible = np.zeros((len(xy), count), bool)
        track_visible[:, : len(sampled)] = visible[:, sampled]
        target = {"points": tracks, "visible": track_visible & query_mask, "query_mask": query_mask}
        return Item(clip=pixels, target=target, queries=tracks[0], key=key)

    def _points(
        self, clip: MoviClip, start: int, count: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tracks of a window: (x, y) float32 [T, n, 2] as fractions of width and height, and visibility bool [T, n]."""
        frames = self.protocol.frames
        if clip.truth is not None:
            height, width = clip.frames.shape[1:3]
            # A small frame has fewer query positions on the grid; the example is then padded.
            count = min(count, (height // TrackRules.stride) * (width // TrackRules.stride))
            tracks = make_tracks(clip.truth, rng, tracks=count, query_frame=0, window=(start, frames))
            return tracks.xy, tracks.visible
        assert clip.tracks_xy is not None
        assert clip.visible is not None
        window = slice(start, start + frames)
        return clip.tracks_xy[window], clip.visible[window]

    def _pixels(self, frames: np.ndarray, colour_seed: int | None) -> np.ndarray:
        side = self.protocol.side_px
        clip = np.ascontiguousarray(resize(frames, (side, side)))
        if colour_seed is None or not self.protocol.colour_augmentation:
            return clip
        return colour(clip, np.random.default_rng(colour_seed))

    def _key(self, number: int, start: int) -> str:
        return f"{self.manifest_sha256} {self._clip_names[number]} {start} {self.protocol.frames}"

    @functools.cached_property
    def _clip_names(self) -> list[str]:
        return self.copy.names

    def _last(self, clip: MoviClip) -> int:
        """The last possible first frame of a window."""
        last = len(clip.frames) - self.protocol.frames
        if last < 0:
            raise UserError(
                f"a clip of {self.copy.shards.folder} has {len(clip.frames)} frames; a window takes "
                f"{self.protocol.frames}: set fewer frames"
            )
        return last


@functools.lru_cache(maxsize=4096)
def _pool(source: MoviSource, number: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    """The tracks of a fixed window, generated once per process; up to 100 kB each."""
    return source._points(source.copy.clip(number), start, POOL, np.random.default_rng([2, number, start]))
