"""Procedural textures: periodic colour tiles with detail at every scale, so that small patches can be told apart."""

import colorsys
import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

PATTERNS = ("marble", "stripes", "checks", "spots")


@dataclass(frozen=True, kw_only=True, eq=False)
class Texture:
    """A square colour tile, uint8 [n, n, 3] with n a power of two, that repeats every `tile_m` metres."""

    pixels: np.ndarray
    tile_m: float

    @cached_property
    def levels(self) -> tuple[np.ndarray, ...]:
        """The tile at full, half, quarter ... size down to 8 x 8, each texel the mean of the four it replaces."""
        levels = [self.pixels]
        while levels[-1].shape[0] > 8:
            side = levels[-1].shape[0] // 2
            levels.append(cv2.resize(levels[-1], (side, side), interpolation=cv2.INTER_AREA))
        return tuple(levels)

    def paint(
        self, to_tile: np.ndarray, window: tuple[int, int, int, int], footprint_m: float | np.ndarray
    ) -> np.ndarray:
        """The texture as seen in a window of the image, uint8 [y1 - y0, x1 - x0, 3].

        `to_tile` [3, 3] takes homogeneous image coordinates to homogeneous metres from the middle of the tile, `window`
        is (x0, y0, x1, y1) in pixels, and `footprint_m` is the side in metres of a pixel on the tile, one number or one
        for each row, [y1 - y0]; it picks the level of detail, two neighbouring levels being blended.
        """
        x0, y0, x1, y1 = window
        texels_per_m, last = self.pixels.shape[0] / self.tile_m, len(self.levels) - 1
        if not isinstance(footprint_m, np.ndarray):
            level = min(max(math.log2(max(footprint_m * texels_per_m, 1e-9)), 0), last)
            whole, share = int(level), level % 1
            colour = self._warp(whole, to_tile, window)
            if share < 0.1:
                return colour
            return cv2.addWeighted(colour, 1 - share, self._warp(whole + 1, to_tile, window), share, 0)
        levels = np.clip(np.log2(footprint_m * texels_per_m), 0, last)
        finer, share = np.floor(levels), levels % 1
        colour = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
        for index in range(int(finer.min()), math.ceil(levels.max()) + 1):
            weight = np.where(finer == index, 1, np.where(finer == index - 1, share, 0)).astype(np.float32)
            rows = np.flatnonzero(weight)
            if len(rows):
                band = np.s_[int(rows[0]) : int(rows[-1]) + 1]
                seen = self._warp(index, to_tile, (x0, y0 + band.start, x1, y0 + band.stop))
                weights = cv2.resize(weight[band, None], (x1 - x0, len(seen)), interpolation=cv2.INTER_NEAREST)
                colour[band] = cv2.blendLinear(seen, colour[band], weights, 1 - weights)
        return colour

    @cached_property
    def _to_texels(self) -> tuple[np.ndarray, ...]:
        """For every level, metres from the middle of the tile to texels, whose centres OpenCV puts at integers."""
        sides = [level.shape[0] for level in self.levels]
        return tuple(
            np.array([[n / self.tile_m, 0, n / 2 - 0.5], [0, n / self.tile_m, n / 2 - 0.5], [0, 0, 1]]) for n in sides
        )

    def _warp(self, level: int, to_tile: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
        x0, y0, x1, y1 = window
        to_centre = np.array([[1, 0, x0 + 0.5], [0, 1, y0 + 0.5], [0, 0, 1]])
        return cv2.warpPerspective(
            self.levels[level],
            self._to_texels[level] @ to_tile @ to_centre,
            (x1 - x0, y1 - y0),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_WRAP,
        )


def make_texture(
    rng: np.random.Generator,
    *,
    side: int,
    tile_m: float,
    palette: np.ndarray | None = None,
    pattern: str | None = None,
    contrast: float = 0.35,
) -> Texture:
    """A texture of `side` texels; the same `rng` state draws the same pattern at any `side`.

    `pattern` is one of `PATTERNS` (drawn where None), `palette` float [k, 3] in 0..1 (drawn where None), and
    `contrast` the strength of the light-and-dark noise over it.
    """
    pattern = pattern or str(rng.choice(PATTERNS))
    palette = random_palette(rng) if palette is None else palette
    warp, grain, field = _noise(rng, side, 3), _noise(rng, side, 7), _noise(rng, side, 5)
    u = np.arange(side, dtype=np.float32)[None] / side
    v = u.T
    match pattern:
        case "stripes":
            waves = [2 * math.pi * int(count) for count in rng.integers((1, -4), (12, 7))]
            field = 0.5 + 0.42 * np.sin(waves[0] * u + waves[1] * v + 3 * warp)
        case "checks":
            waves = [4 * math.pi * int(count) for count in rng.integers(2, 5, 2)]
            across = np.sin(waves[0] * u + 2 * warp) * np.sin(waves[1] * v + 2 * warp)
            field = 0.5 + 0.4 * np.tanh(4 * across) + 0.3 * (field - 0.5)
        case "spots":
            field = _spots(rng, u, v) + 0.3 * (field - 0.5)
        case "marble":
            field = 0.5 + 1.2 * (field - 0.5) + 0.2 * np.sin(9 * warp)
        case _:
            raise ValueError(f"{pattern!r} is not one of the patterns {PATTERNS}")
    steps, stops = np.linspace(0, 1, 256), np.linspace(0, 1, len(palette))
    ramp = np.stack([np.interp(steps, stops, palette[:, k]) for k in range(3)], axis=-1) * 255
    indices = cv2.convertScaleAbs(np.maximum(field, 0), alpha=255)
    colour = cv2.LUT(cv2.merge([indices] * 3), np.clip(ramp, 0, 255).astype(np.uint8)[None])
    light = 1 + (contrast * 2) * (grain - 0.5)
    return Texture(pixels=cv2.multiply(colour, cv2.merge([light] * 3), dtype=cv2.CV_8U), tile_m=tile_m)


def random_palette(rng: np.random.Generator, *, muted: bool = False) -> np.ndarray:
    """Four colours around two hues from dark to light in shuffled order, float64 [4, 3] in 0..1."""
    hues = rng.uniform(0, 1) + np.array([0, 0, 1, 1]) * rng.uniform(0.1, 0.5) + rng.uniform(-0.04, 0.04, 4)
    values = rng.permutation(np.linspace(0.35, 0.95, 4))
    saturations = rng.uniform(0.1, 0.4, 4) if muted else rng.uniform(0.25, 0.8, 4)
    return np.array([colorsys.hsv_to_rgb(h % 1, s, v) for h, s, v in zip(hues, saturations, values, strict=True)])


def _noise(rng: np.random.Generator, side: int, octaves: int) -> np.ndarray:
    """Periodic noise of mean 0.5, mostly within 0..1, float32 [side, side]; its coarsest cells are a quarter of the
    tile and each further octave halves them."""
    total = np.zeros((2, 2), np.float32)
    for octave in range(octaves):
        cells = 4 * 2**octave
        # Drawn even where it is too fine to show, so that the generator moves on alike at every side.
        grid = rng.uniform(-0.55, 0.55, (cells, cells)).astype(np.float32)
        if cells <= side:
            total = _enlarged(total, cells) + grid * 0.72**octave
    return 0.5 + 0.75 * _enlarged(total, side)


def _enlarged(tile: np.ndarray, side: int) -> np.ndarray:
    """A periodic tile at a larger `side`, cubic and still periodic."""
    factor = side // tile.shape[0]
    if factor == 1:
        return tile
    wide = cv2.resize(np.pad(tile, 2, mode="wrap"), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return wide[2 * factor : 2 * factor + side, 2 * factor : 2 * factor + side]


def _spots(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Discs of random place, size and value on a plain ground, periodic, float32 [n, n] for u [1, n] and v [n, 1]."""
    field = np.full((v.size, u.size), 0.1, np.float32)
    for centre_u, centre_v, radius, value in rng.uniform((0, 0, 0.03, 0.3), (1, 1, 0.12, 1.0), (40, 4)):
        du, dv = np.abs(u - np.float32(centre_u)), np.abs(v - np.float32(centre_v))
        du, dv = np.minimum(du, 1 - du), np.minimum(dv, 1 - dv)
        field[du * du + dv * dv < radius * radius] = value
    return field
