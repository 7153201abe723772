"""Depth on real frames: a head fitted on the first part of a scan and scored on the rest.

    python benchmarks/depth_real.py --data FOLDER                  # FOLDER/scans/<scan> in the extracted layout
    python benchmarks/depth_real.py --data FOLDER --first 64       # frames from 64 on are scored

One short scan is far too little to learn depth from. This shows that reader, loss and metric work on real depth, for a
backbone trained on real images, for raw pixels, and for a constant, the median depth of the first part. The scan is
divided by symbolic links into a training and a scored scan; the 16 frames before the scored ones are also the held-out
scan, as with one learning rate nothing is selected. Both parts show the same room, and a head with learned queries
learns its layout from the first part, whatever the features are.

Cost: about four minutes per model on one core.
"""

import argparse
import dataclasses
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from readouts.tasks.scannet import ScanNetTask, demo_protocol
from rvm_bench.fetch.load import load_encoder
from rvm_bench.runs.engine import evaluate

ROOT = Path(__file__).resolve().parents[1]
MODELS = (f"{ROOT}/examples/efficientnet_lite0.py:Lite0", "pixels")
CLIP = 16
SUFFIXES = {"color": ".jpg", "depth": ".png", "pose": ".txt"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with scans/<one scan> in the extracted layout")
    parser.add_argument("--first", type=int, default=80, help="frames of the first part")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--side", type=int, default=96, help="of the frames, in pixels")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    (scan,) = (arguments.data / "scans").iterdir()
    frames = len(list((scan / "color").iterdir()))
    protocol = dataclasses.replace(
        demo_protocol(),
        side_px=arguments.side,
        learning_rates=(1e-3,),
        warmup_steps=20,
        steps=arguments.steps,
        batch=4,
        held_out=0.0,
        held_out_least=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RVM_BENCH_CACHE"] = folder
        data = Path(folder) / "data"
        # The name with the smallest hash is held out.
        names = sorted(("scene9000_00", "scene9001_00"), key=lambda name: hashlib.sha256(name.encode()).digest())
        link_frames(scan, data / "scans" / names[0], range(arguments.first - CLIP, arguments.first))
        link_frames(scan, data / "scans" / names[1], range(arguments.first))
        link_frames(scan, data / "scans/scene9100_00", range(arguments.first, frames))
        (data / "scannetv2_train.txt").write_text("\n".join(names) + "\n")
        (data / "scannetv2_val.txt").write_text("scene9100_00\n")
        print(
            f"fitted on frames 0 to {arguments.first - 1}, scored on {arguments.first} to {frames - 1}; AbsRel, delta1"
        )
        for model in MODELS:
            result = evaluate(load_encoder(model), ScanNetTask(protocol), data=data, out=Path(folder) / "runs")
            score = result.score
            absrel, delta1, constant = (score[name] for name in ("AbsRel", "delta1", "constant AbsRel"))
            print(f"{result.model:20} {absrel:.3f}  {delta1:.1f} %  {constant:.3f}")


def link_frames(scan: Path, target: Path, frames: range) -> None:
    """Makes a scan of some frames of another one, numbered from 0."""
    for kind, suffix in SUFFIXES.items():
        (target / kind).mkdir(parents=True)
        for number, frame in enumerate(frames):
            (target / kind / f"{number}{suffix}").symlink_to((scan / kind / f"{frame}{suffix}").resolve())
    (target / "intrinsic").symlink_to((scan / "intrinsic").resolve())


if __name__ == "__main__":
    main()
