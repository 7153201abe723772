"""The VIP task: the protocol's constants, the layout, and a measure that follows the definitions."""

import dataclasses

import numpy as np
import pytest
from copies import VIP_FRAMES, VIP_HW, VIP_MASKS, VIP_STEMS, edit_mask, write_vip

from propagation.datasets.vip import OFFICIAL_VIDEOS
from propagation.metrics import mean_iou
from propagation.tasks.vip import VipProtocol
from rvm_bench import evaluate

HEIGHT_PX, WIDTH_PX = VIP_HW


def first(task, copy):
    return task.open(copy).videos[0]


def matrices(record):
    return np.array(record["confusion"]), np.array(record["first_mask"])


def test_the_constants_are_those_of_the_paper_and_each_has_a_source():
    protocol = VipProtocol()
    assert (protocol.input_height_px, protocol.input_width_px) == (448, 880)
    assert (protocol.topk, protocol.temperature, protocol.n_context, protocol.radius) == (10, 0.7, 20, 20)
    assert (protocol.classes, protocol.ignored) == (20, 255)
    assert VipProtocol.sources().keys() == {f.name for f in dataclasses.fields(protocol)} - {"id"}


def test_every_frame_counts_and_every_pixel_of_it(vip, pixels, vip_copy):
    record = vip.measure(pixels, first(vip, vip_copy))
    assert record["frames"] == len(VIP_STEMS)
    for matrix in matrices(record):
        assert matrix.shape == (20, 20)
        assert matrix.sum() == len(VIP_STEMS) * HEIGHT_PX * WIDTH_PX
        assert matrix[4].sum() == matrix[13].sum() == len(VIP_STEMS) * 400


def test_holding_the_first_mask_scores_the_overlap_of_the_true_masks(vip, pixels, vip_copy):
    record = vip.measure(pixels, first(vip, vip_copy))
    # The squares of 20 px move 3 px a frame; frame 0 counts too. What a square has left is background, and conversely.
    shared = sum(20 * (20 - 3 * t) for t in range(4))
    left = 1600 - shared
    background = 4 * HEIGHT_PX * WIDTH_PX - 2 * 1600
    expected = [(background - 2 * left) / (background + 2 * left), shared / (1600 + left), shared / (1600 + left)]
    np.testing.assert_allclose(mean_iou(matrices(record)[1])[1][[0, 4, 13]], expected, atol=1e-12)
    assert vip.score([record])["first_mask mIoU"] == pytest.approx(100 * np.mean(expected))


def test_a_still_video_keeps_its_mask(vip, pixels, vip_copy):
    for t in range(1, 4):
        for folder, suffix in ((VIP_FRAMES, "jpg"), (VIP_MASKS, "png")):
            source, target = (vip_copy / folder / "videos7" / f"{VIP_STEMS[k]}.{suffix}" for k in (0, t))
            target.write_bytes(source.read_bytes())
    record = vip.measure(pixels, first(vip, vip_copy))
    assert vip.score([record])["first_mask mIoU"] == 100
    assert vip.score([record])["mIoU"] > 70


def test_only_ids_of_frame_0_are_predicted_and_a_later_class_is_missed(vip, pixels, vip_copy):
    edit_mask(vip_copy, 2, lambda mask: mask.__setitem__(np.s_[:5, :5], 19))
    record = vip.measure(pixels, first(vip, vip_copy))
    for matrix in matrices(record):
        assert set(np.flatnonzero(matrix.sum(axis=0))) <= {0, 4, 13}
        assert matrix[19].sum() == 25
    score = vip.score([record])
    assert score["IoU class 19"] == 0
    assert "IoU class 5" not in score
    assert {key for key in score if key.startswith("IoU")} == {f"IoU class {i}" for i in (0, 4, 13, 19)}


def test_a_video_of_one_class_is_predicted_whole(vip, pixels, vip_copy):
    for t in range(4):
        edit_mask(vip_copy, t, lambda mask: mask.fill(6))
    record = vip.measure(pixels, first(vip, vip_copy))
    score = vip.score([record])
    assert score["mIoU"] == score["IoU class 6"] == score["first_mask mIoU"] == 100
    edit_mask(vip_copy, 3, lambda mask: mask.fill(0))
    assert vip.score([vip.measure(pixels, first(vip, vip_copy))])["mIoU"] == pytest.approx(37.5)


def test_ignored_pixels_of_a_later_frame_are_not_counted(vip, pixels, vip_copy):
    edit_mask(vip_copy, 1, lambda mask: mask.fill(255))
    edit_mask(vip_copy, 2, lambda mask: mask.__setitem__(np.s_[:, :10], 255))
    for matrix in matrices(vip.measure(pixels, first(vip, vip_copy))):
        assert matrix.sum() == 3 * HEIGHT_PX * WIDTH_PX - 10 * HEIGHT_PX


def test_ignored_pixels_of_frame_0_have_no_label_and_are_never_predicted(vip, pixels, vip_copy):
    edit_mask(vip_copy, 0, lambda mask: mask.__setitem__(np.s_[:, 60:], 255))
    video = first(vip, vip_copy)
    heat, label_ids, held = vip._first_labels(video, pixels.grid(*vip.protocol.input_hw))
    assert label_ids.tolist() == [0, 4, 13]
    assert (heat[:, -4:] == 0).all()
    np.testing.assert_allclose(heat[:, :5].sum(axis=-1), 1, atol=1e-6)
    assert (held[:, 60:] == 0).all()
    for matrix in matrices(vip.measure(pixels, video)):
        assert set(np.flatnonzero(matrix.sum(axis=0))) <= {0, 4, 13}


def test_the_score_of_records_is_that_of_one_matrix_over_all_videos(vip, pixels, vip_copy):
    records = [vip.measure(pixels, video) for video in vip.open(vip_copy).videos]
    total = sum(matrices(record)[0] for record in records)
    miou, iou = mean_iou(total)
    score = vip.score(records)
    assert score["mIoU"] == pytest.approx(100 * miou)
    assert score["IoU class 4"] == pytest.approx(100 * iou[4])
    assert score["videos"] == 3
    assert score["mIoU"] != pytest.approx(np.mean([vip.score([record])["mIoU"] for record in records]))
    np.testing.assert_array_equal(
        [score[f"IoU class {i}"] for i in (0, 4, 13)], [100 * float(i) for i in iou[~np.isnan(iou)]]
    )


def test_the_same_video_gives_the_same_record(vip, pixels, vip_copy):
    video = vip.open(vip_copy).videos[1]
    assert vip.measure(pixels, video) == vip.measure(pixels, video)


def test_an_evaluation_ends_in_a_score_with_its_floor(vip, pixels, vip_copy, tmp_path):
    ticks = []
    video = first(vip, vip_copy)
    vip.measure(pixels, video, lambda: ticks.append(1))
    assert len(ticks) == video.length
    result = evaluate("pixels", vip, data=vip_copy.parent, out=tmp_path / "runs")
    assert result.metric == "mIoU"
    assert 0 < result.score["first_mask mIoU"] < 100
    low, high = result.interval
    assert low <= result.value <= high
    assert result.score == vip.score(result.records)


def test_gaps_in_the_numbering_are_allowed(vip, vip_copy):
    for folder, suffix in ((VIP_FRAMES, "jpg"), (VIP_MASKS, "png")):
        (vip_copy / folder / "videos7" / f"{VIP_STEMS[1]}.{suffix}").unlink()
    assert first(vip, vip_copy).length == 3


def test_frames_and_masks_are_paired_by_name_in_the_order_of_names(vip, vip_copy):
    video = first(vip, vip_copy)
    assert [file.stem for file in video.frames] == [file.stem for file in video.masks] == VIP_STEMS


def test_the_official_split_is_recognised_by_its_number_of_videos(vip, tmp_path, vip_copy):
    coverage = vip.open(vip_copy).coverage
    assert (coverage.official, coverage.in_official, coverage.complete) == (50, 3, False)
    lines = vip.check(vip_copy)
    assert lines == ["lists/val_videos.txt names 3 videos, the official split has 50"]
    whole = write_vip(tmp_path / "whole", [f"videos{i + 1}" for i in range(OFFICIAL_VIDEOS)], frames=1)
    assert vip.check(whole) == []
    assert vip.open(whole).coverage.complete
    own = write_vip(tmp_path / "own", ["garden"])
    assert "garden: not an official name" in vip.check(own)[-1]
    assert vip.open(own).coverage.in_official == 0
