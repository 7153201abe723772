"""Tables 1 and 2 from runs: what stands in them, what is marked, and what is refused."""

import csv
import io
import re

import pytest
from runs_on_disk import PROTOCOLS, write_run

from rvm_bench.errors import UserError
from rvm_bench.runs.finished import find_run, find_runs, read_run
from rvm_bench.tables.columns import COLUMNS
from rvm_bench.tables.formats import as_csv, as_latex, as_markdown, as_text
from rvm_bench.tables.paper_table import with_published
from rvm_bench.tables.published import published_table
from rvm_bench.tables.run_table import table_of_runs

DEMO = "/cache/demo/0123456789ab/DAVIS"


def write_row(out, model, scores, **options):
    for column in COLUMNS:
        scale = 10 if column.task == "scannet" else 1
        write_run(out, model, column.task, scores[column.task] / scale, **options)


def the_row(table, model):
    return next(row for section in table.sections for row in section.rows if row.model == model)


@pytest.fixture
def rvm(tmp_path):
    """Runs of RVM-L and RVM-H that gave the paper's numbers, of a model that it does not have, and of a floor."""
    paper = {row.model: row.scores for row in published_table("Table 1")}
    for model in ("RVM-L", "RVM-H"):
        write_row(tmp_path, model.lower(), paper[model], published=model, params_m=375.0 if model == "RVM-L" else 743.0)
    write_run(tmp_path, "mine_1", score=70.0, params_m=200.0)
    write_run(tmp_path, "pixels", score=25.0, params_m=0.0, weights=("none", None, None))
    return tmp_path


def test_models_stand_where_the_paper_has_them_and_the_others_by_size(rvm):
    large, small = table_of_runs(find_runs(rvm)).sections
    assert [row.model for row in large.rows] == ["mine_1", "rvm-l", "rvm-h"]
    assert [row.model for row in small.rows] == ["pixels"]


def test_averages_are_over_the_best_of_the_rows_shown_or_of_the_paper(rvm):
    shown = table_of_runs(find_runs(rvm))
    ours = {row.model: row.average for row in shown.sections[0].rows}
    assert ours["mine_1"] is None
    paper = {row.model: row.scores for row in published_table("Table 1")}
    best = {
        task: (min if task == "scannet" else max)(paper["RVM-L"][task], paper["RVM-H"][task]) for task in paper["RVM-L"]
    } | {"davis": 70.0}
    shares = [best[t] / v if t == "scannet" else v / best[t] for t, v in paper["RVM-L"].items()]
    assert ours["rvm-l"] == pytest.approx(100 * sum(shares) / 8)
    published = table_of_runs(find_runs(rvm), reference="published")
    assert f"{the_row(published, 'rvm-l').average:.1f}" == "94.4"
    assert f"{the_row(published, 'rvm-h').average:.1f}" == "94.9"


def test_the_best_is_marked_in_every_format(rvm):
    table = table_of_runs(find_runs(rvm))
    assert "\033[1m70.0\033[0m" in as_text(table, bold=True)
    assert "\033" not in as_text(table)
    assert re.search(r"\| +\*\*70\.0\*\* \|", as_markdown(table))
    assert r"\textbf{70.0}" in as_latex(table)
    assert "**0.89**" in as_markdown(table)
    assert "**0.91**" not in as_markdown(table)


def test_text_is_aligned_and_blank_where_nothing_was_run(rvm):
    lines = as_text(table_of_runs(find_runs(rvm))).splitlines()
    assert len(lines[3]) == len(next(line for line in lines if line.startswith("rvm-l")))
    assert next(line for line in lines if line.startswith("mine_1")).split() == ["mine_1", "200", "70.0"]
    assert re.split("-+", lines[1].replace(" ", ""))[1:4] == ["Videotasks", "Spatialtasks", ""]


def test_latex_escapes_names_and_closes_what_it_opens(rvm):
    text = as_latex(table_of_runs(find_runs(rvm)))
    assert r"mine\_1 & 200" in text
    assert r"J\&F (\%) ($\uparrow$)" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {10}


def test_csv_keeps_all_digits_and_intervals(tmp_path):
    write_run(tmp_path, score=65.4321, interval=(60.25, 70.125))
    (row,) = csv.DictReader(io.StringIO(as_csv(table_of_runs(find_runs(tmp_path)))))
    assert (row["davis"], row["davis_low"], row["davis_high"], row["vip"]) == ("65.4321", "60.25", "70.125", "")
    write_run(tmp_path, task="scannet", score=0.0912345678, interval=None)
    (row,) = csv.DictReader(io.StringIO(as_csv(table_of_runs(find_runs(tmp_path)))))
    assert (float(row["scannet"]), row["scannet_low"]) == (pytest.approx(0.912345678), "")


def test_flags_become_marks_with_a_legend(tmp_path):
    write_run(tmp_path, task="davis", weights=("random", "r" * 64, None))
    write_run(tmp_path, task="vip", weights=("random", "r" * 64, None), missing=["a"])
    table = table_of_runs(find_runs(tmp_path))
    text = as_text(table)
    assert "rvm-l^r " in text
    assert "65.4^sp" in text
    assert "r: random weights: the network was not trained" in text
    assert "p: partial:" in text
    assert "demo data" not in text
    assert "rvm-l<sup>r</sup>" in as_markdown(table)


def test_demo_data_is_told_by_where_it_lies(tmp_path):
    assert read_run(write_run(tmp_path, data_root=DEMO, official_split=False)).flags == ("demo data",)
    own = write_run(tmp_path, name="own", data_root="/data/demo/DAVIS", official_split=False)
    assert read_run(own).flags == ("own split",)


def test_versions_of_a_protocol_are_not_mixed(tmp_path):
    write_run(tmp_path, "a")
    old = write_run(tmp_path, "b", protocol={"id": "davis-2017-val/0"})
    with pytest.raises(UserError, match=r"2 versions of its protocol \(davis-2017-val/0 in .*b-run, davis-2017-val/1"):
        table_of_runs(find_runs(tmp_path))
    (old / "result.json").unlink()
    assert table_of_runs(find_runs(tmp_path)).sections


def test_a_number_measured_again_is_replaced_without_a_word(tmp_path):
    write_run(tmp_path, score=1.0, name="old", finished="2026-01-01")
    write_run(tmp_path, score=2.0, name="new", finished="2026-01-02", libraries={"torch": "3"})
    table = table_of_runs(find_runs(tmp_path))
    assert the_row(table, "rvm-l").scores == {"davis": 2.0}
    assert len(table.notes) == 1


def test_between_runs_on_other_terms_the_rule_decides_and_is_printed(tmp_path):
    write_run(tmp_path, score=1.0, name="real", finished="2026-01-01")
    write_run(tmp_path, score=2.0, name="demo", finished="2026-01-02", data="e" * 64, data_root=DEMO)
    write_run(tmp_path, score=3.0, name="half", finished="2026-01-03", dtype="bfloat16")
    table = table_of_runs(find_runs(tmp_path))
    assert the_row(table, "rvm-l").scores == {"davis": 1.0}
    assert "3 runs that differ in data and precision; shown is " in table.notes[0]
    assert "rvm-l-real (real data before demo data" in table.notes[0]


def test_other_weights_or_options_are_rows_of_their_own(tmp_path):
    write_run(tmp_path, name="a", weights=("file", "1" * 64, "a.npz"))
    write_run(tmp_path, name="b", weights=("file", "2" * 64, "b.npz"))
    (section,) = table_of_runs(find_runs(tmp_path)).sections
    assert [row.model for row in section.rows] == ["rvm-l (weights 11111111)", "rvm-l (weights 22222222)"]


def test_nothing_is_best_and_nothing_averaged_over_different_data(rvm):
    write_run(rvm, "other", "vip", 99.0, params_m=400.0, data="e" * 64)
    table = table_of_runs(find_runs(rvm))
    assert the_row(table, "rvm-l").average is None
    assert not table.sections[0].is_best(the_row(table, "other"), "vip")
    assert table.sections[0].is_best(the_row(table, "mine_1"), "davis")
    assert any(note.startswith("VIP in Table 1: measured on different data") for note in table.notes)


def test_by_the_papers_best_only_numbers_on_its_terms_are_averaged(tmp_path):
    scores = published_table("Table 1")[4].scores
    write_row(tmp_path, "rvm-l", scores, published="RVM-L", data_root=DEMO)
    assert the_row(table_of_runs(find_runs(tmp_path)), "rvm-l").average == 100
    table = table_of_runs(find_runs(tmp_path), reference="published")
    assert the_row(table, "rvm-l").average is None
    assert any("rvm-l has no average" in note for note in table.notes)


def test_diff_sets_ours_the_papers_and_the_difference_one_below_the_other(rvm):
    write_run(rvm, "rvm-l", "davis", 65.5, name="again", published="RVM-L", params_m=375.0, finished="2026-02-01")
    table = with_published(table_of_runs(find_runs(rvm), reference="published"))
    lines = as_text(table).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("rvm-l"))
    assert lines[at + 1].split()[0] == "published"
    difference = lines[at + 2].split()
    assert difference[0] == "difference"
    assert difference[6] == "-0.5"
    assert difference[1:6] == ["+0.0", "+0.0", "+0.0", "+0.0", "+0.00"]
    assert difference[-1] == "-0.1"
    kinds = [row["kind"] for row in csv.DictReader(io.StringIO(as_csv(table)))]
    assert kinds.count("published") == kinds.count("difference") == 2


def test_a_number_that_measures_something_else_has_no_difference(tmp_path):
    write_run(tmp_path, published="RVM-L", data_root=DEMO)
    write_run(tmp_path, task="vip", published="RVM-L", missing=["a"], official_split=False)
    row = with_published(table_of_runs(find_runs(tmp_path))).sections[0].rows[2]
    assert set(row.cells) == set()
    write_run(tmp_path, task="jhmdb", score=48.0, published="RVM-L", partial=True)
    row = with_published(table_of_runs(find_runs(tmp_path))).sections[0].rows[2]
    assert row.scores == {"jhmdb": pytest.approx(-0.4)}


def test_a_run_is_found_by_its_folder_or_by_its_model(tmp_path):
    folder = write_run(tmp_path / "runs")
    assert find_run(str(folder), tmp_path)[0].path == folder
    assert find_run("rvm-l", tmp_path / "runs", "davis")[0].path == folder
    with pytest.raises(UserError, match="is a run of davis, not of vip"):
        find_run(str(folder), tmp_path / "runs", "vip")
    with pytest.raises(UserError, match=r"no finished run of pixels on davis .*\(rvm-l has one\)"):
        find_run("pixels", tmp_path / "runs", "davis")
    (folder / "result.json").unlink()
    with pytest.raises(UserError, match="is not finished"):
        read_run(folder)


def test_another_format_of_results_is_refused(tmp_path):
    folder = write_run(tmp_path)
    text = (folder / "result.json").read_text()
    (folder / "result.json").write_text(text.replace('"schema": 1', '"schema": 0'))
    with pytest.raises(UserError, match="was written in format 0, this version reads 1"):
        read_run(folder)


def test_the_table_on_the_command_line(cli, rvm):
    assert "rvm-l" in cli("table", "--runs", rvm)[1]
    assert cli("table", "--runs", rvm, "--format", "csv")[1].startswith("table,kind,model,params_m,ssv2,")
    assert "difference" in cli("table", "--runs", rvm, "--diff")[1]
    assert "94.4" in cli("table", "--runs", rvm, "--reference", "published")[1]
    assert "VideoMAEv2-g sits nearest to a rounding edge with 77.9457" in cli("table", "--paper")[1]
    for form in ("csv", "md", "tex", "text"):
        code, out, _ = cli("table", "--paper", "--format", form)
        assert code == 0
        assert out.count("RVM-H") == 1
    assert cli("table", "--runs", rvm, "--paper", "--diff")[0] == 2
    assert cli("table", "--runs", rvm, "--list", "--format", "tex")[0] == 2
    assert "--reference does not go with --paper" in cli("table", "--paper", "--reference", "shown")[2]
    assert "no finished run in" in cli("table", "--out", rvm / "none")[2]


def test_runs_of_other_tasks_alone_are_told_to_be_listed_by_runs(cli, tmp_path):
    write_run(tmp_path / "runs", task="davis-stability")
    code, _, err = cli("table")
    assert code == 2
    assert "`rvm-bench table --list` prints what there is" in err
    assert PROTOCOLS["davis"] == "davis-2017-val/1"
