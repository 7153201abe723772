"""Run folders as `rvm-bench run` leaves them, as far as figures read them."""

import json

from propagation.tasks.stability import LENGTHS
from rvm_bench.runs.fingerprint import SCHEMA

CARDS = {
    "rvm-s": {"family": "rvm", "params_m": 34, "published": "RVM-S"},
    "dinov2-s": {"family": "dinov2", "params_m": 22, "published": ""},
    "videomae-b": {"family": "videomae", "params_m": 87, "published": "VideoMAE-B"},
    "pixels": {"family": "pixels", "params_m": 0.0, "published": ""},
}


def write_run(
    runs,
    model,
    task,
    value,
    interval=None,
    *,
    scale=1.0,
    random_weights=False,
    finished="2026-01-01",
    data="d",
    mode="prefix",
    weights=None,
    folder="",
):
    """A finished run; its headline number is `value` / `scale`."""
    path = runs / task / (folder or f"{model}-{finished}")
    path.mkdir(parents=True)
    result = {
        "model": model,
        "task": task,
        "metric": {"key": "score", "scale": scale},
        "score": {"score": value / scale},
        "interval": None if interval is None else [end / scale for end in interval],
        "videos": 8,
        "partial": False,
        "official_split": True,
        "off_protocol": {},
        "random_weights": random_weights,
        "stamp": {
            "schema": SCHEMA,
            "data_root": "DAVIS",
            "finished": finished,
            "encoder": {
                "class": "Encoder",
                "dtype": "float32",
                "options": {},
                "card": {"name": model, **CARDS[model]},
                "weights": {"sha256": weights or f"hash of {model}", "kind": "file"},
            },
            "task": {"protocol": {"id": "x/1", "mode": mode}},
            "data": {"manifest_sha256": data},
        },
    }
    (path / "run.json").write_text("{}")
    (path / "result.json").write_text(json.dumps(result))
    return path


def write_curve(runs, model, decay, *, ends=True, **more):
    """A finished run of davis-stability whose J&F falls by `decay` percent of the first from length to length."""
    path = write_run(runs, model, "davis-stability", 100 - 4 * decay, **more)
    rows = ["frames,J&F,J&F_low,J&F_high,relative,relative_low,relative_high"]
    for i, frames in enumerate(LENGTHS):
        relative = 100 - decay * i
        jf = 0.6 * relative
        bars = (f"{jf - 5},{jf + 5}", f"{relative - 3 * i},{relative + 2 * i}") if ends else (",", ",")
        rows.append(f"{frames},{jf},{bars[0]},{relative},{bars[1]}")
    (path / "curve.csv").write_text("\n".join(rows) + "\n")
    return path
