"""Scans are found in both forms, in the order of their frames, and what is missing or damaged is told in one line."""

import numpy as np
import pytest
from PIL import Image

from readouts.datasets.scannet.scans import ExtractedScan, SensScan, load_clip, open_scan, resize_depth
from readouts.datasets.scannet.splits import OFFICIAL_SCANS, VAL_ROOMS, check_split, is_official, open_split, read_split
from rvm_bench.demo.sens import write_sens
from rvm_bench.errors import UserError

COLOUR_HW, DEPTH_HW = (24, 32), (12, 16)


def frames(count):
    """Flat colour that tells the frame, depth of 1 m on the left, 2 m + 1 cm a frame on the right, a hole on top."""
    for t in range(count):
        colour = np.full((*COLOUR_HW, 3), 10 + 5 * t, np.uint8)
        depth = np.full(DEPTH_HW, 1000, np.uint16)
        depth[:, 8:] = 2000 + 10 * t
        depth[:3] = 0
        yield colour, depth, np.eye(4) * (t + 1)


def extracted(root, name, count=18):
    folder = root / "scans" / name
    for kind in ("color", "depth", "pose"):
        (folder / kind).mkdir(parents=True)
    for t, (colour, depth, pose) in enumerate(frames(count)):
        Image.fromarray(colour).save(folder / f"color/{t}.jpg")
        Image.fromarray(depth).save(folder / f"depth/{t}.png")
        np.savetxt(folder / f"pose/{t}.txt", pose)
    return folder


def packed(root, name, count=18):
    (root / "scans" / name).mkdir(parents=True)
    write_sens(root / "scans" / name / f"{name}.sens", frames(count))
    return root / "scans" / name


@pytest.fixture
def root(tmp_path):
    """Two scans to train on and two to validate, each as folders and as a .sens file."""
    root = tmp_path / "ScanNet"
    for write, name in ((extracted, "scene9000_00"), (packed, "scene9001_00")):
        write(root, name)
    for write, name in ((extracted, "scene0011_00"), (packed, "scene0011_01")):
        write(root, name)
    (root / "scannetv2_train.txt").write_text("scene9000_00\nscene9001_00\n")
    (root / "scannetv2_val.txt").write_text("scene0011_00\nscene0011_01\n")
    return root


def test_both_forms_of_a_scan_give_the_same_frames(root):
    val = open_split(root, "val")
    folder, sens = val.scans
    assert (type(folder), type(sens)) == (ExtractedScan, SensScan)
    assert [scan.name for scan in val.scans] == ["scene0011_00", "scene0011_01"]
    assert folder.frames == sens.frames == folder.length == 18
    for i in (17, 0, 9):
        np.testing.assert_allclose(folder.colour(i).astype(int), sens.colour(i), atol=2)
        np.testing.assert_array_equal(folder.depth(i), sens.depth(i))
        np.testing.assert_allclose(folder.pose(i), sens.pose(i))
        assert folder.depth(i).dtype == np.uint16


def test_frames_are_in_the_order_of_their_numbers_not_of_their_names(root):
    scan = open_scan(root, "scene9000_00")
    assert [name for name, _ in scan.colour_files][:12] == [f"{t}.jpg" for t in range(12)]
    shades = [scan.colour(i).mean() for i in range(scan.frames)]
    np.testing.assert_allclose(shades, 10 + 5 * np.arange(18), atol=2)
    np.testing.assert_array_equal([scan.depth(i)[-1, -1] for i in range(18)], 2000 + 10 * np.arange(18))


def test_a_scan_that_has_both_forms_is_read_from_its_sens_file(root):
    write_sens(root / "scans/scene9000_00/scene9000_00.sens", frames(16))
    assert open_scan(root, "scene9000_00").frames == 16


def test_names_that_are_no_frames_are_not_counted(root):
    for name in ("._0.jpg", "thumb.jpg", "notes.txt", "²³.jpg"):
        (root / "scans/scene9000_00/color" / name).write_bytes(b"x")
    assert open_scan(root, "scene9000_00").frames == 18


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "depth/5.png").unlink(), "depth lacks frame 5 of 18 frames in color/"),
        (lambda f: [(f / f"color/{t}.jpg").unlink() for t in (3, 10, 11, 12)],
         "color lacks frames 3, 10, 11, ... (4) of 18 frames in depth/"),
        (lambda f: [(f / f"{k}/7.{s}").unlink() for k, s in (("color", "jpg"), ("depth", "png"))],
         "lacks frame 7 in color/ and depth/"),
        (lambda f: [(f / f"{k}/0.{s}").unlink() for k, s in (("color", "jpg"), ("depth", "png"))],
         "lacks frame 0 in color/ and depth/"),
        (lambda f: (f / "color/4.jpg").write_bytes(b""), "color/4.jpg is empty"),
        (lambda f: (f / "color/004.jpg").write_bytes(b"x"), "holds frame 4 twice"),
        (lambda f: (f / "color/0.jpg").write_bytes(b"x" * 99), "color/0.jpg cannot be read as an image"),
        (lambda f: (f / "depth/0.png").write_bytes(b"x" * 99), "depth/0.png cannot be read as a depth image"),
        (lambda f: Image.new("L", (16, 12)).save(f / "depth/0.png"), "has mode L, expected a 16-bit gray PNG"),
        (lambda f: (f / "depth").rename(f / "depths"), "depth lacks frames 0, 1, 2, ... (18)"),
        (lambda f: f.rename(f.with_name("away")), "is missing or empty; expected scene9000_00.sens, or color/"),
    ],
)  # fmt: skip
def test_damage_is_one_line_and_can_be_left_out(root, damage, message):
    damage(root / "scans/scene9000_00")
    with pytest.raises(UserError) as told:
        open_split(root, "train")
    assert message in str(told.value)
    assert "\n" not in str(told.value)
    assert "data check scannet" in str(told.value)
    split = open_split(root, "train", allow_missing=True)
    assert [scan.name for scan in split.scans] == ["scene9001_00"]
    coverage = split.coverage
    assert (coverage.listed, coverage.usable, coverage.official) == (2, 1, 1201)
    assert coverage.partial
    assert len(coverage.missing) == 1
    assert coverage.missing[0].startswith("scene9000_00: ")
    assert message in coverage.missing[0]


def test_a_sens_file_cut_in_half_is_a_missing_scan(root):
    file = root / "scans/scene9001_00/scene9001_00.sens"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match=r"of 18 frames are complete"):
        open_split(root, "train")


def test_nothing_whole_is_an_error_even_if_missing_is_allowed(root):
    for scan in ("scene9000_00", "scene9001_00"):
        (root / "scans" / scan).rename(root / "scans" / f"away_{scan}")
    with pytest.raises(UserError, match=r"\(and 1 more of 2\).*no scan can be used"):
        open_split(root, "train", allow_missing=True)


def test_a_scan_shorter_than_a_clip_is_told(root):
    packed(root, "scene9002_00", 15)
    with pytest.raises(UserError, match="has 15 frames; a clip has 16"):
        open_scan(root, "scene9002_00")


@pytest.mark.parametrize(("step", "message"), [(100, "scannet_frames_25k, every 100th"), (20, "only every 20th frame")])
def test_a_subsampled_scan_is_refused_with_the_reason(root, step, message):
    folder = root / "scans/scene9000_00"
    for t in range(17, 0, -1):
        (folder / f"color/{t}.jpg").rename(folder / f"color/{t * step}.jpg")
        (folder / f"depth/{t}.png").rename(folder / f"depth/{t * step}.png")
    with pytest.raises(UserError, match=message):
        open_scan(root, "scene9000_00")


def test_scannet_frames_25k_is_recognised(tmp_path):
    copy = tmp_path / "scannet_frames_25k"
    (copy / "scene0000_00/color").mkdir(parents=True)
    for root in (tmp_path, copy):
        with pytest.raises(UserError, match="every 100th frame, has no neighbouring frames"):
            open_split(root, "val")


@pytest.mark.parametrize("folder", ["splits", "Tasks/Benchmark"])
def test_split_files_are_found_where_people_put_them(root, folder):
    (root / folder).mkdir(parents=True)
    (root / "scannetv2_val.txt").rename(root / folder / "scannetv2_val.txt")
    assert read_split(root, "val")[1] == ["scene0011_00", "scene0011_01"]
    assert len(open_split(root, "val").scans) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "names no scan"),
        ("scene0011_00\nscene0011_00\n", "names scene0011_00 more than once"),
        ("../../etc\n", "names '../../etc'; expected scans such as scene0000_00"),
    ],
)
def test_a_wrong_split_file_is_told(root, content, message):
    (root / "scannetv2_val.txt").write_text(content)
    with pytest.raises(UserError, match=message):
        open_split(root, "val")


def test_a_missing_split_file_and_an_unknown_split_are_told(root):
    (root / "scannetv2_val.txt").unlink()
    with pytest.raises(UserError, match=r"scannetv2_val\.txt is missing .*github\.com/ScanNet/ScanNet"):
        open_split(root, "val")
    with pytest.raises(UserError, match="unknown split 'vall'; did you mean val"):
        open_split(root, "vall")


def test_the_official_split_is_known_by_rooms(root):
    assert len(VAL_ROOMS) == 142, "rooms of the 312 official scans"
    assert is_official("scene0011_01", "val")
    assert is_official("scene0000_00", "train")
    assert not is_official("scene0011_01", "train")
    assert not is_official("scene0707_00", "train"), "the test split begins here"
    assert not is_official("scene9000_00", "val")
    coverage = open_split(root, "val").coverage
    assert (coverage.in_official, coverage.official) == (2, OFFICIAL_SCANS["val"])
    assert not coverage.complete


def test_check_decodes_every_frame(root):
    assert check_split(root, "val") == ["scannetv2_val.txt names 2 of the 312 official scans"]
    Image.new("L", (16, 12)).save(root / "scans/scene0011_00/depth/11.png")
    open_split(root, "val")
    lines = check_split(root, "val")
    assert len(lines) == 2
    assert lines[0].startswith("scene0011_00: ")
    assert "11.png has mode L" in lines[0]
    assert any("scene9000_00: not in the official train split" in line for line in check_split(root, "train"))


def test_the_manifest_changes_with_files_and_split_and_not_otherwise(root):
    hashes = [open_split(root, "train").manifest_sha256 for _ in range(2)]
    assert hashes[0] == hashes[1] != open_split(root, "val").manifest_sha256
    with (root / "scans/scene9000_00/color/3.jpg").open("ab") as file:
        file.write(b"\0")
    hashes.append(open_split(root, "train").manifest_sha256)
    write_sens(root / "scans/scene9001_00/scene9001_00.sens", frames(17))
    hashes.append(open_split(root, "train").manifest_sha256)
    (root / "scannetv2_train.txt").write_text("scene9001_00\nscene9000_00\n")
    hashes.append(open_split(root, "train").manifest_sha256)
    assert len(set(hashes)) == 4


@pytest.mark.parametrize("name", ["scene9000_00", "scene9001_00"])
def test_a_clip_is_colour_and_metres_in_one_square(root, name):
    colour, depth = load_clip(open_scan(root, name), [0, 5, 17], 28)
    assert (colour.shape, colour.dtype) == ((3, 28, 28, 3), np.uint8)
    assert (depth.shape, depth.dtype) == ((3, 28, 28), np.float32)
    np.testing.assert_allclose(colour.mean(axis=(1, 2, 3)), [10, 35, 95], atol=2)
    assert (depth[:, :7] == 0).all(), "three rows of twelve are seven of 28"
    np.testing.assert_allclose(depth[:, 7:, :14], 1.0)
    np.testing.assert_allclose(depth[:, 7:, 14:], np.array([2.0, 2.05, 2.17])[:, None, None] * np.ones((21, 14)))


def test_resized_depth_holds_only_values_that_were_there_each_in_its_place():
    depth = np.arange(12 * 16).reshape(12, 16)
    np.testing.assert_array_equal(resize_depth(depth, (12, 16)), depth)
    np.testing.assert_array_equal(resize_depth(depth, (36, 16))[1::3], depth)
    np.testing.assert_array_equal(resize_depth(depth, (4, 16)), depth[1::3], "the middle row of each three")
    flipped = resize_depth(depth[::-1, ::-1], (36, 48))
    np.testing.assert_array_equal(resize_depth(depth, (36, 48))[::-1, ::-1], flipped)
