"""RVM's forward pass on a CPU: against a direct frame-by-frame implementation, and against the machine's own rate.

    python benchmarks/rvm_forward.py --sizes s,b --rounds 7 --frames 8

One process, 1 thread, 256 x 256 frames, random weights, float32. Every round times, one after the other and in turning
order: the direct implementation written below, ours, and `torch.mm` alone at the very shapes of our matrix products.
Times are CPU seconds of the process per frame, and what is printed is the median over rounds of each round's ratio, so
that a busy machine moves both sides. The two implementations must agree to 1e-4.

Cost: about 1 minute for S and 4 for B at these defaults on one core of 150 GFLOP/s, 1.5 GB of memory. Expected: at
least 1.15x the direct implementation at S, and a share of the matrix-multiply rate of about 0.85 at S and more at B.
"""

import argparse
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.models import RVM_B, RVM_H, RVM_L, RVM_S
from rvm_bench.rvm.torch.encoder import build

MODELS = {"s": RVM_S, "b": RVM_B, "l": RVM_L, "h": RVM_H}
SIDE_PX = 256
Gemm = tuple[int, int, int]  # rows, inner, columns


class DirectRVM:
    """Frame by frame, as the released port goes: positions rebuilt for every frame, position by position in Python;
    query, key and value apart; softmax attention written out. tanh GELU, so that outputs can be compared."""

    def __init__(self, arrays: dict[str, np.ndarray], config: RVMConfig) -> None:
        self.config = config
        self.tensors: dict[str, Tensor] = {}
        for name, array in arrays.items():
            inputs = math.prod(array.shape[:-1]) if name.endswith(("out/kernel", "Conv_0/kernel")) else array.shape[0]
            tensor = torch.from_numpy(array)
            if name.endswith("Conv_0/kernel"):
                tensor = tensor[0].permute(3, 2, 0, 1).contiguous()
            elif name.endswith("/kernel"):
                tensor = tensor.reshape(inputs, -1).T.contiguous()
            self.tensors[name] = tensor.flatten() if name.endswith("/bias") else tensor

    def __call__(self, frames: Tensor) -> Tensor:
        """[T, 3, H, W] in [0, 1] -> [T, 1 + N, D]."""
        state, features = None, []
        for frame in frames:
            state = self.step(frame[None], state)
            features.append(state[0])
        return torch.stack(features)

    def step(self, frame: Tensor, state: Tensor | None) -> Tensor:
        patch = "tokenizer/patch_embedding/Conv_0"
        tokens = F.conv2d(frame, self.tensors[f"{patch}/kernel"], self.tensors[f"{patch}/bias"], stride=self.config.patch)
        tokens = tokens.flatten(2).transpose(1, 2) + self.positions(tokens.shape[-2] * tokens.shape[-1])
        x = torch.cat([self.tensors["cls_token"][None], tokens], dim=1)
        for block in (f"encoder/layers_{index}" for index in range(self.config.layers)):
            normed = self.norm(f"{block}/attention_norm", x)
            x = x + self.attention(f"{block}/attention", normed, normed, self.config.heads)
            x = x + self.mlp(f"{block}/mlp", self.norm(f"{block}/mlp_norm", x))
        x = self.norm("encoder/LayerNorm_0", x)

        state = torch.zeros_like(x) if state is None else state
        update = torch.sigmoid(self.gate("input_update", x) + self.gate("state_update", state))
        reset = torch.sigmoid(self.gate("input_reset", x) + self.gate("state_reset", state))
        scale = self.tensors["rnn_core/state_layer_norm/scale"]
        context = reset * F.layer_norm(state, scale.shape, scale, None, 1e-4)
        for block in (f"rnn_core/transformer/xa_blocks_{index}" for index in range(self.config.core_layers)):
            normed = self.norm(f"{block}/ca_attention_norm", x)
            x = x + self.attention(f"{block}/ca_attention", normed, context, self.config.core_heads)
            x = x + self.mlp(f"{block}/mlp", self.norm(f"{block}/mlp_norm", x))
            normed = self.norm(f"{block}/attention_norm", x)
            x = x + self.attention(f"{block}/attention", normed, normed, self.config.core_heads)
        return (1 - update) * state + update * self.norm("rnn_core/transformer/output_norm", x)

    def positions(self, count: int) -> Tensor:
        width = self.config.width
        rows = [[p / math.pow(10000, 2 * (j // 2) / width) for j in range(width)] for p in range(count)]
        table = np.array(rows)
        table[:, 0::2] = np.sin(table[:, 0::2])
        table[:, 1::2] = np.cos(table[:, 1::2])
        return torch.from_numpy(table.astype(np.float32))

    def dense(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.tensors[f"{name}/kernel"], self.tensors[f"{name}/bias"])

    def gate(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.tensors[f"rnn_core/{name}/kernel"])

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.tensors[f"{name}/scale"], self.tensors[f"{name}/bias"], 1e-6)

    def mlp(self, name: str, x: Tensor) -> Tensor:
        return self.dense(f"{name}/dense_out", F.gelu(self.dense(f"{name}/dense_in", x), approximate="tanh"))

    def attention(self, name: str, x: Tensor, context: Tensor, heads: int) -> Tensor:
        query, key, value = (
            self.dense(f"{name}/{part}", source).unflatten(-1, (heads, -1)).transpose(1, 2)
            for part, source in (("query", x), ("key", context), ("value", context))
        )
        logits = (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)
        return self.dense(f"{name}/out", (torch.softmax(logits, dim=-1) @ value).transpose(1, 2).flatten(2))


def gemms(config: RVMConfig, frames: int, chunk: int) -> Counter[Gemm]:
    """Every matrix product of our forward pass over `frames` frames, as (rows, inner, columns) and how often.

    Summed, 2 * rows * inner * columns is the formula L (8 N D^2 + 4 N D M + 4 N^2 D) for the encoder, the patch
    embedding, and 8 N D^2 + 4 (16 N D^2 + 4 N D M' + 8 N^2 D) for the core, per frame.
    """
    shapes: Counter[Gemm] = Counter()
    width, patches = config.width, (SIDE_PX // config.patch) ** 2
    tokens = patches + 1

    def attention(heads: int, times: int) -> None:
        shapes[tokens, width // heads, tokens] += times * heads
        shapes[tokens, tokens, width // heads] += times * heads

    for start in range(0, frames, chunk):
        together = min(chunk, frames - start)
        rows = together * tokens
        shapes[together * patches, config.patch**2 * 3, width] += 1
        shapes[rows, width, 2 * width] += 1  # input side of both gates
        for columns_of, inner in ((3 * width, width), (width, width), (config.mlp, width), (width, config.mlp)):
            shapes[rows, inner, columns_of] += config.layers
        attention(config.heads, together * config.layers)
    shapes[tokens, width, 2 * width] += frames  # state side of both gates
    shapes[tokens, width, config.core_layers * 2 * width] += frames  # keys and values of all cross-attentions
    blocks = frames * config.core_layers
    for inner, columns in ((width, width), (width, width), (width, width), (width, 3 * width)):
        shapes[tokens, inner, columns] += blocks  # query, two outputs, fused query-key-value
    shapes[tokens, width, config.core_mlp] += blocks
    shapes[tokens, config.core_mlp, width] += blocks
    attention(config.core_heads, 2 * blocks)
    return shapes


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def gemm_seconds(shapes: Counter[Gemm]) -> float:
    """CPU seconds of these products with `torch.mm` alone: warm operands, no bias, a ready output."""
    total = 0.0
    for (rows, inner, columns), times in shapes.items():
        x, weight, out = torch.randn(rows, inner), torch.randn(columns, inner).t(), torch.empty(rows, columns)
        torch.mm(x, weight, out=out)
        repeats = max(3, min(times, int(2e9 / (2 * rows * inner * columns))))
        total += times / repeats * cpu_seconds(lambda: [torch.mm(x, weight, out=out) for _ in range(repeats)])  # noqa: B023
    return total


@torch.inference_mode()
def measure(size: str, rounds: int, frames: int) -> dict[str, float | str | list[float]]:
    model = MODELS[size]
    config = checkpoint.SIZES[model.card.name]
    arrays = checkpoint.random_arrays(config, seed=0)
    direct, ours = DirectRVM(arrays, config), build(model.card, "random", seed=0)
    video = np.random.default_rng(0).integers(0, 256, (frames, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    pixels = torch.from_numpy(video).permute(0, 3, 1, 2).float() / 255
    shapes = gemms(config, frames, ours.chunk)
    gflop = sum(2 * math.prod(shape) * times for shape, times in shapes.items()) / frames / 1e9

    difference = float(np.abs(ours.encode(video) - direct(pixels)[:, 1:].unflatten(1, (16, 16)).numpy()).max())
    if not difference <= 1e-4:
        raise SystemExit(f"outputs differ by {difference:.1e}; expected at most 1e-4: there is nothing to compare")

    contestants = {
        "direct": lambda: cpu_seconds(lambda: direct(pixels)),
        "ours": lambda: cpu_seconds(lambda: ours.encode(video)),
        "gemm": lambda: gemm_seconds(shapes),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        names = list(contestants)
        for name in names[turn % 3 :] + names[: turn % 3]:
            seconds[name].append(contestants[name]() / frames)
    pairs = list(zip(seconds["direct"], seconds["ours"], seconds["gemm"], strict=True))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "size": size,
        "gflop_per_frame": gflop,
        "direct_cpu_ms": 1e3 * median["direct"],
        "ours_cpu_ms": 1e3 * median["ours"],
        "speedup": statistics.median(d / o for d, o, _ in pairs),
        "ours_gflops": gflop / median["ours"],
        "gemm_gflops": gflop / median["gemm"],
        "share_of_gemm_rate": statistics.median(g / o for _, o, g in pairs),
        "max_difference": difference,
        "speedup_per_round": [d / o for d, o, _ in pairs],
        "share_per_round": [g / o for _, o, g in pairs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="s,b", help="comma-separated: s, b, l, h")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    rows = []
    print("size  GFLOP/frame  direct ms  ours ms  speedup  GFLOP/s  mm GFLOP/s  share  max diff")
    for size in arguments.sizes.split(","):
        row = measure(size, arguments.rounds, arguments.frames)
        rows.append(row)
        print(
            "{size:4}  {gflop_per_frame:11.1f}  {direct_cpu_ms:9.0f}  {ours_cpu_ms:7.0f}  {speedup:6.2f}x  "
            "{ours_gflops:7.0f}  {gemm_gflops:10.0f}  {share_of_gemm_rate:5.2f}  {max_difference:.0e}".format(**row),
            flush=True,
        )
    if arguments.json:
        settings = {"rounds": arguments.rounds, "frames": arguments.frames, "threads": arguments.threads}
        report = {"torch": torch.__version__, "side_px": SIDE_PX, **settings, "rows": rows}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
