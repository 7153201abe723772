"""Label propagation: time and memory of `propagation.knn` against the direct algorithm, which forms the whole affinity.

    python benchmarks/propagation.py                       # all four grids: 5 to 8 minutes, 9 GB of free memory
    python benchmarks/propagation.py --grids 30x55x1024    # about one minute, 1.5 GB

Grids are rows x columns x feature width: 30x55x1024 is DAVIS at patch 16, 34x62x1024 at patch 14, 60x110x384 at patch
8, and 20x20x1024 is JHMDB at patch 16. Every figure is for one frame in the steady state (21 distinct context frames,
t > 20: earlier frames are cheaper, since most of their context is frame 0). Timing rounds alternate between the two;
the median and the best round of each are shown, and the ratio is the median of the rounds' ratios. Compare CPU seconds:
wall time depends on the load of the machine. A grid with a target says whether it is met.

Memory (Linux only) is the peak resident size of a fresh process over its first 30 frames (23 above 5000 cells), above
its size before the first, less the 21 context feature maps that any streaming propagation keeps; the total with these
is shown beside it.
"""

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from propagation.knn import Propagator, normalize

TOPK, RADIUS, N_CONTEXT, TEMPERATURE = 7, 20, 20, 0.7
N_LABELS = 5
GRIDS = ["30x55x1024", "34x62x1024", "60x110x384", "20x20x1024"]
TARGETS = {
    "30x55x1024": {"cpu_ratio": 1.5, "working_mb": 100},
    "60x110x384": {"cpu_ratio": 5, "working_mb": 300},
    "20x20x1024": {"cpu_ratio": 1},
}
"""CPU time at least so many times below the direct algorithm's, working memory below so many MB."""
GROUPS = {
    "matrix products": ("aten::mm", "aten::bmm"),
    "maximum over frames": ("aten::amax",),
    "top-k (cells and merge)": ("aten::topk",),
    "copies": ("aten::copy_",),
    "radius mask": ("aten::masked_fill_",),
    "gather and blend": (
        "aten::gather",
        "aten::_embedding_bag",
        "aten::index",
        "aten::index_put_",
        "aten::_index_put_impl_",
    ),
}
"""Operators by self time; what is in none of these (keys, checks, views) is "everything else"."""


class WholeAffinity:
    """The direct algorithm: a frame against all 21 context frames at once, the whole [N, 21 N] affinity in memory."""

    def __init__(self, heat: Tensor):
        h, w, _ = heat.shape
        y, x = (c.flatten().float() for c in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
        distance = ((y[:, None] - y) ** 2 + (x[:, None] - x) ** 2).sqrt()
        self.bias = torch.where(distance < RADIUS, 0.0, -1e10)[:, None]
        self.heat = heat
        self.queue: deque[tuple[Tensor, Tensor]] = deque(maxlen=N_CONTEXT)

    def start(self, feature_map: Tensor) -> None:
        self.first = (feature_map.flatten(0, 1), self.heat.flatten(0, 1))
        self.queue.extend([self.first] * N_CONTEXT)

    def push(self, feature_map: Tensor, soft: Tensor) -> None:
        self.queue.append((feature_map.flatten(0, 1), soft.flatten(0, 1)))

    def predict(self, feature_map: Tensor) -> Tensor:
        context, labels = (torch.stack(part) for part in zip(self.first, *self.queue, strict=True))
        affinity = torch.einsum("qd,snd->qsn", feature_map.flatten(0, 1), context) / TEMPERATURE
        affinity[:, 1:] += self.bias
        values, index = affinity.flatten(1).topk(TOPK, dim=1)
        weights = values.softmax(1)
        return (labels.flatten(0, 1)[index] * weights[:, :, None]).sum(1).view(self.heat.shape)


def smooth_video(h: int, w: int, width: int) -> Iterator[Tensor]:
    """Unit features [h, w, width] of an endless video: smooth in space, turning slowly in time, plus noise of 0.3."""
    generator = torch.Generator().manual_seed(0)

    def smooth_map() -> Tensor:
        coarse = torch.randn(1, width, max(2, h // 5), max(2, w // 5), generator=generator)
        return normalize(F.interpolate(coarse, (h, w), mode="bilinear")[0].permute(1, 2, 0).contiguous())

    start, end = smooth_map(), smooth_map()
    for t in range(1 << 30):
        # In place, so that the peak memory that is measured is not the generator's.
        frame = torch.randn(h, w, width, generator=generator)
        frame.mul_(0.3 / frame.norm(dim=-1, keepdim=True))
        frame.add_(start, alpha=math.cos(0.03 * t)).add_(end, alpha=math.sin(0.03 * t))
        yield frame.div_(frame.norm(dim=-1, keepdim=True))


def new_heat(h: int, w: int) -> Tensor:
    return torch.rand(h, w, N_LABELS, generator=torch.Generator().manual_seed(1)).softmax(-1)


def new_propagator(h: int, w: int) -> Propagator:
    return Propagator(new_heat(h, w), topk=TOPK, radius=RADIUS, n_context=N_CONTEXT, temperature=TEMPERATURE)


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def compare(h: int, w: int, width: int, rounds: int) -> dict:
    """Alternating rounds on the same frames, from a context that both share."""
    video = smooth_video(h, w, width)
    ours, direct = new_propagator(h, w), WholeAffinity(new_heat(h, w))
    for t in range(N_CONTEXT + 2):
        feature_map = next(video)
        soft = ours.step(feature_map)
        if t == 0:
            direct.start(feature_map)
        direct.push(feature_map, soft)
    context = [direct.first, *direct.queue]
    assert len({features.data_ptr() for features, _ in context}) == N_CONTEXT + 1, "not the steady state"

    cpu, wall, difference = {"ours": [], "direct": []}, {"ours": [], "direct": []}, 0.0
    for i in range(rounds + 1):
        feature_map = next(video)
        soft, ours_cpu, ours_wall = timed(lambda frame=feature_map: ours.step(frame))
        reference, direct_cpu, direct_wall = timed(lambda frame=feature_map: direct.predict(frame))
        direct.push(feature_map, reference)
        difference = max(difference, float((soft - reference).abs().max()))
        if i:  # the first round warms up both
            for name, c, s in (("ours", ours_cpu, ours_wall), ("direct", direct_cpu, direct_wall)):
                cpu[name].append(c)
                wall[name].append(s)
    return {
        "cpu_s": cpu,
        "wall_s": wall,
        "cpu_ratios": [d / o for d, o in zip(cpu["direct"], cpu["ours"], strict=True)],
        "wall_ratios": [d / o for d, o in zip(wall["direct"], wall["ours"], strict=True)],
        "max_difference": difference,
        "parts_ms": profile_parts(ours, [next(video) for _ in range(2)]),
        "products": compare_with_one_product(ours, h, w, width),
    }


def profile_parts(propagator: Propagator, frames: list[Tensor]) -> dict[str, float]:
    """Milliseconds per frame by group of operators, wall time: only the shares mean something on a busy machine."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for frame in frames:
            propagator.step(frame)
    times = {event.key: event.self_cpu_time_total / 1e3 / len(frames) for event in profiler.key_averages()}
    parts = {group: math.fsum(times.get(key, 0.0) for key in keys) for group, keys in GROUPS.items()}
    parts["everything else"] = sum(times.values()) - sum(parts.values())
    return parts


def compare_with_one_product(propagator: Propagator, h: int, w: int, width: int) -> dict:
    """CPU seconds of one matrix product with as many multiplications as the exact disc needs, and as the tiles do."""
    n = h * w
    y, x = (c.flatten() for c in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    in_disc = sum(int(((y - y[i]) ** 2 + (x - x[i]) ** 2 < RADIUS**2).sum()) for i in range(n))
    result: dict[str, object] = {"strips": len(propagator.plan.strips), "bands": len(propagator.plan.bands)}
    queries = torch.randn(n, width)
    for name, queue_pairs in (("disc", in_disc), ("tiles", propagator.plan.pairs)):
        columns = round((N_CONTEXT * queue_pairs + n * n) / n)
        keys = torch.randn(columns, width)
        out = torch.empty(n, columns)
        seconds = min(timed(lambda k=keys, o=out: torch.mm(queries, k.T, out=o))[1] for _ in range(3))
        result[name] = {"gflop": 2e-9 * n * columns * width, "cpu_s": seconds}
        del keys, out
    return result


def resident_bytes(field: str) -> int:
    """Resident size of this process now ("VmRSS") or at its peak ("VmHWM"); Linux only.

    Not `resource.ru_maxrss`: a child starts with its parent's peak there, which hides everything smaller.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def start_variant(variant: str, h: int, w: int) -> Callable[[Tensor], Tensor]:
    """A function that takes the next frame. The direct one is given its context with arbitrary labels, to save time."""
    if variant == "ours":
        return new_propagator(h, w).step
    direct, seen = WholeAffinity(new_heat(h, w)), itertools.count()

    def step(frame: Tensor) -> Tensor:
        t = next(seen)
        if t == 0:
            direct.start(frame)
        soft = direct.predict(frame) if t > N_CONTEXT else direct.heat
        direct.push(frame, soft)
        return soft

    return step


def worker(variant: str, grid: str, n_frames: int) -> dict:
    """Runs in its own process: peak memory of one variant over so many frames, time of early and late steady ones."""
    h, w, width = map(int, grid.split("x"))
    step = start_variant(variant, 4, 4)
    for frame in itertools.islice(smooth_video(4, 4, 8), N_CONTEXT + 3):
        step(frame)  # loads the code of every operator, so that it is not counted below
    video = smooth_video(h, w, width)
    next(video)
    before, seconds = resident_bytes("VmRSS"), []
    step = start_variant(variant, h, w)
    for _ in range(n_frames):
        frame = next(video)
        seconds.append(timed(lambda f=frame: step(f))[1])
    extra = resident_bytes("VmHWM") - before
    context = 4 * (N_CONTEXT + 1) * h * w * width
    return {
        "extra_mb": extra / 1e6,
        "working_mb": (extra - context) / 1e6,
        "early_cpu_s": statistics.median(seconds[N_CONTEXT + 1 : N_CONTEXT + 9]),
        "late_cpu_s": statistics.median(seconds[-8:]),
    }


def in_own_process(variant: str, grid: str, n_frames: int, threads: int) -> dict:
    command = [sys.executable, __file__, "--worker", variant, grid, str(n_frames), "--threads", str(threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def report(grid: str, result: dict) -> None:
    cpu, wall, memory = result["cpu_s"], result["wall_s"], result["memory"]
    print(f"\n{grid}: one steady-state frame, {N_CONTEXT + 1} distinct context frames, {len(cpu['ours'])} rounds")
    print("  |             | CPU s median | best  | wall s median | working MB | with context MB |")
    for name in ("direct", "ours"):
        times = f"{statistics.median(cpu[name]):12.3f} | {min(cpu[name]):5.3f} | {statistics.median(wall[name]):13.3f}"
        m = memory[name]
        print(f"  | {name:11} | {times} | {m['working_mb']:10.0f} | {m['extra_mb']:15.0f} |")
    in_time = [
        statistics.median(result["cpu_ratios"]),
        min(cpu["direct"]) / min(cpu["ours"]),
        statistics.median(result["wall_ratios"]),
    ]
    in_memory = [memory["direct"][key] / memory["ours"][key] for key in ("working_mb", "extra_mb")]
    cells = [f"{value:{width}.2f}x" for value, width in zip(in_time + in_memory, (11, 4, 12, 9, 14), strict=True)]
    print(f"  | direct/ours | {' | '.join(cells)} |")
    print(f"  CPU ratio by round: {', '.join(f'{ratio:.2f}' for ratio in result['cpu_ratios'])}")
    agreement = "equal" if result["max_difference"] <= 1e-5 else "NOT EQUAL"
    print(f"  soft labels: max |difference| {result['max_difference']:.1e} ({agreement} to 1e-5)")
    total = math.fsum(result["parts_ms"].values())
    parts = ", ".join(f"{name} {part / total:.0%}" for name, part in result["parts_ms"].items())
    print(f"  where the time goes: {parts}")
    products = result["products"]
    print(f"  plan: {products['strips']} strips x {products['bands']} bands")
    for name, label in (("disc", "exact disc"), ("tiles", "tiles")):
        one = products[name]
        print(
            f"  one plain product of the size of the {label} ({one['gflop']:.0f} GFLOP): "
            f"{one['cpu_s']:.3f} CPU s; ours takes {min(cpu['ours']) / one['cpu_s']:.2f}x that"
        )
    ours, disc, tiles = min(cpu["ours"]), products["disc"]["cpu_s"], products["tiles"]["cpu_s"]
    in_products = ours * result["parts_ms"]["matrix products"] / total
    print(
        f"  ours {ours:.3f} s = {disc:.3f} exact disc {tiles - disc:+.3f} corners of the tiles outside the disc "
        f"{in_products - tiles:+.3f} many small products for one large {ours - in_products:+.3f} selection and blending"
    )
    for name, wanted in TARGETS.get(grid, {}).items():
        found = in_time[0] if name == "cpu_ratio" else memory["ours"][name]
        met = found >= wanted if name == "cpu_ratio" else found < wanted
        text = f"CPU time {wanted}x below direct" if name == "cpu_ratio" else f"working memory below {wanted} MB"
        print(f"  target {text}: {'met' if met else 'MISSED'} ({found:.2f}{'x' if name == 'cpu_ratio' else ' MB'})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", nargs="+", default=GRIDS, metavar="HxWxD")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds per grid (3 at most above 5000 cells)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure here")
    parser.add_argument("--worker", nargs=3, metavar=("VARIANT", "GRID", "FRAMES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.worker:
        variant, grid, n_frames = options.worker
        print(json.dumps(worker(variant, grid, int(n_frames))))
        return

    print(f"torch {torch.__version__}, {options.threads} thread(s), top-{TOPK}, radius {RADIUS}")
    figures = {}
    for grid in options.grids:
        h, w, width = map(int, grid.split("x"))
        rounds = min(options.rounds, 3) if h * w > 5000 else options.rounds
        n_frames = N_CONTEXT + (3 if h * w > 5000 else 10)
        memory = {v: in_own_process(v, grid, n_frames, options.threads) for v in ("direct", "ours")}
        figures[grid] = {**compare(h, w, width, rounds), "memory": memory}
        report(grid, figures[grid])

    print("\n20x20x384, growth with the video's length (ours, one process per length)")
    print("  | frames | CPU ms, 8 first steady | CPU ms, 8 last | with context MB |")
    figures["growth"] = {}
    for n_frames in (30, 60, 120, 240):
        g = figures["growth"][n_frames] = in_own_process("ours", "20x20x384", n_frames, options.threads)
        times = f"{1e3 * g['early_cpu_s']:22.1f} | {1e3 * g['late_cpu_s']:14.1f}"
        print(f"  | {n_frames:6} | {times} | {g['extra_mb']:15.1f} |")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
