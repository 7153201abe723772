"""The DAVIS task: the protocol's constants, the reader's rules, and a measure that follows the definitions."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from propagation.datasets.davis import OFFICIAL_FRAMES
from propagation.datasets.sequences import image_files
from propagation.tasks.davis import DavisProtocol
from rvm_bench.errors import UserError
from rvm_bench.media.images import read_labels


def test_the_constants_are_those_of_the_paper_and_each_has_a_source():
    protocol = DavisProtocol()
    assert (protocol.input_height_px, protocol.input_width_px) == (480, 880)
    assert (protocol.topk, protocol.temperature, protocol.n_context, protocol.radius) == (7, 0.7, 20, 20)
    assert DavisProtocol.sources().keys() == {f.name for f in dataclasses.fields(protocol)} - {"id"}


def test_the_official_split_has_30_sequences_and_1999_frames():
    assert len(OFFICIAL_FRAMES) == 30
    assert sum(OFFICIAL_FRAMES.values()) == 1999


def test_a_still_video_keeps_its_mask(davis, pixels, davis_copy):
    folder = davis_copy / "JPEGImages/480p/alpha"
    masks = davis_copy / "Annotations/480p/alpha"
    for t in range(1, 5):
        (folder / f"{t:05d}.jpg").write_bytes((folder / "00000.jpg").read_bytes())
        (masks / f"{t:05d}.png").write_bytes((masks / "00000.png").read_bytes())
    record = davis.measure(pixels, davis.open(davis_copy).videos[0])
    assert record["first_mask"] == [{"id": 1, "J": 1.0, "F": 1.0}]
    assert record["objects"][0]["J"] > 0.7


def test_holding_the_first_mask_scores_the_overlap_of_the_true_masks(davis, pixels, davis_copy):
    record = davis.measure(pixels, davis.open(davis_copy).videos[0])
    # The square of 20 px moves 3 px a frame; frames 1..T-2 are scored.
    overlap = [(20 - 3 * t) / (20 + 3 * t) for t in (1, 2, 3)]
    assert record["first_mask"][0]["J"] == pytest.approx(np.mean(overlap))


def test_first_and_last_frame_are_not_scored_and_every_object_is(davis, pixels, davis_copy):
    videos = davis.open(davis_copy).videos
    record = davis.measure(pixels, videos[1])
    assert [o["id"] for o in record["objects"]] == [1, 2]
    assert {len(o["J_frames"]) for o in record["objects"]} == {len(videos[1].frames) - 2}
    for o in record["objects"]:
        assert o["J"] == pytest.approx(np.mean(o["J_frames"]))


def test_the_score_is_the_plain_mean_over_objects_not_over_videos(davis):
    def record(*scores):
        objects = [{"id": i, "J": j, "F": f} for i, (j, f) in enumerate(scores, 1)]
        return {"objects": objects, "first_mask": objects}

    score = davis.score([record((1.0, 0.8)), record((0.1, 0.1), (0.1, 0.1), (0.0, 0.2))])
    assert score["J"] == pytest.approx(30.0)
    assert score["F"] == pytest.approx(30.0)
    assert score["J&F"] == pytest.approx(30.0)
    assert score["objects"] == 4


def test_the_same_video_gives_the_same_record(davis, pixels, davis_copy):
    video = davis.open(davis_copy).videos[1]
    assert davis.measure(pixels, video) == davis.measure(pixels, video)


def test_void_pixels_count_as_background(davis, pixels, davis_copy):
    file = davis_copy / "Annotations/480p/alpha/00000.png"
    before = davis.measure(pixels, davis.open(davis_copy).videos[0])
    mask = read_labels(file).copy()
    mask[0, 0] = 255
    image = Image.fromarray(mask)
    image.putpalette([0] * 768)
    image.save(file)
    after = davis.measure(pixels, davis.open(davis_copy).videos[0])
    assert after == before


def test_an_official_sequence_must_have_its_official_length(davis, davis_copy):
    for folder in ("JPEGImages", "Annotations"):
        (davis_copy / folder / "480p/alpha").rename(davis_copy / folder / "480p/judo")
    file = davis_copy / "ImageSets/2017/val.txt"
    file.write_text(file.read_text().replace("alpha", "judo"))
    with pytest.raises(UserError, match="has 5 frames, expected 34"):
        davis.open(davis_copy)


def test_masks_without_any_object_are_refused(davis, davis_copy):
    for file in (davis_copy / "Annotations/480p/alpha").glob("*.png"):
        Image.new("L", (110, 60)).save(file)
    with pytest.raises(UserError, match=r"00000\.png holds no object"):
        davis.open(davis_copy)


def test_a_split_that_names_a_sequence_twice_or_none_is_refused(davis, davis_copy):
    file = davis_copy / "ImageSets/2017/val.txt"
    file.write_text("alpha\nalpha\n")
    with pytest.raises(UserError, match="alpha more than once"):
        davis.open(davis_copy)
    file.write_text("\n")
    with pytest.raises(UserError, match="names no video"):
        davis.open(davis_copy)


def test_frames_are_ordered_by_their_numbers(tmp_path):
    for stem in ("10", "2", "1", "._3"):
        (tmp_path / f"{stem}.jpg").touch()
    assert [file.stem for file in image_files(tmp_path, ".jpg")] == ["1", "2", "10"]
    (tmp_path / "b2.jpg").touch()
    assert [file.stem for file in image_files(tmp_path, ".jpg")] == ["1", "10", "2", "b2"]
