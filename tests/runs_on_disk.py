"""Finished runs as files, made up: what a table, a ledger or a comparison is to read."""

import csv
import hashlib
import json

from rvm_bench.tables.published import FOLDER

METRICS = {
    "davis": {"key": "J&F", "unit": "%", "scale": 1.0, "digits": 1, "higher_is_better": True, "floor": ""},
    "scannet": {"key": "AbsRel", "unit": "x10", "scale": 10, "digits": 2, "higher_is_better": False, "floor": ""},
}
PROTOCOLS = {
    "davis": "davis-2017-val/1",
    "jhmdb": "jhmdb-split1/1",
    "vip": "vip-val/1",
}


def write_run(
    out,
    model="rvm-l",
    task="davis",
    score=65.4321,
    *,
    name="run",
    published="",
    params_m=10.0,
    protocol=None,
    weights=("file", "w" * 64, "weights.npz"),
    dtype="float32",
    options=None,
    data="d" * 64,
    missing=(),
    data_root="/data/DAVIS",
    finished="2026-01-01T00:00:00+00:00",
    libraries=None,
    records=(),
    interval=(60.0, 70.0),
    **changes,
):
    """Writes a run folder with run.json, result.json and records, and returns it."""
    metric = METRICS.get(task, METRICS["davis"] | {"key": "score"})
    kind, sha256, file = weights
    covered = {
        "schema": 1,
        "task": {"name": task, "protocol": protocol or {"id": PROTOCOLS.get(task, f"{task}/1")}},
        "encoder": {
            "class": "C",
            "card": {"name": model, "family": "", "published": published, "params_m": params_m},
            "weights": {"kind": kind, "sha256": sha256},
            "dtype": dtype,
            "options": options or {},
        },
        "data": {"manifest_sha256": data, "missing": list(missing)},
        "code_sha256": "c" * 64,
        "libraries": libraries or {"torch": "2"},
        "device": "cpu",
    }
    identity = hashlib.sha256(json.dumps([covered, name, str(out)]).encode()).hexdigest()
    folder = out / task / f"{model}-{name}"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"fingerprint": identity, **covered}))
    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    result = {
        "model": model,
        "task": task,
        "metric": metric,
        "score": {metric["key"]: score},
        "interval": None if interval is None else list(interval),
        "videos": 30,
        "frames": 1999,
        "partial": bool(missing),
        "official_split": not missing,
        "off_protocol": {},
        "random_weights": kind == "random",
        "stamp": {
            "fingerprint": identity,
            **covered,
            "weights_source": {"kind": kind, **({"path": file} if kind == "file" else {})},
            "data_root": data_root,
            "code": {"version": "0.1.0", "commit": None, "dirty": None},
            "environment": {"python": "3.11", "processor": "this one"},
            "finished": finished,
            "wall_s": 1.5,
        },
    }
    (folder / "result.json").write_text(json.dumps(result | changes))
    return folder


def numbers_from_elsewhere():
    """Published numbers from outside the paper, one row each; results/README.md explains the columns."""
    with (FOLDER / "elsewhere.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
