"""The ledger holds every printed number of a model that exists, and only runs that may speak fill it."""

import csv
import io
import json

import pytest
from runs_on_disk import numbers_from_elsewhere, write_run

from propagation.tasks.davis import DavisProtocol
from rvm_bench.api.card import Model
from rvm_bench.api.registry import find_model, find_task, list_models
from rvm_bench.errors import UserError
from rvm_bench.runs.finished import read_run
from rvm_bench.tables import ledger
from rvm_bench.tables.columns import COLUMNS
from rvm_bench.tables.ledger import CHECKOUT, NOT_RUN, OFF, REPRODUCED, Entry, fill, read_ledger, why_not, write_ledger
from rvm_bench.tables.published import published_row

PROTOCOL = json.loads(json.dumps(DavisProtocol().to_dict()))
ENTRY = Entry(model="rvm-l", task="davis", expected="66.0", tolerance="0.5", source="Table 1", weights="weights.npz")


@pytest.fixture
def run(tmp_path):
    def make(score=66.2, **options):
        settings = {"out": tmp_path / "runs", "protocol": PROTOCOL, "score": score} | options
        return read_run(write_run(**settings))

    return make


def test_every_printed_number_of_a_model_that_exists_has_an_entry():
    entries = {(e.model, e.task, e.protocol): e for e in read_ledger(CHECKOUT)}
    expected = {(n["model"], n["task"], n["protocol"]): n["value"] for n in numbers_from_elsewhere()}
    for name in list_models():
        model = find_model(name)
        row = published_row(model.card.published) if isinstance(model, Model) else {}
        expected |= {(name, c.task, ""): row[c.task] for c in COLUMNS if row.get(c.task)}
    assert {key: entry.expected for key, entry in entries.items()} == expected


def test_entries_name_the_released_checkpoint():
    for entry in read_ledger(CHECKOUT):
        released = find_model(entry.model).card.weights
        # The paper's own evaluation takes this row's propagation numbers from the file with the depth readout.
        if entry.model == "4ds-b-dist" and entry.task in ("davis", "jhmdb", "vip"):
            assert entry.weights == "scaling4d_dist_b_depth.npz"
        else:
            assert entry.weights == (released.filename if released else "")


def test_a_number_within_the_tolerance_is_reproduced_and_one_beyond_is_off(run):
    (entry,), reasons = fill([ENTRY], [run(66.5)])
    assert (entry.status, entry.measured, entry.low, entry.high) == (REPRODUCED, "66.5", "60.0", "70.0")
    assert (len(entry.fingerprint), entry.date, reasons) == (12, "2026-01-01", [])
    (entry,), _ = fill([ENTRY], [run(66.51, name="b")])
    assert entry.status == OFF


def test_depth_is_held_against_the_printed_unit(tmp_path):
    protocol = json.loads(json.dumps(find_task("scannet").protocol.to_dict()))
    found = read_run(write_run(tmp_path, task="scannet", score=0.0912, protocol=protocol))
    entry = Entry(model="rvm-l", task="scannet", expected="0.91", tolerance="0.1", source="Table 1")
    (entry,), _ = fill([entry], [found])
    assert (entry.status, float(entry.measured)) == (REPRODUCED, pytest.approx(0.912))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"data_root": "/cache/demo/0123456789ab/DAVIS", "official_split": False}, "demo data"),
        ({"weights": ("random", "r" * 64, None)}, "random weights"),
        ({"missing": ["a"]}, "partial, own split"),
        ({"official_split": False}, "own split"),
        ({"protocol": PROTOCOL | {"topk": 5}}, "not under the expected protocol (topk differ)"),
        ({"protocol": PROTOCOL | {"id": "davis-2017-val/0"}}, "not under the expected protocol (id differ)"),
        ({"dtype": "bfloat16"}, "bfloat16, not float32"),
        ({"weights": ("file", "w" * 64, "mine.npz")}, "the weights are mine.npz, not weights.npz"),
    ],
)
def test_a_run_that_measured_something_else_is_not_counted_and_the_reason_is_told(run, options, reason):
    found = run(**options)
    assert why_not(found, ENTRY) == reason
    (entry,), reasons = fill([ENTRY], [found])
    assert entry == ENTRY
    assert reasons == [f"{found.path}: {reason}"]


def test_an_entry_under_another_protocol_takes_runs_under_that_one(run):
    dino = Entry(model="rvm-l", task="davis", expected="61.8", tolerance="1.5", source="DINO", protocol="dino")
    stated = json.loads(json.dumps(DavisProtocol.dino().to_dict()))
    assert why_not(run(61.0, protocol=stated, off_protocol={"topk": [7, 5]}), dino) is None
    assert "not under the expected protocol" in why_not(run(61.0, name="b"), dino)
    at_input = Entry(model="rvm-l", task="davis", expected="1", tolerance="1", source="", protocol="resolution=input")
    assert why_not(run(name="c", protocol=PROTOCOL | {"resolution": "input"}), at_input) is None


def test_the_newest_run_counts_and_an_entry_without_one_is_kept(run):
    old, new = run(60.0, name="old", finished="2026-01-01"), run(66.0, name="new", finished="2026-02-01")
    (entry,), _ = fill([ENTRY], [new, old])
    assert (entry.status, entry.date) == (REPRODUCED, "2026-02-01")
    assert fill([entry], [])[0] == [entry]
    assert fill([entry], [run(name="x", task="vip")])[1][0].endswith("no number of rvm-l on vip is in the ledger")


def test_a_ledger_is_read_as_it_was_written_and_refused_where_it_is_none(tmp_path):
    file = tmp_path / "ledger.csv"
    write_ledger(file, [ENTRY])
    assert read_ledger(file) == [ENTRY]
    text = file.read_text()
    for broken, message in (
        (text.replace(NOT_RUN, "fine"), "status 'fine'"),
        (text.replace("66.0", "x"), "expected 'x' is not a number"),
        (text.replace("model,", "models,"), "is not a ledger"),
        (text.rstrip("\n") + ",more\n", r"ledger.csv:2 has not 13 values"),
    ):
        file.write_text(broken)
        with pytest.raises(UserError, match=message):
            read_ledger(file)
    with pytest.raises(UserError, match="no ledger at"):
        read_ledger(tmp_path / "none.csv")


def test_a_wheel_fills_a_copy_beside_the_runs(tmp_path, monkeypatch):
    packaged = tmp_path / "packaged.csv"
    write_ledger(packaged, [ENTRY])
    monkeypatch.setattr(ledger, "PACKAGED", packaged)
    own = tmp_path / "runs/ledger.csv"
    assert ledger.ledger_files(tmp_path / "runs", None) == (packaged, own)
    write_ledger(own, [ENTRY])
    assert ledger.ledger_files(tmp_path / "runs", None) == (own, own)
    assert ledger.ledger_files(tmp_path / "runs", packaged) == (packaged, packaged)


def test_verify_on_the_command_line(cli, run, tmp_path):
    file = tmp_path / "ledger.csv"
    write_ledger(file, [ENTRY, Entry(model="rvm-l", task="vip", expected="38.0", tolerance="0.5", source="Table 1")])
    run(66.1)
    run(name="demo", data_root="/cache/demo/0123456789ab/DAVIS")
    code, out, _ = cli("verify", "--ledger", file, "--dry-run")
    assert code == 0
    assert "2 printed numbers: 1 reproduced, 0 off, 1 not yet run" in out
    assert "rvm-l-demo: demo data" in out
    assert read_ledger(file)[0] == ENTRY
    assert cli("verify", "--ledger", file)[1].endswith(f"written to {file}\n")
    assert next(csv.DictReader(io.StringIO(file.read_text())))["status"] == REPRODUCED
    run(50.0, name="newer", finished="2026-03-01")
    code, out, _ = cli("verify", "--ledger", file)
    assert code == 1
    assert "1 off" in out
