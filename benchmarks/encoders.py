"""Encoders: frames per second and peak memory of every family at its small size, beside transformers' implementation.

    python benchmarks/encoders.py                                  # all families
    python benchmarks/encoders.py --families dino,videomae         # about one minute and a half

224 x 224 frames, random weights, float32, 1 thread. What is timed is `encode`: uint8 frames in, float32 feature maps
out, with pixel normalisation, and at clip models interpolation in time. "Small" is the smallest member whose weights
were released: 4ds is 4ds-b-dist. Where transformers has the architecture, its model (`sdpa` attention, inference mode)
is put into our encoder in place of ours, with the same weights, the same frames together and the same work around it;
the two must agree to 1e-4. The family's other members differ in sizes alone.

One process times; rounds go in turning order. Read CPU seconds, and the ratio: the median over rounds of each round's
ratio, so that a busy machine moves both sides. Longer videos get fewer rounds, in proportion, but two of a comparison.

Memory (Linux only) is the peak resident size of a fresh process that streams the longest video, after its first 16, 64,
... frames, above its size before the first: model and input are in memory by then, code and weights were used by a
first chunk, and what that freed was given back. The maps that `encode` collects grow with the video and are left out.

Cost: about 7 minutes on an idle core of 170 GFLOP/s. Expected: at least parity in time (1.04x to 1.1x on a
busy machine), and less memory than transformers'. Peaks differ by tens of MB from run to run at clip models.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.vit.encoder import ClipViT, ImageViT
from rvm_bench import load_encoder
from rvm_bench.api.encoder import Encoder
from rvm_bench.profiling.memory import MemoryMeter

SIDE_PX = 224
SMALL = {
    "dinov2": "dinov2-s",
    "dino": "dino-s",
    "mae": "cropmae-s",
    "videomae": "videomae-b",
    "videomaev2": "videomaev2-b",
    "vjepa": "vjepa-l",
    "4ds": "4ds-b-dist",
    "rvm": "rvm-s",
    "pixels": "pixels",
}
VIT_S = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
VIT_B = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
HUB: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # The table of positions has the size that the released models have; both then resize it by the same rule.
    "dinov2": ("dinov2", VIT_S | {"image_size": 518}, {}),
    "dino": ("vit", VIT_S | {"intermediate_size": 1536, "layer_norm_eps": 1e-6}, {"add_pooling_layer": False}),
    "mae": ("vit", VIT_S | {"intermediate_size": 1536, "layer_norm_eps": 1e-6}, {"add_pooling_layer": False}),
    "videomae": ("videomae", VIT_B | {"layer_norm_eps": 1e-6, "use_mean_pooling": False}, {}),
}
"""transformers' model type, config and arguments of a family; the others have no equal there at the same size."""


class HubImages(ImageViT):
    """Our encoder around transformers' image model."""

    def forward_frames(self, frames: Tensor) -> Tensor:
        return self.model(frames).last_hidden_state[:, 1:].unflatten(1, self.grid(*frames.shape[-2:]))


class HubClips(ClipViT):
    """Our encoder around transformers' clip model, which takes time before colour."""

    def forward_clip(self, clips: Tensor) -> Tensor:
        _, _, frames, height, width = clips.shape
        tokens = self.model(clips.transpose(1, 2)).last_hidden_state
        return tokens.unflatten(1, (frames // self.model.config.tubelet_size, *self.grid(height, width)))


def build(family: str, contestants: Sequence[str]) -> dict[str, Encoder]:
    """The encoders of a family, "ours" and "hub", with the same weights where the hub has them."""
    if family not in HUB or not hub_is_installed():
        return {"ours": load_encoder(SMALL[family], weights="random", device="cpu")}
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    kind, sizes, arguments = HUB[family]
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **sizes)
    model = AutoModel.from_config(config, attn_implementation="sdpa", **arguments)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        ours = load_encoder(family, weights=folder, device="cpu")
    hub: Encoder = (
        HubImages(ours.card, model, ours.blocks)
        if isinstance(ours, ImageViT)
        else HubClips(ours.card, model, ours.blocks, ours.time_rule)
    )
    hub.chunk = ours.chunk
    encoders = {"ours": ours, "hub": hub.to("cpu")}
    return {name: encoders[name] for name in contestants}


def hub_is_installed() -> bool:
    try:
        import transformers  # noqa: F401
    except ImportError:
        return False
    return True


def new_video(frames: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)


def measure_time(family: str, counts: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """A row per number of frames: CPU milliseconds and frames per second of each encoder, and the ratios of rounds."""
    encoders = build(family, ["ours", "hub"])
    start = new_video(min(counts))
    maps = {name: encoder.encode(start) for name, encoder in encoders.items()}  # also warms both up
    difference = float(np.abs(maps["ours"] - maps["hub"]).max()) if "hub" in maps else None
    if difference is not None and not difference <= 1e-4:
        raise SystemExit(f"{family}: features differ by {difference:.1e}; expected at most 1e-4: nothing to compare")
    rows = []
    for frames in counts:
        video = new_video(frames)
        cpu_s: dict[str, list[float]] = {name: [] for name in encoders}
        wall_s: dict[str, list[float]] = {name: [] for name in encoders}
        for turn in range(max(min(rounds, len(encoders)), round(rounds * min(counts) / frames))):
            names = list(encoders)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                cpu, wall = time.process_time(), time.perf_counter()
                encoders[name].encode(video)
                cpu_s[name].append(time.process_time() - cpu)
                wall_s[name].append(time.perf_counter() - wall)
        ratios = [hub / ours for hub, ours in zip(cpu_s.get("hub", []), cpu_s["ours"], strict=False)]
        rows.append(
            {
                "family": family,
                "model": SMALL[family],
                "frames": frames,
                "cpu_ms": {name: 1e3 * statistics.median(values) / frames for name, values in cpu_s.items()},
                "frames_per_s": {name: frames / statistics.median(values) for name, values in wall_s.items()},
                "ratios": ratios,
                "speedup": statistics.median(ratios) if ratios else None,
                "max_difference": difference,
            }
        )
    return rows


def worker(family: str, contestant: str, counts: Sequence[int]) -> dict[int, float | None]:
    """Runs in its own process: peak memory in MB of streaming, by the number of frames streamed so far."""
    encoder = build(family, [contestant])[contestant]
    video = new_video(max(counts))
    for _ in encoder.stream(video[: max(encoder.chunk, encoder.card.frames)]):
        pass
    meter = MemoryMeter()
    meter.restart()
    peaks, seen = {}, 0
    for features in encoder.stream(video):
        seen += len(features)
        if seen in counts:
            peaks[seen] = meter.peak_mb()
    return peaks


def measure_memory(family: str, contestant: str, counts: Sequence[int], threads: int) -> dict[int, float] | None:
    if not MemoryMeter().available:
        return None
    frames = ",".join(map(str, counts))
    command = [sys.executable, __file__, "--worker", family, contestant, "--frames", frames, "--threads", str(threads)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {int(count): peak for count, peak in json.loads(printed).items()}


def line(row: dict[str, Any]) -> str:
    def pair(values: dict[str, float] | None, digits: int) -> str:
        found = values or {}
        return " | ".join(f"{found[name]:10.{digits}f}" if name in found else f"{'-':>10}" for name in ("ours", "hub"))

    ratio = f"{row['speedup']:.2f}x ({min(row['ratios']):.2f} to {max(row['ratios']):.2f})" if row["ratios"] else "-"
    difference = "-" if row["max_difference"] is None else f"{row['max_difference']:.0e}"
    cells = [pair(row["frames_per_s"], 1), pair(row["cpu_ms"], 1), f"{ratio:21}", pair(row["peak_mb"], 0), difference]
    return f"| {row['model']:12} | {row['frames']:6} | {' | '.join(cells)} |"


def comma_separated(text: str) -> list[int]:
    return sorted({int(part) for part in text.split(",")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(SMALL), help=f"comma-separated: {', '.join(SMALL)}")
    parser.add_argument("--frames", type=comma_separated, default=[16, 64], help="multiples of 16, comma-separated")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of the shortest video")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure here")
    parser.add_argument("--worker", nargs=2, metavar=("FAMILY", "CONTESTANT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    families = options.families.split(",")
    if unknown := [family for family in families if family not in SMALL]:
        parser.error(f"unknown families {', '.join(unknown)}; known: {', '.join(SMALL)}")
    if any(count < 16 or count % 16 for count in options.frames):
        parser.error(f"--frames {options.frames}: expected multiples of 16, which clips and chunks divide")
    if options.worker:
        print(json.dumps(worker(*options.worker, options.frames)))
        return

    if hub_is_installed():
        import transformers

        print(f"torch {torch.__version__}, transformers {transformers.__version__}, {options.threads} thread(s)")
    else:
        print(f"torch {torch.__version__}, {options.threads} thread(s); transformers is not installed (extra: hub)")
    print("\n|              |        |    frames/s: ours, hub  |  CPU ms/frame: ours, hub | CPU ratio (rounds)    |")
    print("| model        | frames | and peak MB: ours, hub; then the largest difference of features |")
    rows = []
    for family in families:
        found = measure_time(family, options.frames, options.rounds)
        names = list(found[0]["cpu_ms"])
        memory = {name: measure_memory(family, name, options.frames, options.threads) for name in names}
        for row in found:
            row["peak_mb"] = {name: peaks[row["frames"]] for name, peaks in memory.items() if peaks}
            print(line(row), flush=True)
        rows += found
    if options.json:
        settings = {"side_px": SIDE_PX, "rounds": options.rounds, "threads": options.threads}
        options.json.write_text(json.dumps({"torch": torch.__version__, **settings, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
