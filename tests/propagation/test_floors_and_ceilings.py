"""Floor and ceiling of every task: raw pixels and random weights score far below an oracle, whose features encode the
truth, and the oracle scores near the ceiling, which is below 100 because labels live on a grid of cells.

On the demo data at the official protocols (`rvm-bench run --model pixels,random-vit-s --task davis,jhmdb,vip --data
demo`; the last two columns are measured by `test_the_ceilings_of_the_demo_data_are_the_stated_ones`):

    task               floor   pixels   random-vit-s   oracle   label grid
    davis  J&F          11.3     52.6           56.4     90.2         90.1
    jhmdb  PCK@0.1      14.0     10.3           12.9     93.3         97.4
    vip    mIoU         10.2     20.9           21.7     52.9         55.2

"floor" holds the labels of frame 0 still. "label grid" converts the truth of every frame to the grid of 16 px cells and
back: masks lose their outline (a part narrower than a cell may vanish, hence VIP's low ceiling), joints their position
within the cell. The oracle also loses classes and joints hidden in frame 0, and joints that share a cell there.
The ceiling is not a strict bound: the mean over topk labels blends outlines a little better than one frame's cells do.
"""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import pytest

from propagation.labels import heat_to_mask, heat_to_pose, mask_to_heat, pose_to_heat
from propagation.metrics import boundary_f_measure, confusion, mean_iou, pck, region_similarity
from propagation.tasks.davis import read_mask
from rvm_bench.api.registry import find_task
from rvm_bench.demo import davis, jhmdb, vip
from rvm_bench.errors import UserError
from rvm_bench.fetch.load import load_encoder
from rvm_bench.media.images import read_labels

ORACLE = f"{Path(__file__).parents[1] / 'oracle.py'}:Oracle"
TASKS = ("davis", "jhmdb", "vip")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """By the name of a task: the folder of one or two videos of its demo data, a few frames each, written once."""

    @functools.cache
    def write(name):
        folder = tmp_path_factory.mktemp("demo") / name
        if name == "davis":
            davis.write(folder, sequences=davis.SEQUENCES[:1], frames=4)
        elif name == "jhmdb":
            jhmdb.write(folder, clips=tuple(replace(clip, frames=4) for clip in jhmdb.CLIPS[:2]))
        else:
            vip.write(folder, clips=(replace(vip.CLIPS[0], frames=3),))
        return folder

    return write


def score(task, encoder, dataset):
    return task.score([{"video": video.name, **task.measure(encoder, video)} for video in dataset.videos])


def grid_score(task, dataset, patch=oracle.PATCH):
    """The score of the truth itself, converted to the label grid and back."""
    height, width = input_hw = task.protocol.input_hw
    grid_hw = height // patch, width // patch

    def there_and_back(mask):
        return heat_to_mask(*mask_to_heat(mask, grid_hw, input_hw), input_hw, mask.shape)

    if task.name == "jhmdb":
        heats = [[pose_to_heat(pose, grid_hw, clip.native_hw) for pose in clip.poses] for clip in dataset.videos]
        found = [heat_to_pose(np.stack(h), c.native_hw) for h, c in zip(heats, dataset.videos, strict=True)]
        return pck([clip.poses for clip in dataset.videos], *zip(*found, strict=True), (0.1,))[0]
    if task.name == "vip":
        truths = [read_labels(file) for video in dataset.videos for file in video.masks]
        return 100 * mean_iou(sum(confusion(truth, there_and_back(truth), 20) for truth in truths))[0]
    of_objects = []
    for video in dataset.videos:
        ids = np.arange(1, video.largest_id + 1)[:, None, None]
        truths = [read_mask(file, video.native_hw) for file in video.masks[1:-1]]
        pairs = [(truth == ids, there_and_back(truth) == ids) for truth in truths]
        of_objects += list(np.mean([region_similarity(*p) + boundary_f_measure(*p) for p in pairs], axis=0) / 2)
    return 100 * np.mean(of_objects)


@pytest.mark.parametrize("name", TASKS)
def test_floor_pixels_and_random_weights_are_far_below_the_oracle_and_it_is_near_the_ceiling(name, demo):
    task, data = find_task(name), demo(name)
    dataset = task.open(data)
    of_oracle = score(task, load_encoder(ORACLE, device="cpu", task=name, data=data), dataset)
    ceiling, top = grid_score(task, dataset), of_oracle[task.metric.key]
    low = {"held": of_oracle[task.metric.floor]}
    for model in ("pixels", "random-vit-s"):
        low[model] = score(task, load_encoder(model, device="cpu"), dataset)[task.metric.key]
    assert max(low.values()) < 0.75 * top
    assert ceiling < 100
    assert 0.9 * ceiling < top < 1.02 * ceiling


STATED = {"davis": (90.2, 90.1), "jhmdb": (93.3, 97.4), "vip": (52.9, 55.2)}


@pytest.mark.slow
@pytest.mark.parametrize("name", STATED)
def test_the_ceilings_of_the_demo_data_are_the_stated_ones(name, tmp_path):
    task = find_task(name)
    task.write_demo(tmp_path)
    dataset = task.open(tmp_path)
    of_oracle = score(task, load_encoder(ORACLE, device="cpu", task=name, data=tmp_path), dataset)
    measured = of_oracle[task.metric.key], grid_score(task, dataset)
    assert measured == pytest.approx(STATED[name], abs=0.5)


def test_the_oracle_refuses_frames_of_other_videos(demo):
    encoder = oracle.Oracle("jhmdb", demo("jhmdb"))
    with pytest.raises(UserError, match="none of the videos"):
        encoder.encode(np.zeros((1, 320, 320, 3), np.uint8))
