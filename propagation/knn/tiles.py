"""How the grid of queries is cut into tiles, each of which is compared only with its window of a context frame.

The grid has a long axis, cut into strips, and a short axis, cut into bands; a tile is a strip crossed with a band. Its
window is the rectangle of cells that the radius of its queries can reach. Context frames are stored with the long axis
outermost, so the window of a strip over the whole short axis is one contiguous matrix and costs no copy. With more than
one band, the band's part of every context frame is first copied to a contiguous buffer, once per band.

Small tiles have small windows, hence fewer products; large tiles make each matrix product more efficient. `CostModel`
finds the optimum.
"""

import math
from dataclasses import dataclass
from itertools import pairwise, product


@dataclass(frozen=True, kw_only=True)
class Span:
    """Queries [start, stop) along one axis, and their window: the cells [window_start, window_stop) in reach."""

    start: int
    stop: int
    window_start: int
    window_stop: int

    @property
    def queries(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def window(self) -> slice:
        return slice(self.window_start, self.window_stop)

    @property
    def n_queries(self) -> int:
        return self.stop - self.start

    @property
    def n_window(self) -> int:
        return self.window_stop - self.window_start


@dataclass(frozen=True, kw_only=True)
class TilePlan:
    """Strips along the long axis, bands along the short one."""

    strips: tuple[Span, ...]
    bands: tuple[Span, ...]

    @property
    def pairs(self) -> int:
        """Inner products of one step with one context frame."""
        return math.prod(sum(s.n_queries * s.n_window for s in spans) for spans in (self.strips, self.bands))

    @property
    def copied_cells(self) -> int:
        """Cells of one context frame that are copied in one step."""
        if len(self.bands) == 1:
            return 0
        return self.strips[-1].stop * sum(b.n_window for b in self.bands)

    @property
    def largest_copied_band(self) -> int:
        """Cells along the short axis of the largest band that is copied; 0 where nothing is."""
        return 0 if len(self.bands) == 1 else max(b.n_window for b in self.bands)

    @property
    def largest_tile(self) -> int:
        """The most inner products of a tile with one context frame."""
        return math.prod(max(s.n_queries * s.n_window for s in spans) for spans in (self.strips, self.bands))

    @property
    def n_windows(self) -> int:
        """Window cells summed over the tiles: what the matrix products read of one context frame."""
        return math.prod(sum(s.n_window for s in spans) for spans in (self.strips, self.bands))


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Time of a step, in units of one inner product of a query with a context cell.

    A matrix product of m queries takes as long as one of m + `row_overhead` at full efficiency (each context cell is
    read and repacked once per product, whatever m), and copying one context cell costs as much as `copy_cost` products.
    `budget_bytes` bounds the affinities held at a time. The CPU figures were fitted once to float32 products on one
    AVX-512 core (30 rows reached about half, 96 three quarters, 300 95 % of the rate of 1650) and copies at 7 GB/s; the
    optimum is flat, within 5 % from half to twice the number of tiles. The GPU figures are estimates from kernel launch
    time and memory bandwidth, not measured.
    """

    row_overhead: int = 50
    copy_cost: int = 60
    budget_bytes: int = 28 << 20

    @classmethod
    def for_device(cls, device_type: str) -> "CostModel":
        return cls() if device_type == "cpu" else cls(row_overhead=200, copy_cost=60, budget_bytes=2 << 30)

    def cost(self, plan: TilePlan) -> int:
        return plan.pairs + self.row_overhead * plan.n_windows + self.copy_cost * plan.copied_cells


def reach_of(radius: float, longest: int) -> int:
    """The largest whole number of cells strictly below `radius`, at most `longest`."""
    return longest if radius > longest else math.ceil(radius) - 1


def make_plan(grid: tuple[int, int], reach: int, n_strips: int, n_bands: int) -> TilePlan:
    """A (long, short) grid cut into this many strips and bands, as evenly as possible, at most one per cell."""
    return TilePlan(strips=_spans(grid[0], n_strips, reach), bands=_spans(grid[1], n_bands, reach))


def choose_plan(grid: tuple[int, int], reach: int, n_context: int, model: CostModel) -> TilePlan:
    """The plan of lowest modelled cost whose affinities of a tile with `n_context` frames (float32) fit the budget.

    If no plan fits, the one with the smallest tiles.
    """
    long_cuts, short_cuts = ([_spans(length, parts, reach) for parts in _useful_cuts(length)] for length in grid)
    plans = [TilePlan(strips=strips, bands=bands) for strips, bands in product(long_cuts, short_cuts)]
    fitting = [p for p in plans if 4 * n_context * p.largest_tile <= model.budget_bytes]
    if not fitting:
        return min(plans, key=lambda p: p.largest_tile)
    return min(fitting, key=model.cost)


def _useful_cuts(length: int) -> list[int]:
    """The numbers of parts worth trying: the smallest for each size of the largest part."""
    return sorted({math.ceil(length / size) for size in range(1, length + 1)})


def _spans(length: int, parts: int, reach: int) -> tuple[Span, ...]:
    parts = min(parts, length)
    edges = [i * length // parts for i in range(parts + 1)]
    return tuple(
        Span(start=a, stop=b, window_start=max(0, a - reach), window_stop=min(length, b + reach))
        for a, b in pairwise(edges)
    )
