"""Training splits of classification and depth: what is random, what is fixed, and what is held out together."""

import pickle

import numpy as np
import pytest
from small_tasks import opened

from readouts.fitting.sampling import split

NAMES = ("ssv2", "kinetics", "scannet")


@pytest.mark.parametrize("name", NAMES)
def test_equal_generators_draw_equal_clips_and_others_draw_others(copies, name):
    task, _ = opened(name, copies)
    source = task.training()

    def drawn(seed, index=0):
        return source.train_item(index, np.random.default_rng(seed)).clip()

    assert drawn(0).shape == (16, 32, 32, 3)
    assert drawn(0).dtype == np.uint8
    assert np.array_equal(drawn(0), drawn(0))
    assert len({drawn(seed).tobytes() for seed in range(6)}) > 2
    held_out = [source.held_out_item(1) for _ in range(2)]
    assert np.array_equal(held_out[0].clip(), held_out[1].clip())
    assert held_out[0].key == held_out[1].key
    assert source.train_item(1, np.random.default_rng(0)).key is None
    assert source.distinct == 0


@pytest.mark.parametrize("name", NAMES)
def test_fixed_clips_are_the_held_out_ones_and_have_keys_of_their_own(copies, name):
    task, _ = opened(name, copies, fixed_clips=True)
    source = task.training()
    count = len(source.names)
    items = [source.train_item(index, np.random.default_rng(index)) for index in range(count)]
    assert len({item.key for item in items}) == count == source.distinct
    assert items[0].key == source.held_out_item(0).key


@pytest.mark.parametrize("name", NAMES)
def test_a_source_can_be_sent_to_the_processes_that_load_clips(copies, name):
    task, _ = opened(name, copies)
    source = task.training()
    there = pickle.loads(pickle.dumps(source))
    index = len(source.names) - 2
    assert np.array_equal(there.held_out_item(index).clip(), source.held_out_item(index).clip())


def test_crop_start_and_colour_are_all_drawn(copies):
    def distinct(**changes):
        source = opened("ssv2", copies, frames=1, **changes)[0].training()
        return len({source.train_item(0, np.random.default_rng(seed)).clip().tobytes() for seed in range(12)})

    # A clip that spans the whole video has one start; pictures are wider than the crop.
    crops = distinct(stride=1000, colour_augmentation=False)
    starts = distinct(stride=1, colour_augmentation=False)
    assert 1 < crops < starts
    assert distinct(stride=1000) > crops


def test_clips_are_flipped_only_where_one_asks_for_it(copies):
    sources = [opened("kinetics", copies, colour_augmentation=False, flip=flip)[0].training() for flip in (False, True)]
    flipped = set()
    for seed in range(10):
        plain, maybe = (source.train_item(0, np.random.default_rng(seed)).clip() for source in sources)
        mirrored = np.array_equal(maybe, plain[:, :, ::-1])
        assert mirrored or np.array_equal(maybe, plain)
        flipped.add(mirrored)
    assert flipped == {True, False}


def test_windows_of_one_scan_are_held_out_together(copies):
    task, _ = opened("scannet", copies, fixed_clips=True)
    names = task.training().names
    assert len(names) == 3 * 5  # from frames 0, 4, ..., 16
    training, held_out = split(names, 0.05, 1)
    assert {names[i] for i in training}.isdisjoint(names[i] for i in held_out)
    assert len(held_out) == 5
