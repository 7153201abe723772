"""A training step of RVM: what its two savings save, its share of the machine's peak, and what a training costs.

    OMP_NUM_THREADS=1 python benchmarks/train_step.py --sizes s --rounds 5
    python benchmarks/train_step.py --table          # only the predicted costs; computes nothing

One process, 256 x 256 frames, random weights and pixels. A step is the loss, its gradients, clipping and AdamW. Every
round times, one after the other and in turning order: the step, the step with keys and values projected for every
target, the step with hidden patches in the ViT as well, and one large `torch.mm`, the machine's peak. Ratios are
medians over rounds of each round's ratio, so that a busy machine moves both sides. The losses of all must agree:
relatively to 1e-5, in bfloat16 to 1e-2.

Times are CPU seconds of the process, on a GPU (`--device cuda --dtype bfloat16 --batch 32`) wall seconds. FLOPs are
those of `rvm_bench.rvm.train.cost`.

Cost: two minutes of a core of 160 GFLOP/s for S at these defaults, and 3 GB. Expected: 1.3x or more for both savings
together at S, where the FLOPs give 1.42x.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rvm_bench.rvm import masking
from rvm_bench.rvm.torch.objective import loss, recompute_blocks
from rvm_bench.rvm.train import cost
from rvm_bench.rvm.train.recipes import Recipe, find_recipe
from rvm_bench.rvm.train.torch.untrained import untrained

VARIANTS = {
    "ours": {},
    "keys per target": {"share_keys": False},
    "neither": {"visible_only": False, "share_keys": False},
}
PEAK = "mm"
AGREE = {"float32": 1e-5, "bfloat16": 1e-2}
MM_SIDE = {"cpu": 2048, "cuda": 8192}


class Step:
    """One training step of a recipe on random clips that stay where they are."""

    def __init__(self, recipe: Recipe, clips: int, device: torch.device, recompute: bool) -> None:
        self.recipe, self.device = recipe, device
        self.model = untrained(recipe.model, recipe.aggregator).to(device)
        recompute_blocks(self.model, recompute)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.0, weight_decay=0.0, fused=True)
        side, rng = recipe.size_px, np.random.default_rng(0)
        grid = (side // recipe.model.patch, side // recipe.model.patch)
        frames = rng.integers(0, 256, (clips, recipe.source_frames + recipe.targets, side, side, 3), dtype=np.uint8)
        source, target = np.split(frames, [recipe.source_frames], axis=1)
        deltas = rng.integers(recipe.delta_min, recipe.delta_max + 1, (clips, recipe.targets))
        inds_restore, _ = masking.draw(grid, seed=0, batch=clips, targets=recipe.targets, shared=False)
        arrays = {"source": source, "target": target, "deltas": deltas, "inds_restore": inds_restore}
        self.batch = {name: torch.tensor(array, device=device) for name, array in arrays.items()}

    def __call__(self, **savings: bool) -> float:
        """The loss. The rate is 0, so that it is the same every time."""
        self.optimizer.zero_grad()
        value, _ = loss(self.model, self.batch, dtype=getattr(torch, self.recipe.dtype), **savings)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        return value.item()


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """CPU seconds of the process; on a GPU wall seconds until all is done."""
    if device.type == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(arguments.device)
    recipe = dataclasses.replace(find_recipe(f"rvm_{size}"), dtype=arguments.dtype)
    step = Step(recipe, arguments.batch, device, arguments.recompute)
    side = MM_SIDE[device.type]
    left, right = torch.randn(2, side, side, device=device, dtype=getattr(torch, arguments.dtype))

    losses = {name: step(**savings) for name, savings in VARIANTS.items()}
    if not max(losses.values()) - min(losses.values()) <= AGREE[arguments.dtype] * max(losses.values()):
        raise SystemExit(f"losses differ: {losses}; there is nothing to compare")

    contestants: dict[str, Callable[[], object]] = {
        name: (lambda savings=savings: step(**savings)) for name, savings in VARIANTS.items()
    }
    contestants[PEAK] = lambda: torch.mm(left, right)
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for turn in range(arguments.rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            taken[name].append(seconds(contestants[name], device))

    flops = 3 * arguments.batch * cost.forward_flops(recipe).total
    rates = [flops / ours / (2 * side**3 / mm) for ours, mm in zip(taken["ours"], taken[PEAK], strict=True)]

    def slower(name: str) -> float:
        return statistics.median(other / ours for other, ours in zip(taken[name], taken["ours"], strict=True))

    full = {name: cost.forward_flops(recipe, **savings).total for name, savings in VARIANTS.items()}
    ours = statistics.median(taken["ours"])
    return {
        "size": size,
        "gflop": flops / 1e9,
        "step_s": ours,
        "clips_per_s": arguments.batch / ours,
        "gflop_per_s": flops / ours / 1e9,
        "share_of_peak": statistics.median(rates),
        "keys_ratio": slower("keys per target"),
        "keys_flop_ratio": full["keys per target"] / full["ours"],
        "neither_ratio": slower("neither"),
        "neither_flop_ratio": full["neither"] / full["ours"],
        "seconds": taken,
    }


def print_table() -> None:
    """Predicted FLOPs, memory and days of the released sizes, as Markdown."""
    clips = {"h100": 32, "tpu-v6e": 8}
    print("| recipe | GFLOP per clip, forward | FLOPs in all | devices | days at 25 % | days at 40 % | GB per device |")
    print("|---|---|---|---|---|---|---|")
    for name in ("rvm_s", "rvm_b", "rvm_l", "rvm_h"):
        recipe = find_recipe(name)
        for key, device in cost.DEVICES.items():
            count = recipe.batch // clips[key]
            days = [cost.device_hours(recipe, device, mfu) / count / 24 for mfu in (0.25, 0.4)]
            plain, recomputed = (
                cost.memory(recipe, clips=clips[key], shards=count, recompute=recompute).total / 1e9
                for recompute in (False, True)
            )
            print(
                f"| {name} | {cost.forward_flops(recipe).total / 1e9:.0f} | {cost.total_flops(recipe):.2e} "
                f"| {count} x {device.label} | {days[0]:.2f} | {days[1]:.2f} "
                f"| {plain:.1f} ({recomputed:.1f} recomputing) of {device.memory / 1e9:.0f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="s", help="comma-separated: s, b, l, h, demo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1, help="clips of a step")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the matrix products")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--recompute", action="store_true", help="keep only the inputs of blocks")
    parser.add_argument("--table", action="store_true", help="print the predicted costs, and measure nothing")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    arguments = parser.parse_args()
    if arguments.table:
        print_table()
        return
    torch.set_num_threads(arguments.threads)

    rows = []
    print("size  GFLOP/step  step s  clips/s  GFLOP/s  of peak  keys per target (FLOPs)  neither (FLOPs)")
    for size in arguments.sizes.split(","):
        row = measure(size, arguments)
        rows.append(row)
        line = (
            "{size:4}  {gflop:10.0f}  {step_s:6.2f}  {clips_per_s:7.2f}  {gflop_per_s:7.0f}  {share_of_peak:7.2f}  "
            "{keys_ratio:15.2f}x ({keys_flop_ratio:4.2f}x)  {neither_ratio:7.2f}x ({neither_flop_ratio:4.2f}x)"
        )
        print(line.format(**row), flush=True)
    if arguments.json:
        settings = {name: value for name, value in vars(arguments).items() if name not in ("json", "table")}
        arguments.json.write_text(json.dumps({"torch": torch.__version__, **settings, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
