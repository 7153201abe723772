"""A folder of runs as a report finds it: two that were really made, on videos of a few frames, and one made up."""

from layouts import write_davis
from runs_on_disk import write_run

from propagation.tasks.stability import LENGTHS
from rvm_bench.api.registry import find_task
from rvm_bench.fetch.load import load_encoder
from rvm_bench.runs.engine import evaluate

SMALL = ("input_height_px=64", "input_width_px=112")
VIDEOS = {"alpha": 5, "beta": 4, "gamma": 4}
HOSTILE = "<img src=x onerror=alert(1)>"


def make_runs(folder):
    """The folder of runs of `pixels` and `rvm-tiny` on DAVIS, small, and of a made-up model on davis-stability."""
    data = write_davis(folder / "DAVIS", VIDEOS)
    for model, weights in (("pixels", None), ("rvm-tiny", "random")):
        task = find_task("davis", overrides=SMALL)
        evaluate(load_encoder(model, weights=weights, device="cpu"), task, data=data, out=folder / "runs")
    write_curve(folder / "runs")
    return folder / "runs"


def write_curve(out, model=HOSTILE):
    path = write_run(out, model, "davis-stability", 70.0)
    rows = ["frames,J&F,J&F_low,J&F_high,relative,relative_low,relative_high"]
    rows += [f"{n},{60 - i},{50 - i},{70 - i},{100 - i},{95 - i},{104 - i}" for i, n in enumerate(LENGTHS)]
    (path / "curve.csv").write_text("\n".join(rows) + "\n")
    return path


def davis_record(video, score):
    told = [{"id": 1, "J": score, "F": score}]
    return {"video": video, "objects": told, "first_mask": told}
