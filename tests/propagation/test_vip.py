"""The VIP task: the protocol's constants, the reader's strictness, and a measure that follows the definitions."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from propagation.datasets.vip import OFFICIAL_VIDEOS
from propagation.metrics import mean_iou
from propagation.tasks.vip import VipProtocol, VipTask
from rvm_bench import evaluate
from rvm_bench.errors import UserError
from rvm_bench.fetch.load import load_encoder
from rvm_bench.media.images import read_labels

HEIGHT_PX, WIDTH_PX = 60, 110
STEMS = [f"{1 + 25 * t:012d}" for t in range(4)]
MASK_DIR, FRAME_DIR = "Annotations/Category_ids", "Images"


@pytest.fixture
def task():
    """The official protocol at a smaller input, so that a video takes a fraction of a second."""
    return VipTask(VipProtocol(input_height_px=96, input_width_px=176, radius=4))


@pytest.fixture(scope="module")
def pixels():
    return load_encoder("pixels", device="cpu")


@pytest.fixture
def vip_copy(tmp_path):
    """A tiny data set in the VIP layout: two squares of classes 4 and 13 that move over noise, three pixels a frame."""
    return write_vip(tmp_path / "VIP", ["videos7", "videos8", "videos30"])


def write_vip(root, names):
    rng = np.random.default_rng(0)
    (root / "lists").mkdir(parents=True)
    (root / "lists/val_videos.txt").write_text("".join(f"{name}\n" for name in names))
    for number, name in enumerate(names):
        background = rng.integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
        squares = rng.integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
        for folder in (FRAME_DIR, MASK_DIR):
            (root / folder / name).mkdir(parents=True)
        for t, stem in enumerate(STEMS):
            frame, mask = background.copy(), np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
            for square, label, top in zip(squares, (4, 13), (8, 32), strict=True):
                left = 10 + 10 * (number % 5) + 3 * t
                frame[top : top + 20, left : left + 20], mask[top : top + 20, left : left + 20] = square, label
            Image.fromarray(frame).save(root / FRAME_DIR / name / f"{stem}.jpg", quality=95)
            write_mask(root / MASK_DIR / name / f"{stem}.png", mask)
    return root


def write_mask(file, mask):
    """As a gray PNG or as a palette PNG, by turns: both occur."""
    image = Image.fromarray(mask)
    if int(file.stem) % 2:
        image.putpalette([0, 0, 0] * 256)
    image.save(file)


def edit_mask(copy, t, change, name="videos7"):
    """Rewrites the mask of one frame by `change`, which edits it in place."""
    file = copy / MASK_DIR / name / f"{STEMS[t]}.png"
    mask = read_labels(file).copy()
    change(mask)
    write_mask(file, mask)


def first(task, copy):
    return task.open(copy).videos[0]


def matrices(record):
    return np.array(record["confusion"]), np.array(record["first_mask"])


def test_the_protocol_is_the_papers_and_every_constant_says_where_it_comes_from():
    protocol = VipProtocol()
    assert (protocol.input_height_px, protocol.input_width_px) == (448, 880)
    assert (protocol.topk, protocol.temperature, protocol.n_context, protocol.radius) == (10, 0.7, 20, 20)
    assert (protocol.classes, protocol.ignored) == (20, 255)
    assert VipProtocol.sources().keys() == {f.name for f in dataclasses.fields(protocol)} - {"id"}


def test_every_frame_counts_and_every_pixel_of_it(task, pixels, vip_copy):
    record = task.measure(pixels, first(task, vip_copy))
    assert record["frames"] == len(STEMS)
    for matrix in matrices(record):
        assert matrix.shape == (20, 20)
        assert matrix.sum() == len(STEMS) * HEIGHT_PX * WIDTH_PX
        assert matrix[4].sum() == matrix[13].sum() == len(STEMS) * 400


def test_holding_the_first_mask_scores_the_overlap_of_the_true_masks(task, pixels, vip_copy):
    record = task.measure(pixels, first(task, vip_copy))
    # The squares of 20 px move 3 px a frame; frame 0 counts too. What a square has left is background, and conversely.
    shared = sum(20 * (20 - 3 * t) for t in range(4))
    left = 1600 - shared
    background = 4 * HEIGHT_PX * WIDTH_PX - 2 * 1600
    expected = [(background - 2 * left) / (background + 2 * left), shared / (1600 + left), shared / (1600 + left)]
    np.testing.assert_allclose(mean_iou(matrices(record)[1])[1][[0, 4, 13]], expected, atol=1e-12)
    assert task.score([record])["first_mask mIoU"] == pytest.approx(100 * np.mean(expected))


def test_a_still_video_keeps_its_mask(task, pixels, vip_copy):
    for t in range(1, 4):
        for folder, suffix in ((FRAME_DIR, "jpg"), (MASK_DIR, "png")):
            source, target = (vip_copy / folder / "videos7" / f"{STEMS[k]}.{suffix}" for k in (0, t))
            target.write_bytes(source.read_bytes())
    record = task.measure(pixels, first(task, vip_copy))
    assert task.score([record])["first_mask mIoU"] == 100
    assert task.score([record])["mIoU"] > 70


def test_only_ids_of_frame_0_are_predicted_and_a_later_class_is_missed(task, pixels, vip_copy):
    edit_mask(vip_copy, 2, lambda mask: mask.__setitem__(np.s_[:5, :5], 19))
    record = task.measure(pixels, first(task, vip_copy))
    for matrix in matrices(record):
        assert set(np.flatnonzero(matrix.sum(axis=0))) <= {0, 4, 13}
        assert matrix[19].sum() == 25
    score = task.score([record])
    assert score["IoU class 19"] == 0
    assert "IoU class 5" not in score
    assert {key for key in score if key.startswith("IoU")} == {f"IoU class {i}" for i in (0, 4, 13, 19)}


def test_a_video_of_one_class_is_predicted_whole(task, pixels, vip_copy):
    for t in range(4):
        edit_mask(vip_copy, t, lambda mask: mask.fill(6))
    record = task.measure(pixels, first(task, vip_copy))
    score = task.score([record])
    assert score["mIoU"] == score["IoU class 6"] == score["first_mask mIoU"] == 100
    edit_mask(vip_copy, 3, lambda mask: mask.fill(0))
    assert task.score([task.measure(pixels, first(task, vip_copy))])["mIoU"] == pytest.approx(37.5)


def test_ignored_pixels_of_a_later_frame_are_not_counted(task, pixels, vip_copy):
    edit_mask(vip_copy, 1, lambda mask: mask.fill(255))
    edit_mask(vip_copy, 2, lambda mask: mask.__setitem__(np.s_[:, :10], 255))
    for matrix in matrices(task.measure(pixels, first(task, vip_copy))):
        assert matrix.sum() == 3 * HEIGHT_PX * WIDTH_PX - 10 * HEIGHT_PX


def test_ignored_pixels_of_frame_0_vote_for_nothing_and_are_never_predicted(task, pixels, vip_copy):
    edit_mask(vip_copy, 0, lambda mask: mask.__setitem__(np.s_[:, 60:], 255))
    video = first(task, vip_copy)
    heat, label_ids, held = task._first_labels(video, pixels.grid(*task.protocol.input_hw))
    assert label_ids.tolist() == [0, 4, 13]
    assert (heat[:, -4:] == 0).all()
    np.testing.assert_allclose(heat[:, :5].sum(axis=-1), 1, atol=1e-6)
    assert (held[:, 60:] == 0).all()
    for matrix in matrices(task.measure(pixels, video)):
        assert set(np.flatnonzero(matrix.sum(axis=0))) <= {0, 4, 13}


def test_the_score_of_records_is_that_of_one_matrix_over_all_videos(task, pixels, vip_copy):
    records = [task.measure(pixels, video) for video in task.open(vip_copy).videos]
    total = sum(matrices(record)[0] for record in records)
    miou, iou = mean_iou(total)
    score = task.score(records)
    assert score["mIoU"] == pytest.approx(100 * miou)
    assert score["IoU class 4"] == pytest.approx(100 * iou[4])
    assert score["videos"] == 3
    assert score["mIoU"] != pytest.approx(np.mean([task.score([record])["mIoU"] for record in records]))
    np.testing.assert_array_equal(
        [score[f"IoU class {i}"] for i in (0, 4, 13)], [100 * float(i) for i in iou[~np.isnan(iou)]]
    )


def test_the_same_video_gives_the_same_record(task, pixels, vip_copy):
    video = task.open(vip_copy).videos[1]
    assert task.measure(pixels, video) == task.measure(pixels, video)


def test_an_evaluation_ends_in_a_score_with_its_floor(task, vip_copy, tmp_path):
    ticks = []
    video = first(task, vip_copy)
    task.measure(load_encoder("pixels", device="cpu"), video, lambda: ticks.append(1))
    assert len(ticks) == video.length
    result = evaluate("pixels", task, data=vip_copy.parent, out=tmp_path / "runs")
    assert result.metric == "mIoU"
    assert 0 < result.score["first_mask mIoU"] < 100
    low, high = result.interval
    assert low <= result.value <= high
    assert result.score == task.score(result.records)


DAMAGE = {
    "a frame": lambda d: (d / FRAME_DIR / f"videos7/{STEMS[2]}.jpg").unlink(),
    "a mask": lambda d: (d / MASK_DIR / f"videos7/{STEMS[3]}.png").unlink(),
    "a truncated frame": lambda d: cut(d / FRAME_DIR / f"videos7/{STEMS[1]}.jpg"),
    "a truncated mask": lambda d: cut(d / MASK_DIR / f"videos7/{STEMS[1]}.png"),
    "a mask of another size": lambda d: Image.new("L", (7, 7)).save(d / MASK_DIR / f"videos7/{STEMS[3]}.png"),
    "a frame of another size": lambda d: Image.new("RGB", (7, 7)).save(d / FRAME_DIR / f"videos7/{STEMS[3]}.jpg"),
    "a mask in colours": lambda d: Image.new("RGB", (WIDTH_PX, HEIGHT_PX)).save(
        d / MASK_DIR / f"videos7/{STEMS[0]}.png"
    ),
    "an id that is no class": lambda d: edit_mask(d, 2, lambda mask: mask.__setitem__((0, 0), 20)),
    "a first mask that says nothing": lambda d: edit_mask(d, 0, lambda mask: mask.fill(255)),
}
NAMED = {
    "a frame": f"videos7/{STEMS[2]}.jpg is missing",
    "a mask": f"videos7/{STEMS[3]}.png is missing",
    "a truncated frame": f"videos7/{STEMS[1]}.jpg cannot be read",
    "a truncated mask": f"videos7/{STEMS[1]}.png cannot be read",
    "a mask of another size": f"videos7/{STEMS[3]}.png is 7x7 px",
    "a frame of another size": f"videos7/{STEMS[3]}.jpg is 7x7 px",
    "a mask in colours": f"videos7/{STEMS[0]}.png has mode RGB",
    "an id that is no class": f"videos7/{STEMS[2]}.png holds id 20, expected 0..19 or 255",
    "a first mask that says nothing": f"videos7/{STEMS[0]}.png holds only 255",
}


def cut(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_data_is_refused_by_file_name_before_anything_runs(task, vip_copy, damage):
    DAMAGE[damage](vip_copy)
    with pytest.raises(UserError) as error:
        task.open(vip_copy)
    assert NAMED[damage] in str(error.value)
    assert "\n" not in str(error.value)
    assert any(NAMED[damage] in line for line in task.check(vip_copy))


@pytest.mark.parametrize("damage", DAMAGE)
def test_allowed_damage_leaves_the_video_out_and_says_so(task, vip_copy, damage):
    DAMAGE[damage](vip_copy)
    dataset = task.open(vip_copy, allow_missing=True)
    assert [video.name for video in dataset.videos] == ["videos8", "videos30"]
    assert dataset.coverage.partial
    assert NAMED[damage] in dataset.coverage.missing[0]


def test_holes_in_the_numbering_are_as_it_should_be(task, vip_copy):
    for folder, suffix in ((FRAME_DIR, "jpg"), (MASK_DIR, "png")):
        (vip_copy / folder / "videos7" / f"{STEMS[1]}.{suffix}").unlink()
    assert first(task, vip_copy).length == 3


def test_frames_and_masks_are_paired_by_name_in_the_order_of_names(task, vip_copy):
    video = first(task, vip_copy)
    assert [file.stem for file in video.frames] == [file.stem for file in video.masks] == STEMS


def test_the_official_split_is_told_by_its_number_of_videos(task, tmp_path, vip_copy):
    coverage = task.open(vip_copy).coverage
    assert (coverage.official, coverage.in_official, coverage.complete) == (50, 3, False)
    lines = task.check(vip_copy)
    assert lines == ["lists/val_videos.txt names 3 videos, the official split has 50"]
    whole = write_vip(tmp_path / "whole", [f"videos{i + 1}" for i in range(OFFICIAL_VIDEOS)])
    assert task.check(whole) == []
    assert task.open(whole).coverage.complete
    own = write_vip(tmp_path / "own", ["garden"])
    assert "garden: not an official name" in task.check(own)[-1]
    assert task.open(own).coverage.in_official == 0


def test_a_video_that_is_not_there_is_named(task, vip_copy):
    with (vip_copy / "lists/val_videos.txt").open("a") as file:
        file.write("videos99\n")
    with pytest.raises(UserError, match=r"videos99 is missing or empty"):
        task.open(vip_copy)


def test_the_manifest_follows_every_byte_of_the_data(task, vip_copy):
    before = task.open(vip_copy).manifest_sha256
    assert task.open(vip_copy).manifest_sha256 == before
    file = vip_copy / FRAME_DIR / "videos30" / f"{STEMS[3]}.jpg"
    file.write_bytes(file.read_bytes() + b"\0")
    assert task.open(vip_copy).manifest_sha256 != before
