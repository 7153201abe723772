"""Figures as their readers get them: what is written in them, what is drawn, and what is said to who cannot see it."""

import re

import numpy as np
import pytest
from finished_runs import write_curve, write_run
from matplotlib.colors import to_hex
from reading import described, read_svg, words

from rvm_bench.errors import UserError
from rvm_bench.figures.ablation import ablation_figure
from rvm_bench.figures.looks import look_of
from rvm_bench.figures.noise import IouCurve, noise_figure, read_iou
from rvm_bench.figures.pareto import gflop_of, pareto_figure
from rvm_bench.figures.profile import profile_figure
from rvm_bench.figures.scores import AXES, measured, published
from rvm_bench.figures.stability import read_curves, stability_figure
from rvm_bench.profiling.points import AT_ONCE, STREAM, Point, write_points


def points(model="rvm-s", family="rvm", kind="recurrent", way=STREAM, power=1.0, **more):
    facts = dict.fromkeys(("published", "weights", "weights_sha256", "options"), "")
    machine = {"device": "cpu", "dtype": "float32", "threads": 1, "processor": "a processor", "torch": "2.13.0"}
    terms = {"size_px": 64, "repeats": 2, "passes": 2, "pass_limit_s": 60, "peak_mb": 5.0, "gflop_per_frame": 1.5}
    return [
        Point(
            **{**facts, **machine, **terms, **more},
            model=model,
            family=family,
            kind=kind,
            way=way,
            frames=n,
            wall_s=0.1 * n**power,
            wall_low_s=0.09 * n**power,
            wall_high_s=0.2 * n**power,
            cpu_s=0.05 * n**power,
            cpu_low_s=0.05 * n**power,
            cpu_high_s=0.06 * n**power,
        )
        for n in (16, 32, 64)
    ]


def overlaps(boxes):
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1:
                yield a, b


@pytest.mark.parametrize("task", sorted(AXES))
def test_pareto_of_the_paper_names_every_model_once_and_none_covers_another(task):
    models = published(task)
    drawing = pareto_figure(models, task)
    root = read_svg(drawing.svg())
    written = words(root)
    assert all(written.count(model.name) == 1 for model in models)
    assert {AXES[task], "parameters (M)"} <= set(written)
    (axes,) = drawing.figure.axes
    names = [text for text in axes.texts if text.get_text() in {model.name for model in models}]
    renderer = drawing.figure.canvas.get_renderer()
    assert not list(overlaps([text.get_window_extent(renderer) for text in names]))


def test_the_frontier_holds_who_no_smaller_model_equals():
    assert described(read_svg(pareto_figure(published("davis"), "davis").svg())).endswith(
        "Frontier of the paper's models: SiamMAE-S, RVM-S, RVM-B, RVM-L."
    )
    # Less is better there.
    depth = pareto_figure(published("scannet"), "scannet").description
    assert depth.endswith("Frontier of the paper's models: 4DS-S, SiamMAE-S, RVM-S, RVM-L, RVM-H.")


def test_pareto_shows_runs_with_their_intervals_and_floors_as_levels(tmp_path):
    write_run(tmp_path, "rvm-s", "davis", 61.5, (55, 66))
    write_run(tmp_path, "videomae-b", "davis", 30.0, (25, 35), random_weights=True)
    write_run(tmp_path, "pixels", "davis", 33.0, (28, 40))
    drawing = pareto_figure(published("davis") + measured("davis", tmp_path), "davis")
    written = words(read_svg(drawing.svg()))
    assert {"rvm-s", "videomae-b, random weights", "pixels, no parameters"} <= set(written)
    assert "rvm-s 34: 61.5 (55.0 to 66.0)" in drawing.description
    (axes,) = drawing.figure.axes
    bars = [c.get_segments()[0][:, 1].tolist() for c in axes.collections if hasattr(c, "get_segments")]
    assert sorted(bars) == [[25, 35], [55, 66]]


def test_pareto_over_flops_leaves_out_and_names_who_was_not_profiled(tmp_path):
    write_points(
        tmp_path / "p.csv", points(published="RVM-S") + points("rvm-b", published="RVM-B", gflop_per_frame=4.0)
    )
    drawing = pareto_figure(published("davis"), "davis", gflop_of(tmp_path / "p.csv"))
    assert "RVM-S 1.5: 62.9" in drawing.description
    assert "RVM-L" in drawing.notes[0]
    assert "GFLOP per frame" in words(read_svg(drawing.svg()))
    with pytest.raises(UserError, match="profile them first"):
        pareto_figure(published("davis"), "davis", {"other": 1.0})


def test_stability_draws_every_run_with_its_intervals_and_its_colour(tmp_path):
    write_curve(tmp_path, "rvm-s", 1.0)
    write_curve(tmp_path, "videomae-b", 6.0, random_weights=True)
    write_curve(tmp_path, "pixels", 9.0, ends=False)
    drawing = stability_figure(read_curves(tmp_path))
    written = words(read_svg(drawing.svg()))
    assert {"rvm-s", "videomae-b, random weights", "pixels", "16", "80"} <= set(written)
    assert "J&F in % of that at 16 frames" in written
    assert (
        "videomae-b, random weights: 16 frames 100.0 (100.0 to 100.0), 32 frames 94.0 (91.0 to 96.0)"
        in drawing.description
    )
    (axes,) = drawing.figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert to_hex(lines["rvm-s"].get_color()) == look_of("rvm-s").colour
    np.testing.assert_allclose(lines["rvm-s"].get_ydata(), [100, 99, 98, 97, 96])
    assert "J&F (%)" in words(read_svg(stability_figure(read_curves(tmp_path), absolute=True).svg()))


@pytest.mark.parametrize(("other", "what"), [({"mode": "block"}, "rules"), ({"data": "other"}, "videos")])
def test_stability_refuses_curves_that_cannot_be_compared(tmp_path, other, what):
    write_curve(tmp_path, "rvm-s", 1.0)
    write_curve(tmp_path, "pixels", 9.0, **other)
    with pytest.raises(UserError, match=f"different {what}"):
        read_curves(tmp_path)


def test_noise_draws_what_viz_wrote_between_floors_and_ceiling(cli, tmp_path):
    base = ("viz", "kmeans", "--video", "noise-square", "--size", "96", "--square", "40", "--frames", "8", "--k", "2")
    cli(*base, "--model", "pixels", "--csv", "iou.csv")
    (curve,) = read_iou([tmp_path / "iou.csv"])
    drawing = noise_figure(
        [curve, IouCurve(model="rvm-s", iou=curve.iou + 0.2, ceiling=curve.ceiling, floors=curve.floors)]
    )
    written = words(read_svg(drawing.svg()))
    assert f"pixels, mean {curve.iou[3:].mean():.3f}" in written
    assert {"frame", "IoU of one cluster and the square", "constant: all cells"} <= set(written)
    (axes,) = drawing.figure.axes
    drawn = next(line for line in axes.lines if str(line.get_label()).startswith("rvm-s"))
    np.testing.assert_allclose(drawn.get_ydata(), curve.iou + 0.2)
    with pytest.raises(UserError, match="another file has, too"):
        read_iou([tmp_path / "iou.csv", tmp_path / "iou.csv"])
    (tmp_path / "torn.csv").write_text((tmp_path / "iou.csv").read_text().replace("pixels,3", "pixels,5"))
    with pytest.raises(UserError, match="do not count from 0"):
        read_iou([tmp_path / "torn.csv"])


def test_the_ablation_prints_every_number_of_table_3():
    drawing = ablation_figure()
    written = words(read_svg(drawing.svg()))
    ssv2, kinetics = "41.020 47.230 52.34 49.1 46.38 55.09 57.20", "39.280 39.02 39.72 39.6 33.84 44.33 47.70"
    expected = f"{ssv2} {kinetics} 1.596 1.620 1.505 1.75 1.32 1.200"
    assert not [number for number in expected.split() if not any(number in text for text in written)]
    # The default stands in all three tables.
    assert [written.count(number) for number in ("52.34", "39.72", "1.50")] == [3, 3, 3]
    assert all(len(axes.collections) >= 2 for axes in drawing.figure.axes)


def test_profile_draws_time_memory_and_flops_of_every_curve_and_says_why_one_ends():
    stopped = Point(
        **{**vars(points(way=AT_ONCE)[0]), "model": "vjepa", "kind": "clip", "frames": 128, "stopped": "too long"}
    )
    curves = points() + points("vjepa", "vjepa", "clip", AT_ONCE, power=2.0) + [stopped]
    drawing = profile_figure(curves)
    written = words(read_svg(drawing.svg()))
    assert {"rvm-s, recurrent state", "vjepa, all frames at once", "time of a pass (s)", "GFLOP per frame"} <= set(
        written
    )
    assert "rvm-s, recurrent state: exponent of time 1.00 ± 0.00" in drawing.description
    assert "vjepa, all frames at once: exponent of time 2.00" in drawing.description
    assert drawing.notes == ("vjepa, all frames at once ends at 128 frames: too long",)
    assert "CPU time of a pass (s)" in words(read_svg(profile_figure(curves, "cpu").svg()))
    with pytest.raises(UserError, match="measured with threads 1 and 2"):
        profile_figure(points() + points("rvm-b", threads=2))


def test_the_same_data_gives_the_same_bytes_and_two_figures_share_no_id():
    one, again, other = (pareto_figure(published(t), t) for t in ("davis", "davis", "vip"))
    assert one.svg() == again.svg()
    ids = [set(re.findall(r'id="([^"]+)"', drawing.svg())) for drawing in (one, other)]
    assert not ids[0] & ids[1]
    assert one.png() == again.png()
