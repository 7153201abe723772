"""A copy of Kinetics-700-2020 is read strictly, and what is missing of it is told."""

import types

import pytest

from readouts.datasets.kinetics import COLUMNS, OFFICIAL, open_kinetics
from rvm_bench.errors import UserError

HEADER = ",".join(COLUMNS)
TRAIN = [
    "waving hand,-aaaaaaaaaa,1,11,train",
    "air drumming,bbbbbbbbbbb,20.0,30.0,train",
    "waving hand,-aaaaaaaaaa,50,60,train",
]
VAL = ["air drumming,_cccccccccc,0,10,val"]
STEMS = ("-aaaaaaaaaa_000001_000011", "bbbbbbbbbbb_000020_000030", "-aaaaaaaaaa_000050_000060")
TASK = types.SimpleNamespace(name="k700")


def write_copy(root, *, train=TRAIN, val=VAL, header=HEADER):
    for split, rows in (("train", train), ("val", val)):
        (root / split).mkdir(parents=True)
        (root / f"{split}.csv").write_text("".join(f"{line}\n" for line in (header, *rows)))
    for number, stem in enumerate(STEMS):
        (root / "train" / f"{stem}.mp4").write_bytes(b"x" * (number + 1))
    (root / "val/_cccccccccc_000000_000010.mp4").write_bytes(b"xx")
    return root


@pytest.fixture
def copy(tmp_path):
    return write_copy(tmp_path / "K700")


def seen(split):
    return [(example.name, example.label) for example in split.examples]


def test_classes_are_the_sorted_labels_and_videos_are_named_by_their_seconds(copy):
    opened = open_kinetics(copy)
    assert opened.classes == ("air drumming", "waving hand")
    assert seen(opened.training) == list(zip(STEMS, (1, 0, 1), strict=True))
    assert seen(opened.evaluation) == [("_cccccccccc_000000_000010", 0)]
    assert opened.training.examples[0].file == copy / "train" / f"{STEMS[0]}.mp4"


def test_the_names_that_deepmind_uses_are_known_too(copy):
    (copy / "annotations").mkdir()
    (copy / "train.csv").rename(copy / "annotations/train.csv")
    (copy / "val.csv").unlink()
    row = "air drumming,_cccccccccc,0,10,validate,1"
    # A byte order mark and a further column do no harm.
    (copy / "annotations/validate.csv").write_text(f"\ufeff{HEADER},is_cc\n{row}\n", encoding="utf-8")
    (copy / "val").rename(copy / "validate")
    assert seen(open_kinetics(copy).evaluation) == [("_cccccccccc_000000_000010", 0)]


@pytest.mark.parametrize("between", ["_", " "])
def test_videos_may_lie_in_folders_of_classes(copy, between):
    flat = open_kinetics(copy)
    for split, stem, label in (
        ("train", STEMS[0], "waving hand"),
        ("train", STEMS[1], "air drumming"),
        ("train", STEMS[2], "waving hand"),
        ("val", "_cccccccccc_000000_000010", "air drumming"),
    ):
        folder = copy / split / label.replace(" ", between)
        folder.mkdir(exist_ok=True)
        (copy / split / f"{stem}.mp4").rename(folder / f"{stem}.mp4")
    opened = open_kinetics(copy)
    assert seen(opened.training) == seen(flat.training)
    assert opened.training.examples[0].file == copy / "train" / f"waving{between}hand" / f"{STEMS[0]}.mp4"
    assert opened.manifest_sha256() == flat.manifest_sha256()


def test_of_two_files_of_one_name_the_one_in_the_folder_of_the_label_is_meant(copy):
    for folder in ("air_drumming", "waving_hand"):
        (copy / "train" / folder).mkdir()
        (copy / "train" / folder / f"{STEMS[0]}.mp4").write_bytes(b"xxx")
    assert open_kinetics(copy).training.examples[0].file.parent.name == "waving_hand"
    (copy / "train/waving_hand" / f"{STEMS[0]}.mp4").unlink()
    with pytest.raises(UserError, match=r"have the same name and neither is in the folder of 'waving hand'"):
        open_kinetics(copy)


def with_row(split, row):
    return {split: [*(TRAIN if split == "train" else VAL), row]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"header": "label,youtube_id,start,end,split"}, r"train\.csv has no column time_start and no time_end; exp"),
        ({"train": []}, r"train\.csv lists no video"),
        (with_row("train", "air drumming,ddddddddddd,1,11,test"), r"train\.csv, line 5 has the split 'test', exp"),
        (with_row("val", "air drumming,ddddddddddd,1,11,train"), r"val\.csv, line 3 .* expected val or validate or"),
        (with_row("val", ",ddddddddddd,1,11,val"), r"val\.csv, line 3 has no label; the test split has none"),
        (with_row("train", "air drumming,ddddddddddd,one,11,train"), "line 5 has the time_start 'one'"),
        (with_row("train", "air drumming,ddddddddddd,1,,train"), "line 5 has the time_end ''"),
        (with_row("train", "air drumming,ddddddddddd,nan,11,train"), "line 5 has the time_start 'nan'"),
        (with_row("train", "air drumming,ddddddddddd,-1,11,train"), "line 5 has the time_start '-1'"),
        (with_row("train", "air drumming,ddddddddddd,11,11,train"), "ends at 11 s and starts at 11 s"),
        (with_row("train", "air drumming,#NAME?,1,11,train"), "youtube_id '#NAME\\?', expected 11 .* spreadsheets"),
        (with_row("train", "air drumming,ddddddddddd,1,11"), "line 5 does not have as many values"),
        (with_row("train", "air drumming,ddddddddddd,1,11,train,x"), "line 5 does not have as many values"),
        (with_row("train", TRAIN[1]), r"line 5 lists bbbbbbbbbbb_000020_000030 again, after line 3"),
        (
            with_row("val", "air druming,ddddddddddd,1,11,val"),
            r"val\.csv, line 3: unknown label 'air druming'; did you mean air drumming",
        ),
    ],
)  # fmt: skip
def test_a_wrong_row_is_one_clear_line(tmp_path, changes, message):
    copy = write_copy(tmp_path / "K700", **changes)
    with pytest.raises(UserError, match=message) as error:
        open_kinetics(copy)
    assert "\n" not in str(error.value)


def test_missing_lists_and_folders_are_named(copy):
    (copy / "val").rename(copy / "testing")
    with pytest.raises(UserError, match="val is missing, nor is validate or validation; expected a folder of videos"):
        open_kinetics(copy)
    (copy / "val.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"val\.csv cannot be read as comma-separated text"):
        open_kinetics(copy)
    (copy / "train.csv").unlink()
    with pytest.raises(UserError, match=r"train\.csv is missing, nor is annotations/train\.csv; expected a list"):
        open_kinetics(copy)


def test_missing_videos_are_counted_and_named(copy):
    (copy / "train" / f"{STEMS[1]}.mp4").unlink()
    opened = open_kinetics(copy)
    line = f"train: {copy / 'train' / STEMS[1]}.mp4 is missing"
    assert opened.problems()[-2:] == ["class 'air drumming' has no training video", line]
    with pytest.raises(UserError, match=r"is missing; `rvm-bench data check k700 --data .* --allow-missing"):
        opened.dataset(TASK, length=112, allow_missing=False)
    dataset = opened.dataset(TASK, length=112, allow_missing=True)
    assert dataset.coverage.missing == (line,)
    assert dataset.coverage.partial
    assert dataset.frames == 112


def test_links_are_followed_and_a_link_to_nothing_is_missing(copy, tmp_path):
    before = open_kinetics(copy).manifest_sha256()
    file = copy / "train" / f"{STEMS[0]}.mp4"
    target = tmp_path / "a disk"
    file.rename(target)
    file.symlink_to(target)
    assert open_kinetics(copy).manifest_sha256() == before
    target.unlink()
    assert len(open_kinetics(copy).training.missing) == 1


def test_another_number_of_videos_is_told_with_what_it_may_be(copy):
    assert open_kinetics(copy).problems() == [
        "classes: 2 listed, Kinetics-700-2020 has 700",
        f"videos of the train split: 3 listed, Kinetics-700-2020 has 542,352{OFFICIAL.beware}",
        f"videos of the val split: 1 listed, Kinetics-700-2020 has 34,125{OFFICIAL.beware}",
    ]
    assert not open_kinetics(copy).dataset(TASK, length=112, allow_missing=False).coverage.complete
