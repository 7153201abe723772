"""RVM's forward pass on a CPU: against a direct frame-by-frame implementation, and against the machine's own rate.

    python benchmarks/rvm_forward.py --sizes s,b --rounds 7 --frames 8

One process, 1 thread, 256 x 256 frames, random weights, float32. Every round times, one after the other and in turning
order: the direct implementation written below, ours, and `torch.mm` alone at the very shapes of our matrix products,
twice: shape by shape with warm operands (`share` is its time over ours), and in the model's order with a matrix of its
own for every weight (`in order`), which is what remains if all but the matrix products were free. Times are CPU
seconds of the process per frame; ratios are medians over rounds of each round's ratio, so that a busy machine moves
both sides. The two implementations must agree to 1e-4.

Cost: three and a half minutes for both sizes at these defaults, on a shared core of 170 GFLOP/s. Expected: 1.15x or
more against the direct implementation. The share depends on the machine: the faster its matrix products, the more the
rest (softmax, GELU, norms, reading weights) weighs. On that core, with AVX-512: 0.79 at S, 0.86 at B.
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
        tokens = F.conv2d(
            frame, self.tensors[f"{patch}/kernel"], self.tensors[f"{patch}/bias"], stride=self.config.patch
        )
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


def products(config: RVMConfig, frames: int, chunk: int) -> list[tuple[str, Gemm]]:
    """Every matrix product of our forward pass in its order, each with the name of its weight ("" in attention).

    Summed, 2 * rows * inner * columns is, per frame, L (8 N D^2 + 4 N D M + 4 N^2 D) for the encoder, the patch
    embedding, and 8 N D^2 + 4 (16 N D^2 + 4 N D M' + 8 N^2 D) for the core.
    """
    found: list[tuple[str, Gemm]] = []
    width, patches = config.width, (SIDE_PX // config.patch) ** 2
    tokens = patches + 1

    def attention(heads: int, times: int) -> None:
        head_dim = width // heads
        found.extend([("", (tokens, head_dim, tokens)), ("", (tokens, tokens, head_dim))] * (heads * times))

    for start in range(0, frames, chunk):
        together = min(chunk, frames - start)
        rows = together * tokens
        found.append(("patches", (together * patches, config.patch**2 * 3, width)))
        for layer in range(config.layers):
            found.append((f"{layer} qkv", (rows, width, 3 * width)))
            attention(config.heads, together)
            found.append((f"{layer} out", (rows, width, width)))
            found.append((f"{layer} in", (rows, width, config.mlp)))
            found.append((f"{layer} mlp", (rows, config.mlp, width)))
        found.append(("input gates", (rows, width, 2 * width)))
        for _ in range(together):
            found.append(("state gates", (tokens, width, 2 * width)))
            found.append(("keys and values", (tokens, width, config.core_layers * 2 * width)))
            for block in range(config.core_layers):
                found.append((f"core {block} query", (tokens, width, width)))
                attention(config.core_heads, 1)
                found.append((f"core {block} cross out", (tokens, width, width)))
                found.append((f"core {block} in", (tokens, width, config.core_mlp)))
                found.append((f"core {block} mlp", (tokens, config.core_mlp, width)))
                found.append((f"core {block} qkv", (tokens, width, 3 * width)))
                attention(config.core_heads, 1)
                found.append((f"core {block} out", (tokens, width, width)))
    return found


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def hot_seconds(products: list[tuple[str, Gemm]]) -> float:
    """CPU seconds of these products with `torch.mm` alone, shape by shape: warm operands, no bias, a ready output."""
    total = 0.0
    for (rows, inner, columns), times in Counter(shape for _, shape in products).items():
        x, weight, out = torch.randn(rows, inner), torch.randn(columns, inner).t(), torch.empty(rows, columns)
        torch.mm(x, weight, out=out)
        repeats = max(3, min(times, int(2e9 / (2 * rows * inner * columns))))
        start = time.process_time()
        for _ in range(repeats):
            torch.mm(x, weight, out=out)
        total += times / repeats * (time.process_time() - start)
    return total


class InOrder:
    """The same products with `torch.mm` alone, but one after the other as the model does them.

    Every weight is a matrix of its own, read from memory when its turn comes, and every output is a fresh one.
    """

    def __init__(self, products: list[tuple[str, Gemm]]) -> None:
        self.products = products
        self.weights = {key: torch.randn(key[1][2], key[1][1]).t() for key in products}
        self.inputs = {shape[:2]: torch.randn(shape[:2]) for _, shape in products}

    def __call__(self) -> None:
        for key in self.products:
            torch.mm(self.inputs[key[1][:2]], self.weights[key])


@torch.inference_mode()
def measure(size: str, rounds: int, frames: int) -> dict[str, float | str | list[float]]:
    model = MODELS[size]
    config = checkpoint.SIZES[model.card.name]
    arrays = checkpoint.random_arrays(config, seed=0)
    direct, ours = DirectRVM(arrays, config), build(model.card, "random", seed=0)
    video = np.random.default_rng(0).integers(0, 256, (frames, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    pixels = torch.from_numpy(video).permute(0, 3, 1, 2).float() / 255
    work = products(config, frames, ours.chunk)
    in_order = InOrder(work)
    gflop = sum(2 * math.prod(shape) for _, shape in work) / frames / 1e9

    difference = float(np.abs(ours.encode(video) - direct(pixels)[:, 1:].unflatten(1, (16, 16)).numpy()).max())
    if not difference <= 1e-4:
        raise SystemExit(f"outputs differ by {difference:.1e}; expected at most 1e-4: there is nothing to compare")

    contestants = {
        "direct": lambda: cpu_seconds(lambda: direct(pixels)),
        "ours": lambda: cpu_seconds(lambda: ours.encode(video)),
        "hot": lambda: hot_seconds(work),
        "in order": lambda: cpu_seconds(in_order),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        names = list(contestants)
        for name in names[turn % 4 :] + names[: turn % 4]:
            seconds[name].append(contestants[name]() / frames)
    median = {name: statistics.median(values) for name, values in seconds.items()}

    def ratios(name: str) -> list[float]:
        return [other / ours for other, ours in zip(seconds[name], seconds["ours"], strict=True)]

    return {
        "size": size,
        "gflop_per_frame": gflop,
        "direct_cpu_ms": 1e3 * median["direct"],
        "ours_cpu_ms": 1e3 * median["ours"],
        "speedup": statistics.median(ratios("direct")),
        "ours_gflops": gflop / median["ours"],
        "mm_gflops": gflop / median["hot"],
        "share_of_mm_rate": statistics.median(ratios("hot")),
        "share_in_order": statistics.median(ratios("in order")),
        "max_difference": difference,
        "speedup_per_round": ratios("direct"),
        "share_per_round": ratios("hot"),
        "share_in_order_per_round": ratios("in order"),
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
    print("size  GFLOP/frame  direct ms  ours ms  speedup  GFLOP/s  mm GFLOP/s  share  in order  max diff")
    for size in arguments.sizes.split(","):
        row = measure(size, arguments.rounds, arguments.frames)
        rows.append(row)
        line = (
            "{size:4}  {gflop_per_frame:11.1f}  {direct_cpu_ms:9.0f}  {ours_cpu_ms:7.0f}  {speedup:6.2f}x  "
            "{ours_gflops:7.0f}  {mm_gflops:10.0f}  {share_of_mm_rate:5.2f}  {share_in_order:8.2f}  "
            "{max_difference:8.0e}"
        )
        print(line.format(**row), flush=True)
    if arguments.json:
        settings = {"rounds": arguments.rounds, "frames": arguments.frames, "threads": arguments.threads}
        report = {"torch": torch.__version__, "side_px": SIDE_PX, **settings, "rows": rows}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
