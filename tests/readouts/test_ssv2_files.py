"""A copy of Something-Something v2 is read strictly, and what is missing of it is told."""

import json
import types

import pytest

from readouts.datasets.ssv2 import OFFICIAL, PREFIX, VIDEOS, open_ssv2
from readouts.datasets.video_lists import SHOWN, ClipExample
from rvm_bench.errors import UserError

LABELS = {"Holding something": "1", "Closing something": "0", "Opening something": "2"}
TRAIN = [("11", "Holding [something]"), ("3", "Closing [something]"), ("7", "Opening [something]")]
VALIDATION = [("20", "Closing [something]"), ("4", "Opening [something]")]
TASK = types.SimpleNamespace(name="ssv2")


def entries(videos):
    return [
        {"id": i, "label": "holding a cup", "template": template, "placeholders": ["a cup"]} for i, template in videos
    ]


def write_copy(root, *, labels=LABELS, train=TRAIN, validation=VALIDATION, prefix=PREFIX, place=""):
    (root / VIDEOS).mkdir(parents=True)
    (root / place).mkdir(exist_ok=True)
    for name, content in (("labels", labels), ("train", entries(train)), ("validation", entries(validation))):
        (root / place / f"{prefix}{name}.json").write_text(json.dumps(content))
    for number, (i, _) in enumerate([*train, *validation]):
        (root / VIDEOS / f"{i}.webm").write_bytes(b"x" * (number + 1))
    return root


@pytest.fixture
def copy(tmp_path):
    return write_copy(tmp_path / "SSv2")


def spoil(root, name, change):
    """Rewrites one json file with what `change` makes of its content."""
    file = root / f"{PREFIX}{name}.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(change(content)))
    return root


def with_first(**changes):
    return lambda listed: [{**listed[0], **changes}, *listed[1:]]


def test_classes_are_in_the_order_of_their_indices_and_videos_in_that_of_their_list(copy):
    opened = open_ssv2(copy)
    assert opened.classes == ("Closing something", "Holding something", "Opening something")
    assert [(e.name, e.label) for e in opened.training.examples] == [("11", 1), ("3", 0), ("7", 2)]
    assert [(e.name, e.label) for e in opened.evaluation.examples] == [("20", 0), ("4", 2)]
    assert opened.training.examples[0] == ClipExample(name="11", file=copy / VIDEOS / "11.webm", label=1)


@pytest.mark.parametrize("prefix", [PREFIX, ""])
@pytest.mark.parametrize("place", ["", "labels"])
def test_annotations_are_found_where_they_usually_are(tmp_path, prefix, place):
    opened = open_ssv2(write_copy(tmp_path / "SSv2", prefix=prefix, place=place))
    assert len(opened.training.examples) == 3


def test_a_data_set_takes_the_validation_videos_and_knows_the_copy_is_not_official(copy):
    dataset = open_ssv2(copy).dataset(TASK, length=16, allow_missing=False)
    assert [video.name for video in dataset.videos] == ["20", "4"]
    assert dataset.frames == 32
    assert dataset.coverage.to_dict() == {
        "listed": 2, "usable": 2, "official": 24_777, "in_official": 0, "missing": []
    }  # fmt: skip
    assert open_ssv2(copy).problems() == [
        "classes: 3 listed, Something-Something v2 has 174",
        "videos of the train split: 3 listed, Something-Something v2 has 168,913",
        "videos of the validation split: 2 listed, Something-Something v2 has 24,777",
    ]


def test_a_copy_with_the_official_numbers_counts_as_official(copy, monkeypatch):
    official = type(OFFICIAL)(title="toy", classes=3, training=3, evaluation=2)
    monkeypatch.setattr("readouts.datasets.ssv2.OFFICIAL", official)
    assert open_ssv2(copy).problems() == []
    assert open_ssv2(copy).dataset(TASK, length=16, allow_missing=False).coverage.complete


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("labels", lambda _: [], "holds no object of classes"),
        ("labels", lambda labels: {**labels, "Opening something": "two"}, "'Opening something' has the index 'two'"),
        ("labels", lambda labels: {**labels, "Opening something": True}, "has the index True"),
        ("labels", lambda labels: {**labels, "Opening something": "3"}, "must be 0 to 2, each once; 2 is missing"),
        ("labels", lambda labels: {**labels, "Opening something": "1"}, "must be 0 to 2, each once; 1 is there twice"),
        ("train", lambda _: {}, "lists no video"),
        ("train", lambda _: [], "lists no video"),
        ("train", lambda listed: ["1", *listed], "entry 1 of 4 is '1', expected an object"),
        ("train", lambda listed: [{"id": "11"}, *listed[1:]], r"entry 1 of 3 \(id '11'\) has no template"),
        ("train", lambda listed: [{"template": "x"}, *listed[1:]], r"entry 1 of 3 \(id None\) has no id"),
        ("train", with_first(id=11), "has 11 as its id; expected a string"),
        ("train", with_first(id="3"), "entry 2 of 3 has the id 3, which the train split listed before"),
        ("validation", with_first(id="7"), "entry 1 of 2 has the id 7, which the train split listed before"),
        (
            "validation",
            with_first(template="Closng [something]"),
            r"entry 1 of 2 \(id 20\): unknown template 'Closng something'; did you mean Closing something",
        ),
    ],
)
def test_a_wrong_annotation_is_one_clear_line(copy, name, change, message):
    with pytest.raises(UserError, match=message) as error:
        open_ssv2(spoil(copy, name, change))
    assert f"{PREFIX}{name}.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_or_broken_files_are_named(copy):
    file = copy / f"{PREFIX}train.json"
    content = file.read_text()
    file.write_text(content[:50])
    with pytest.raises(UserError, match=r"train\.json cannot be read as JSON"):
        open_ssv2(copy)
    file.unlink()
    with pytest.raises(UserError, match=r"v2-train\.json is missing, nor is labels/something.*or train\.json"):
        open_ssv2(copy)
    file.write_text(content)
    (copy / VIDEOS).rename(copy / "videos")
    with pytest.raises(UserError, match="20bn-something-something-v2 is missing; expected a folder"):
        open_ssv2(copy)


def test_missing_videos_are_refused_or_left_out_and_counted(copy):
    (copy / VIDEOS / "4.webm").unlink()
    (copy / VIDEOS / "11.webm").write_bytes(b"")
    (copy / VIDEOS / "._4.webm").write_bytes(b"an archiver's")
    opened = open_ssv2(copy)
    lines = (f"train: {copy / VIDEOS / '11.webm'} is empty", f"validation: {copy / VIDEOS / '4.webm'} is missing")
    assert opened.problems()[-3:] == ["class 'Holding something' has no training video", *lines]
    with pytest.raises(UserError, match=r"train: .*11\.webm is empty \(and 1 more of 5\); `rvm-bench data check ssv2"):
        opened.dataset(TASK, length=16, allow_missing=False)
    dataset = opened.dataset(TASK, length=16, allow_missing=True)
    assert [video.name for video in dataset.videos] == ["20"]
    assert [example.name for example in opened.training.examples] == ["3", "7"]
    assert (dataset.coverage.listed, dataset.coverage.usable, dataset.coverage.missing) == (2, 1, lines)
    assert dataset.coverage.partial


def test_thousands_of_missing_videos_do_not_flood_the_coverage(tmp_path):
    many = [(str(100 + i), "Closing [something]") for i in range(SHOWN + 5)]
    root = write_copy(tmp_path / "SSv2", train=[*TRAIN, *many])
    for name, _ in many:
        (root / VIDEOS / f"{name}.webm").unlink()
    opened = open_ssv2(root)
    missing = opened.dataset(TASK, length=16, allow_missing=True).coverage.missing
    assert len(missing) == SHOWN + 1
    assert missing[0] == "train: 15 of 18 videos are missing, 10 of them named here"
    assert sum("is missing" in line for line in opened.problems()) == SHOWN + 5


def test_a_split_without_any_video_cannot_be_used(copy):
    for name, _ in VALIDATION:
        (copy / VIDEOS / f"{name}.webm").unlink()
    with pytest.raises(UserError, match=r"no video of the validation split .*20\.webm is missing"):
        open_ssv2(copy).dataset(TASK, length=16, allow_missing=True)


def test_the_identity_follows_annotations_and_the_size_of_every_video(copy, tmp_path):
    first = open_ssv2(copy).manifest_sha256()
    assert open_ssv2(write_copy(tmp_path / "elsewhere")).manifest_sha256() == first
    (copy / VIDEOS / "unlisted.webm").write_bytes(b"x")
    assert open_ssv2(copy).manifest_sha256() == first
    seen = {first}
    for name in ("3", "20"):
        file = copy / VIDEOS / f"{name}.webm"
        file.write_bytes(file.read_bytes() + b"x")
        seen.add(open_ssv2(copy).manifest_sha256())
    (copy / VIDEOS / "7.webm").unlink()
    seen.add(open_ssv2(copy).manifest_sha256())
    spoil(copy, "validation", with_first(label="another text"))
    seen.add(open_ssv2(copy).manifest_sha256())
    assert len(seen) == 5
