"""Cost of fitting readouts: fractions and ratios, on a CPU, at the shapes of RVM-S on Something-Something v2.

    python benchmarks/readouts.py --rounds 5

One process, 1 thread, random weights, float32: clips of 16 frames at 224 px, so 16 x 196 tokens of 384 channels, and
the SSv2 head (768 channels, 12 heads, one learned query, 174 classes). Every round times each item once, in rotating
order. Times are CPU seconds of the process; ratios are medians over rounds of the ratio within a round, so that load on
the machine affects both sides. A step is forward, backward and update.

    encoder share      frozen forward / (frozen forward + step), of 1 and of 8 readouts
    8 at once          (forward + step of 8) / (forward + step of 1); target: below 1.5
    8 apart            8 (forward + step of 1) / (forward + step of 8): the gain of sharing
    folded             step of a single query, not folded / folded; target: 3, with equal outputs and gradients
    cached             (forward + step) / (read from the store + step); target: 12
    store, first       rate of reading and verifying clips of a freshly opened store / of copying them from a freshly
                       opened raw memory map, both into allocated memory; target: 0.8, which a pass that reads all
                       bytes twice can hardly reach
    store, later       the same with the shards open: every later epoch (bytes are verified at every read)
    xxhash, crc32      rates of the store's checksum (XXH3) and of zlib's CRC-32 / of the raw map

Reads come from the page cache: a disk is slower than any of them.

Cost: a bit more than a minute at these defaults, of which the frozen forward of RVM-S takes three quarters.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xxhash
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from readouts.fitting.feature_store import Cache, FeatureStore
from readouts.fitting.features import FrozenFeatures, encode_clips
from readouts.fitting.optim import FitConfig, StackedAdamW
from readouts.heads.attention import AttentionReadout, ReadoutConfig
from readouts.losses import cross_entropy
from rvm_bench.rvm.models import RVM_S

FRAMES, SIDE_PX = 16, 224
HEAD = ReadoutConfig(frames=FRAMES, channels=384, params=768, heads=12, outputs=174, queries=1)
SHAPE = (FRAMES, (SIDE_PX // 16) ** 2, 384)


class Head:
    """Readouts with their optimiser."""

    def __init__(self, replicas: int, *, fold: bool = True) -> None:
        self.module = AttentionReadout(HEAD, replicas=replicas, fold=fold, seeds=tuple(range(replicas)))
        self.optimiser = StackedAdamW(self.module, replicas, FitConfig())
        self.replicas = replicas

    def gradients(self, features: Tensor, labels: Tensor) -> Tensor:
        self.optimiser.gradient.zero_()
        outputs = self.module(features)
        total, count = cross_entropy(outputs if self.replicas > 1 else outputs[None], {"label": labels})
        (total.sum() / count).backward()
        return outputs.detach()

    def step(self, features: Tensor, labels: Tensor) -> None:
        self.gradients(features, labels)
        self.optimiser.step([1e-5] * self.replicas)


class StoreAndRaw:
    """A store of `count` clips, and the same bytes to be read without it."""

    def __init__(self, folder: Path, count: int, batch: int) -> None:
        self.cache = Cache(folder=folder)
        self.keys = [f"clip {index}" for index in range(count)]
        self.groups = [self.keys[start : start + batch] for start in range(0, count, batch)]
        store = self.open()
        for key in self.keys:
            store.add(key, torch.randn(SHAPE).bfloat16())
        store.flush()
        (self.file,) = store.folder.glob("*.safetensors")
        self.clip_bytes = int(np.prod(SHAPE)) * 2
        self.start = self.file.stat().st_size - count * self.clip_bytes
        self.batch = batch
        self.content = np.fromfile(self.file, np.uint8)[self.start :]
        self.buffer = np.empty((batch, self.clip_bytes), np.uint8)

    def open(self) -> FeatureStore:
        return FeatureStore(self.cache, {"benchmark": 1})

    def read(self, features: FrozenFeatures) -> None:
        for group in self.groups:
            features(group, _never, SHAPE)

    def map(self) -> np.ndarray:
        return np.memmap(self.file, np.uint8, "r", offset=self.start).reshape(-1, self.clip_bytes)

    def copy(self, raw: np.ndarray) -> None:
        for start in range(0, len(raw), self.batch):
            for position, clip in enumerate(raw[start : start + self.batch]):
                self.buffer[position] = clip


def _never(position: int) -> np.ndarray:
    raise SystemExit("a clip that was stored is missing; nothing was measured")


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def agreement(features: Tensor, labels: Tensor) -> tuple[float, float]:
    """Largest difference of outputs, and of gradients relative to the largest, with and without folding."""
    folded, plain = Head(1), Head(1, fold=False)
    outputs = (folded.gradients(features, labels) - plain.gradients(features, labels)).abs().max()
    difference = (folded.optimiser.gradient - plain.optimiser.gradient).abs().max()
    return float(outputs), float(difference / plain.optimiser.gradient.abs().max())


def measure(rounds: int, batch: int, folder: Path) -> tuple[dict[str, float], dict[str, list[float]]]:
    """(other facts, name -> CPU seconds of each round)."""
    encoder = RVM_S(weights="random").at("readout")
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (batch, FRAMES, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    labels = torch.from_numpy(rng.integers(0, 174, batch))
    features = encode_clips(encoder, clips)
    outputs, gradients = agreement(features, labels)
    if not max(outputs, gradients) <= 1e-4:
        raise SystemExit(f"folded and plain differ by {outputs:.1e} and {gradients:.1e}; nothing was measured")
    one, eight, plain = Head(1), Head(8), Head(1, fold=False)
    stored = StoreAndRaw(folder, count=96, batch=batch * 8)
    reader = FrozenFeatures(encoder, stored.open())
    last: dict[str, np.ndarray] = {}

    def first_read() -> None:
        reader.store = stored.open()
        stored.read(reader)

    def first_copy() -> None:
        last["raw"] = raw = stored.map()
        stored.copy(raw)

    contestants: dict[str, Callable[[], object]] = {
        "forward": lambda: encode_clips(encoder, clips),
        "step of 1": lambda: one.step(features, labels),
        "step of 8": lambda: eight.step(features, labels),
        "plain step": lambda: plain.step(features, labels),
        "store first": first_read,
        "store later": lambda: stored.read(reader),
        "raw first": first_copy,
        "raw later": lambda: stored.copy(last["raw"]),
        "xxhash": lambda: xxhash.xxh3_64_digest(stored.content.data),
        "crc32": lambda: zlib.crc32(stored.content.data),
    }
    for work in contestants.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        names = list(contestants)
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(cpu_seconds(contestants[name]))
    facts = {
        "outputs_differ": outputs,
        "gradients_differ": gradients,
        "gb": len(stored.content) / 1e9,
        "read_share": batch / len(stored.keys),
    }
    return facts, seconds


def ratios(facts: dict[str, float], seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    """Every reported ratio, round by round."""
    found: dict[str, list[float]] = {}
    for values in zip(*seconds.values(), strict=True):
        s = dict(zip(seconds, values, strict=True))
        forward, read = s["forward"], s["store later"] * facts["read_share"]
        row = {
            "encoder share, 1 readout": forward / (forward + s["step of 1"]),
            "encoder share, 8 readouts": forward / (forward + s["step of 8"]),
            "8 at once": (forward + s["step of 8"]) / (forward + s["step of 1"]),
            "8 apart": 8 * (forward + s["step of 1"]) / (forward + s["step of 8"]),
            "8 at once, features given": s["step of 8"] / s["step of 1"],
            "folded": s["plain step"] / s["step of 1"],
            "cached, 1 readout": (forward + s["step of 1"]) / (read + s["step of 1"]),
            "cached, 8 readouts": (forward + s["step of 8"]) / (read + s["step of 8"]),
            "store, first": s["raw first"] / s["store first"],
            "store, later": s["raw later"] / s["store later"],
            "xxhash": s["raw later"] / s["xxhash"],
            "crc32": s["raw later"] / s["crc32"],
        }
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4, help="clips of a step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    with tempfile.TemporaryDirectory() as folder:
        facts, seconds = measure(arguments.rounds, arguments.batch, Path(folder))
    found = ratios(facts, seconds)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread, batches of {arguments.batch} clips")
    for name, values in seconds.items():
        rate = f"  {facts['gb'] / statistics.median(values):6.1f} GB/s" if name not in list(seconds)[:4] else ""
        print(f"{name:26} {1e3 * statistics.median(values):9.1f} ms{rate}")
    for name, values in found.items():
        print(f"{name:26} {statistics.median(values):9.2f}    rounds {min(values):.2f} to {max(values):.2f}")
    print(
        f"folded and plain differ by {facts['outputs_differ']:.0e} in outputs, {facts['gradients_differ']:.0e} of the "
        "largest gradient"
    )
    if arguments.json:
        report = {"torch": torch.__version__, **facts, "seconds": seconds, "ratios": found}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
