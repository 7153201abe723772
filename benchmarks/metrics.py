"""DAVIS metrics: J and F by `propagation.metrics` against a direct implementation of the evaluator's definition.

    python benchmarks/metrics.py        # about half a minute, less than 1 GB

The masks are those of demo scenes at 480 x 854 with 2 to 3 objects; a prediction is the true mask of one to five frames
earlier, so that its errors are realistic. The direct implementation takes each frame and object at full size: two
boundary maps by exclusive or, two dilations with a disc, six counts. It is asserted that both give the same digits.
Rounds alternate between the two; the ratio is the median of the rounds' ratios. Compare CPU seconds: wall time depends
on the load of the machine.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from propagation.metrics import boundary_f_measure, region_similarity
from rvm_bench.demo.davis import SEQUENCES, Sequence, fair_scene

TARGET = 3
"""CPU time at least so many times below the direct implementation's."""


def direct_j(gt: np.ndarray, pred: np.ndarray) -> float:
    union = (gt | pred).sum()
    return float((gt & pred).sum() / union) if union else 1.0


def direct_boundary(mask: np.ndarray) -> np.ndarray:
    """Where a pixel differs from its east, south or south-east neighbour; the last row and column have one each."""
    east, south, corner = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    east[:, :-1], south[:-1], corner[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
    boundary = (mask ^ east) | (mask ^ south) | (mask ^ corner)
    boundary[-1] = mask[-1] ^ east[-1]
    boundary[:, -1] = mask[:, -1] ^ south[:, -1]
    boundary[-1, -1] = False
    return boundary


def direct_f(gt: np.ndarray, pred: np.ndarray, tolerance: float = 0.008) -> float:
    radius_px = math.ceil(tolerance * math.hypot(*gt.shape))
    y, x = np.mgrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1]
    disc = (y**2 + x**2 <= radius_px**2).astype(np.uint8)
    gt_boundary, pred_boundary = direct_boundary(gt), direct_boundary(pred)
    near_gt = cv2.dilate(gt_boundary.astype(np.uint8), disc) > 0
    near_pred = cv2.dilate(pred_boundary.astype(np.uint8), disc) > 0
    n_gt, n_pred = gt_boundary.sum(), pred_boundary.sum()
    precision = (pred_boundary & near_gt).sum() / n_pred if n_pred else 1.0
    recall = (gt_boundary & near_pred).sum() / n_gt if n_gt else 1.0
    if n_pred and not n_gt:
        precision = 0.0
    if n_gt and not n_pred:
        recall = 0.0
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def direct(truth: np.ndarray, mask: np.ndarray, objects: int) -> np.ndarray:
    """[n, 2]: J and F of one frame for objects 1..n."""
    pairs = [(truth == i, mask == i) for i in range(1, objects + 1)]
    return np.array([[direct_j(gt, pred), direct_f(gt, pred)] for gt, pred in pairs])


def ours(truth: np.ndarray, mask: np.ndarray, objects: int) -> np.ndarray:
    """The same as the DAVIS task computes it."""
    ids = np.arange(1, objects + 1)[:, None, None]
    gt, pred = truth == ids, mask == ids
    return np.stack([region_similarity(gt, pred), boundary_f_measure(gt, pred)], axis=1)


def mask_pairs(number: int, sequence: Sequence, frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ids [480, 854] of every third frame, true and predicted; predicted are those of one to five frames earlier."""
    scene = fair_scene((0, number), sequence.scene)
    for t in range(5, frames, 3):
        yield tuple(scene.render(time).instances for time in (t, t - 1 - t % 5))


def cpu_seconds(measure: Callable, pairs: list, objects: int) -> tuple[np.ndarray, float]:
    start = time.process_time()
    scores = [measure(truth, mask, objects) for truth, mask in pairs]
    return np.array(scores), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds per sequence")
    options = parser.parse_args()
    cv2.setNumThreads(1)

    print(f"numpy {np.__version__}, OpenCV {cv2.__version__}, one thread; CPU ms per frame, all objects, J and F")
    print("  | sequence      | objects | mask share | direct median | ours median | direct/ours | by round")
    ratios = []
    for number, sequence in enumerate(SEQUENCES):
        pairs = list(mask_pairs(number, sequence, sequence.scene.frames))
        objects = int(max(truth.max() for truth, _ in pairs))
        times: dict[str, list[float]] = {"direct": [], "ours": []}
        for i in range(options.rounds + 1):
            expected, direct_s = cpu_seconds(direct, pairs, objects)
            scores, ours_s = cpu_seconds(ours, pairs, objects)
            assert np.abs(scores - expected).max() <= 1e-12, "not the same digits"
            if i:  # the first round warms up both
                times["direct"].append(1e3 * direct_s / len(pairs))
                times["ours"].append(1e3 * ours_s / len(pairs))
        by_round = [d / o for d, o in zip(times["direct"], times["ours"], strict=True)]
        ratios += by_round
        share = np.mean([truth > 0 for truth, _ in pairs])
        medians = [statistics.median(times[name]) for name in ("direct", "ours")]
        print(
            f"  | {sequence.name:13} | {objects:7} | {share:10.0%} | {medians[0]:13.2f} | {medians[1]:11.2f} | "
            f"{statistics.median(by_round):10.2f}x | {', '.join(f'{ratio:.2f}' for ratio in by_round)}"
        )
    ratio = statistics.median(ratios)
    print("  scores: equal to 1e-12 in every round")
    print(f"  target CPU time {TARGET}x below direct: {'met' if ratio >= TARGET else 'MISSED'} ({ratio:.2f}x)")


if __name__ == "__main__":
    main()
