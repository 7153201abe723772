"""How well clusters of features find an object whose true mask is known: IoU over time, and what it is worth.

One cluster stands for the object, the same in all frames: a model that gives the object another cluster half way has
not followed it (paper Fig. 6 shows VideoMAE's reassignments). It is the cluster with the best mean over the frames that
count, so any labelling does a little better than chance; the floors say what chance comes to.
"""

from dataclasses import dataclass

import numpy as np

from rvm_bench.viz.maps import cell_sums

SETTLED = 3
"""Frames that do not count in a mean: the paper's figure begins with the 4th, as nothing has moved in the first."""


@dataclass(frozen=True, kw_only=True)
class Separation:
    """IoU in [0, 1] of a cluster and an object, in pixels.

    Attributes:
        cluster: the one that stands for the object.
        iou: float64 [T], of that cluster.
        ceiling: float64 [T], of the best choice of cells in every frame: what the grid leaves to anyone.
        coin: expected where a fair coin decides for every cell, for many cells.
        constant: where everything is called the object.
        still: of the best choice of cells that is the same in all frames. Clusters that show places, not things, reach
            this at most.
    """

    cluster: int
    iou: np.ndarray
    ceiling: np.ndarray
    coin: float
    constant: float
    still: float

    @property
    def mean(self) -> float:
        """Mean IoU over the frames that count."""
        return float(settled(self.iou).mean())


def separation(labels_Thw: np.ndarray, truth_THW: np.ndarray, patch: int) -> Separation:
    """How well one of the clusters matches the truth.

    Args:
        labels_Thw: int, cluster of every cell.
        truth_THW: bool, the object; it is in every frame.
        patch: side of a cell in pixels. The pixels beyond the last whole patch belong to the last cells.
    """
    grid_hw = labels_Thw.shape[1:]
    covered = cell_sums(truth_THW, patch, grid_hw)
    area = cell_sums(np.ones_like(truth_THW[:1]), patch, grid_hw)[0]
    object_T = truth_THW.sum(axis=(1, 2))
    all_iou = [_iou(covered, area, object_T, labels_Thw == c) for c in range(int(labels_Thw.max()) + 1)]
    cluster = int(np.argmax([settled(iou).mean() for iou in all_iou]))
    share = settled(object_T / truth_THW[0].size)
    return Separation(
        cluster=cluster,
        iou=all_iou[cluster],
        ceiling=np.array([_best_cells(covered[t : t + 1], area, object_T[t : t + 1]) for t in range(len(labels_Thw))]),
        coin=float((share / (1 + share)).mean()),
        constant=float(share.mean()),
        still=_best_cells(settled(covered), area, settled(object_T)),
    )


def settled(per_frame: np.ndarray) -> np.ndarray:
    """The frames that count: all but the first `SETTLED`, or all where there are no others."""
    return per_frame[SETTLED:] if len(per_frame) > SETTLED else per_frame


def _iou(covered_Thw: np.ndarray, area_hw: np.ndarray, object_T: np.ndarray, chosen_Thw: np.ndarray) -> np.ndarray:
    both = (covered_Thw * chosen_Thw).sum(axis=(1, 2))
    return both / (object_T + (area_hw * chosen_Thw).sum(axis=(1, 2)) - both)


def _best_cells(covered_Thw: np.ndarray, area_hw: np.ndarray, object_T: np.ndarray) -> float:
    """The best mean IoU of one choice of cells for all these frames, among the choices of the most covered ones.

    For a single frame no other choice is better. For several it is the best that taking cells by how often they are
    covered gives.
    """
    order = np.argsort(-(covered_Thw.sum(axis=0) / area_hw).ravel(), kind="stable")
    both_TN = covered_Thw.reshape(len(covered_Thw), -1)[:, order].cumsum(axis=1)
    chosen_N = area_hw.ravel()[order].cumsum()
    return float((both_TN / (object_T[:, None] + chosen_N - both_TN)).mean(axis=0).max())
