"""`rvm-bench viz` as a user meets it."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rvm_bench.cli.viz_options import weights_by_model
from rvm_bench.errors import UserError
from rvm_bench.fetch.load import load_encoder
from rvm_bench.media.drawing import tinted
from rvm_bench.media.images import write_labels
from rvm_bench.runs.predictions import read_masks
from rvm_bench.rvm import masking
from rvm_bench.viz.masks import find_sequence, propagate
from rvm_bench.viz.reconstruction import decode, deltas_within, masked

SEEING = Path(__file__).with_name("seeing.py")
NOISE = ("--video", "noise-square", "--size", "96", "--square", "40", "--speed", "5")


def picture(file):
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def test_features_of_several_models_on_a_folder_are_one_strip(cli, davis_copy):
    frames = davis_copy / "JPEGImages/480p/alpha"
    for kind in ("pca", "kmeans"):
        base = ("viz", kind, "--video", frames, "--size", "64", "--weights", "random")
        code, out, err = cli(*base, "--model", "pixels,rvm-tiny", "--out", f"{kind}.png")
        assert (code, err) == (0, "")
        assert f"{kind}.png: " in out
        cli(*base, "--model", "pixels", "--out", f"{kind}-one.png")
        both, one = picture(f"{kind}.png"), picture(f"{kind}-one.png")
        assert both.shape[0] > one.shape[0]
        assert len(np.unique(both.reshape(-1, 3), axis=0)) > 10


def test_the_noise_square_is_found_by_motion_and_measured_over_time(cli, tmp_path):
    models = f"{SEEING}:motion,pixels"
    code, out, _ = cli(
        "viz", "kmeans", "--model", models, *NOISE, "--frames", "20", "--k", "2", "--iou", "--csv", "iou.csv"
    )
    assert code == 0
    lines = {line[:12].strip(): line[12:].split() for line in out.splitlines()}
    means = [float(value) for value in lines["mean from 3"]]
    assert means[0] > 0.7
    assert means[1] < float(lines["constant"][1]) + 0.05
    assert float(lines["coin"][0]) < float(lines["constant"][0]) < float(lines["still"][0]) < means[0]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "iou.csv").read_text())))
    assert [row["model"] for row in rows] == ["motion"] * 20 + ["pixels"] * 20
    assert np.mean([float(row["iou"]) for row in rows[3:20]]) == pytest.approx(means[0], abs=6e-4)


def test_a_film_of_the_noise_square_shows_its_truth(cli):
    assert cli("viz", "kmeans", "--model", "pixels", *NOISE, "--frames", "4", "--out", "noise.gif")[0] == 0
    with Image.open("noise.gif") as film:
        assert film.n_frames == 4
    assert cli("viz", "pca", "--model", "pixels", *NOISE, "--frames", "3", "--stride", "2", "--out", "n.mp4")[0] == 0


def test_masks_made_now_are_those_that_a_run_saves(cli, davis_copy, tmp_path):
    cli("run", "--model", "pixels", "--task", "davis", "--data", davis_copy, "--save-predictions", "saved")
    task, video = find_sequence("beta", davis_copy)
    made, score = propagate(task, load_encoder("pixels"), video)
    saved = read_masks(tmp_path / "saved/davis/pixels", video, range(video.length))
    np.testing.assert_array_equal(made, saved)
    assert 0 < score <= 100

    base = ("viz", "propagation", "--model", "pixels", "--video", "beta", "--data", davis_copy)
    code, out, _ = cli(*base, "--out", "now.png")
    assert code == 0
    assert f"pixels on beta: J&F {score:.1f} %" in out
    assert cli(*base, "--predictions", "saved", "--out", "saved.png")[0] == 0
    now, then = picture("now.png"), picture("saved.png")
    assert now.shape[0] == then.shape[0]
    right = min(now.shape[1], then.shape[1]) - 150
    np.testing.assert_array_equal(now[:, -right:], then[:, -right:])


def test_predictions_that_do_not_fit_are_named(cli, davis_copy, tmp_path):
    base = ("viz", "propagation", "--model", "pixels", "--video", "beta", "--data", davis_copy, "--out", "x.png")
    code, _, err = cli(*base, "--predictions", "nowhere")
    assert code == 2
    assert "00000.png is missing; `rvm-bench run --task davis --save-predictions DIR`" in err
    write_labels(tmp_path / "p/davis/pixels/beta/00000.png", np.zeros((8, 9), np.uint8))
    assert "is 9x8 px, its frame 110x60" in cli(*base, "--predictions", "p")[2]


def test_objects_are_tinted_in_their_colours_and_void_is_not():
    mask = np.zeros((20, 40), np.uint8)
    mask[5:15, 5:15], mask[5:15, 25:35] = 1, 255
    drawn = tinted(np.full((20, 40, 3), 100, np.uint8), mask)
    assert drawn[10, 10].tolist() == [178, 135, 40]
    assert (drawn[:, 20:] == 100).all()
    assert (drawn[4, 5:15] == 255).all()


def test_a_reconstruction_is_what_the_model_decodes(cli, davis_copy):
    encoder = load_encoder("rvm-tiny", weights="random")
    frames = np.random.default_rng(0).integers(0, 256, (20, 32, 48, 3), dtype=np.uint8)
    deltas = deltas_within(20)
    assert deltas.tolist() == list(range(4, 17))
    inds_restore, hidden = masking.draw((2, 3), seed=0, targets=13, shared=False)
    targets = frames[3 + deltas]
    decoded, error = decode(encoder, frames[:4], targets, deltas, inds_restore[0])
    again, _ = decode(encoder, frames[:4], targets[9:10], deltas[9:10], inds_restore[0, 9:10])
    assert (decoded.shape, decoded.dtype) == (targets.shape, np.uint8)
    assert np.abs(decoded[9].astype(int) - again[0]).max() <= 1
    assert error > 0
    seen = masked(targets, hidden[0], 16)
    assert (seen == np.where(hidden[0].repeat(16, 1).repeat(16, 2) > 0, 128, targets)).all()


def test_reconstructions_become_a_strip_or_a_film(cli, davis_copy, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (14, 32, 48, 3), dtype=np.uint8)
    (tmp_path / "frames").mkdir()
    for t, frame in enumerate(noise):
        Image.fromarray(frame).save(tmp_path / f"frames/{t}.png")
    base = ("viz", "reconstruction", "--model", "rvm-tiny", "--weights", "random", "--size", "32")
    assert cli(*base, "--video", "frames", "--columns", "6", "--out", "r.png")[0] == 0
    assert cli(*base, "--video", "frames", "--out", "r.gif")[0] == 0
    with Image.open("r.gif") as film:
        assert film.n_frames == 7
    short = davis_copy / "JPEGImages/480p/alpha"
    assert "8 frames; the video gives 5" in cli(*base, "--video", short, "--out", "r.png")[2]
    other = ("viz", "reconstruction", "--model", "pixels", "--video", "frames", "--out", "r.png")
    assert "pixels has no decoder" in cli(*other)[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pca", "--model", "pixles", "--video", "x", "--out", "x.png"], "did you mean pixels"),
        (["pca", "--model", "pixels", "--video", "x.mp4", "--out", "x.png"], "no such file or folder"),
        (["pca", "--model", "pixels", "--video", "noise-square", "--out", "x.tif"], "must end in"),
        (["pca", "--model", "pixels", "--video", "betta", "--data", "DAVIS", "--out", "x.png"], "did you mean beta"),
        (["pca", "--model", "pixels", "--video", "noise-square", "--path", "sweeep", "--out", "x.png"], "mean sweep"),
        (["pca", "--model", "pixels", "--video", "noise-square", "--size", "64", "--out", "x.png"], "cannot move"),
        (["kmeans", "--model", "pixels", "--video", "DAVIS", "--iou"], "for --video noise-square"),
        (["kmeans", "--model", "pixels", "--video", "noise-square"], "nothing to do"),
        (["kmeans", "--model", "pixels", "--video", "noise-square", "--k", "9", "--out", "x.png"], "expected 2 to 7"),
        (["kmeans", "--model", "pixels", "--video", "noise-square", "--normalize", "l2", "--iou"], "known: channel"),
        (["pca", "--model", "rvm-tiny", "--video", "noise-square", "--out", "x.png"], "--weights random"),
        (["propagation", "--model", "pixels", "--video", "beta", "--data", "no", "--out", "x.png"], "no such data"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(cli, davis_copy, arguments, message):
    code, out, err = cli("viz", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err


def test_each_model_has_the_weights_that_name_it(tmp_path):
    file = tmp_path / "my=weights.npz"
    file.write_bytes(b"")
    models = ["pixels", "rvm-tiny", "rvm-s"]
    assert weights_by_model(models, None) == dict.fromkeys(models)
    assert weights_by_model(models, ["random"]) == {"pixels": None, "rvm-tiny": "random", "rvm-s": "random"}
    own = [f"rvm-s={file}", "rvm-tiny=random"]
    assert weights_by_model(models, own) == {"pixels": None, "rvm-tiny": "random", "rvm-s": str(file)}
    assert weights_by_model(["rvm-s"], [str(file)]) == {"rvm-s": str(file)}
    for texts, message in (
        (["rvm-x=random"], "expected a name of --model"),
        (["rvm-s=random", "rvm-s=random"], "one value for each"),
        (["random", "random"], "both for all models"),
        ([str(file)], "run them one at a time"),
        (["rvm-s=nowhere.npz"], "no such weights file"),
    ):
        with pytest.raises(UserError, match=message):
            weights_by_model(models, texts)
