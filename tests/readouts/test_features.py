"""The feature cache: a hit has the bits of a miss, and nothing wrong, cut short or flipped is ever used."""

import json
import multiprocessing
import os
import pickle
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from colours import Colours, Patches, fit_colours, recipe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import readouts.fitting.feature_store
from readouts.fitting.feature_store import Cache, FeatureStore
from readouts.fitting.features import FrozenFeatures, encode_clips
from readouts.fitting.tensor_files import save_atomically
from rvm_bench.errors import UserError

IDENTITY = {"encoder": {"name": "toy", "tap": "readout"}, "preprocessing": {"side": 8}, "code": "abc"}
SHAPE = (4, 4, 8)


def clip_features(index):
    generator = torch.Generator().manual_seed(index)
    return torch.randn(SHAPE, generator=generator).bfloat16()


def opened(folder, mode="write", identity=IDENTITY, **options):
    dtype = options.pop("dtype", "bfloat16")
    return FeatureStore(Cache(folder=folder, mode=mode, dtype=dtype), identity, **options)


def filled(folder, count=5):
    store = opened(folder)
    for index in range(count):
        store.add(f"clip {index}", clip_features(index))
    store.flush()
    return store


def test_what_was_stored_comes_back_bit_for_bit_in_this_process_and_the_next(tmp_path):
    store = filled(tmp_path)
    for each in (store, opened(tmp_path), opened(tmp_path, "read")):
        for index in range(5):
            assert f"clip {index}" in each
            assert torch.equal(each.read(f"clip {index}", SHAPE), clip_features(index))
        assert "clip 5" not in each
        assert each.read("clip 5", SHAPE) is None


def test_features_can_be_read_before_their_shard_is_written_and_shards_have_a_size(tmp_path):
    store = opened(tmp_path, shard_bytes=3 * 4 * 4 * 8 * 2)
    for index in range(7):
        store.add(f"clip {index}", clip_features(index))
    assert len(list(store.folder.glob("*.safetensors"))) == 2
    assert all(torch.equal(store.read(f"clip {index}", SHAPE), clip_features(index)) for index in range(7))
    assert opened(tmp_path).read("clip 6", SHAPE) is None
    store.flush()
    assert torch.equal(opened(tmp_path).read("clip 6", SHAPE), clip_features(6))
    assert all(len(load_file(file)) in (1, 3) for file in store.folder.glob("*.safetensors"))


def test_a_hit_has_the_bits_of_a_miss_whatever_was_missing(tmp_path):
    source, encoder = Colours(), Patches()
    keys = [f"clip {index}" for index in range(6)]
    frozen = FrozenFeatures(encoder, opened(tmp_path))
    missed = frozen(keys[:4], source.clip, SHAPE)
    mixed = frozen(keys, source.clip, SHAPE)
    assert (frozen.hits, frozen.misses) == (4, 6)
    hit = frozen(keys, lambda index: pytest.fail("decoded"), SHAPE)
    assert hit.dtype == torch.bfloat16
    assert torch.equal(mixed[:4], missed)
    assert torch.equal(hit, mixed)
    fresh = FrozenFeatures(encoder, opened(tmp_path / "other", "read"))
    assert torch.equal(fresh(keys[5:], lambda index: source.clip(5), SHAPE)[0], hit[5])
    plain = encode_clips(encoder, np.stack([source.clip(index) for index in range(6)]))
    assert torch.equal(plain.bfloat16(), hit)


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": {"name": "toy", "tap": "propagation"}},
        {"preprocessing": {"side": 9}},
        {"code": "abd"},
        {"more": 1},
    ],
)
def test_any_change_of_the_identity_misses(tmp_path, change):
    filled(tmp_path)
    assert opened(tmp_path, identity=IDENTITY | change).read("clip 0", SHAPE) is None
    assert opened(tmp_path, dtype="float16").read("clip 0", SHAPE) is None


def test_a_shard_that_is_carried_over_to_another_identity_is_not_used(tmp_path):
    store, other = filled(tmp_path), opened(tmp_path, identity=IDENTITY | {"code": "abd"})
    shutil.copytree(store.folder, other.folder, dirs_exist_ok=True)
    assert opened(tmp_path, identity=IDENTITY | {"code": "abd"}).read("clip 0", SHAPE) is None


def test_another_shape_is_not_used(tmp_path, caplog):
    filled(tmp_path)
    assert opened(tmp_path).read("clip 0", (4, 8, 4)) is None
    assert "has shape (4, 4, 8), expected (4, 8, 4)" in caplog.messages[0]


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("intact")
    filled(folder, 3)
    return folder


def check_and_rebuild(folder, mode):
    """Reads three clips as a fit would: each is right or missing. Adds the missing ones and returns their number."""
    store = opened(folder, mode)
    missing = 0
    for index in range(3):
        found = store.read(f"clip {index}", SHAPE)
        if found is None:
            missing += 1
            store.add(f"clip {index}", clip_features(index))
        else:
            assert torch.equal(found, clip_features(index))
    store.flush()
    return missing


@pytest.mark.parametrize("kind", ["*.safetensors", "*.index"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_never_used_and_mended_once(intact, tmp_path_factory, kind, data):
    folder = tmp_path_factory.mktemp("flipped")
    shutil.copytree(intact, folder, dirs_exist_ok=True)
    (file,) = folder.rglob(kind)
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    assert 1 <= check_and_rebuild(folder, "read") <= 3
    assert 1 <= check_and_rebuild(folder, "write") <= 3
    assert check_and_rebuild(folder, "read") == 0
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["*.safetensors", "*.index"])
@pytest.mark.parametrize("left", [0, 1, 7, 100, 250, -1])
def test_a_file_that_is_cut_short_is_rebuilt(intact, tmp_path, kind, left):
    shutil.copytree(intact, tmp_path, dirs_exist_ok=True)
    (file,) = tmp_path.rglob(kind)
    file.write_bytes(file.read_bytes()[:left])
    assert check_and_rebuild(tmp_path, "read") >= 1
    assert check_and_rebuild(tmp_path, "write") >= 1
    assert check_and_rebuild(tmp_path, "read") == 0


def test_a_missing_shard_and_a_missing_index_line_are_rebuilt(intact, tmp_path):
    for name in ("shard", "line"):
        folder = tmp_path / name
        shutil.copytree(intact, folder)
        (index,), (shard,) = folder.rglob("*.index"), folder.rglob("*.safetensors")
        if name == "shard":
            shard.unlink()
        else:
            index.write_bytes(b"".join(index.read_bytes().splitlines(keepends=True)[:-1]))
        assert check_and_rebuild(folder, "write") == (3 if name == "shard" else 1)
        assert check_and_rebuild(folder, "read") == 0


def test_a_shard_of_another_dtype_or_content_is_rebuilt(intact, tmp_path):
    for name, change in {
        "dtype": lambda tensors: {key: value.view(torch.float16) for key, value in tensors.items()},
        "swapped": lambda tensors: dict(zip(tensors, list(tensors.values())[::-1], strict=True)),
    }.items():
        folder = tmp_path / name
        shutil.copytree(intact, folder)
        (shard,) = folder.rglob("*.safetensors")
        save_file(change(load_file(shard)), shard)
        assert check_and_rebuild(folder, "write") >= 2
        assert check_and_rebuild(folder, "read") == 0


def test_damage_is_logged_once(intact, tmp_path, caplog):
    shutil.copytree(intact, tmp_path, dirs_exist_ok=True)
    (shard,) = tmp_path.rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    store = opened(tmp_path, "read")
    for _ in range(3):
        found = [store.read(f"clip {index}", SHAPE) for index in range(3)]
        assert sum(features is None for features in found) == 1
    assert len(caplog.messages) == 1
    assert "has checksum" in caplog.messages[0]


def write_every_other(folder, first):
    store = FeatureStore(Cache(folder=folder), {"code": "abc"}, shard_bytes=2048)
    for index in range(first, 60, 2):
        store.add(f"clip {index}", torch.full((4, 4, 8), float(index)).bfloat16())
    store.flush()


def test_several_processes_write_at_once_and_take_up_one_anothers_shards(tmp_path):
    watching = opened(tmp_path, "read", identity={"code": "abc"})
    assert watching.read("clip 0", SHAPE) is None
    process = multiprocessing.get_context("forkserver").Process
    writers = [process(target=write_every_other, args=(tmp_path, first)) for first in (0, 1)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    for index in range(60):
        assert watching.read(f"clip {index}", SHAPE).eq(index).all()


def test_a_disk_that_is_too_small_is_refused_before_work_starts(tmp_path, monkeypatch):
    store = filled(tmp_path)
    line = store.estimate(1_000, (16, 196, 384))
    assert "1,000 clips of 16 x 196 x 384 bfloat16 are 2.4 GB" in line
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(readouts.fitting.feature_store.shutil, "disk_usage", lambda path: usage(10**10, 0, 10**9))
    with pytest.raises(UserError, match=r"1\.4 GB too few; make room, or use --cache off"):
        store.estimate(1_000, (16, 196, 384))
    assert "2.4 GB" in opened(tmp_path, "read").estimate(1_000, (16, 196, 384))


def test_features_that_do_not_fit_the_dtype_are_refused(tmp_path):
    with pytest.raises(UserError, match="too large for float16; use bfloat16"):
        opened(tmp_path, dtype="float16").round(torch.tensor([1e5]))
    with pytest.raises(UserError, match="not finite"):
        opened(tmp_path).round(torch.tensor([float("nan")]))
    with pytest.raises(UserError, match="did you mean write"):
        Cache(folder=Path(), mode="wriet")


def test_a_fit_decodes_and_encodes_each_clip_once_and_ends_with_the_same_bits(tmp_path, caplog):
    cache, config, encoder = Cache(folder=tmp_path / "cache"), recipe(steps=20), Patches()
    decoded = []

    class Watched(Colours):
        def clip(self, index, shift=0):
            decoded.append(index)
            return super().clip(index, shift)

    source = Watched()
    caplog.set_level("INFO")
    options = {"source": source, "config": config, "encoder": encoder}
    fit_colours(tmp_path / "first", cache=cache, **options)
    assert any("at most 40 clips of 4 x 4 x 8 bfloat16" in line for line in caplog.messages)
    first = encoder.seen[0]
    fit_colours(tmp_path / "second", cache=cache, **options)
    assert encoder.seen[0] == first
    # One clip of the second fit tells the size of all.
    assert len(decoded) == 1 + 40 + 1
    fit_colours(tmp_path / "third", cache=Cache(folder=tmp_path / "none", mode="read"), **options)
    assert encoder.seen[0] > 3 * first
    contents = {(tmp_path / name / "readout.safetensors").read_bytes() for name in ("first", "second", "third")}
    assert len(contents) == 1
    cut = next((tmp_path / "cache").rglob("*.safetensors"))
    cut.write_bytes(cut.read_bytes()[:-1])
    caplog.clear()
    fit_colours(tmp_path / "fourth", cache=cache, **options)
    assert sum("damaged" in line for line in caplog.messages) == 1
    assert (tmp_path / "fourth/readout.safetensors").read_bytes() in contents


def test_two_flips_that_cancel_in_a_folded_checksum_are_found(tmp_path):
    """Format 1 folded rows of 16,424 bytes onto one another, so that equal flips in one column cancelled."""
    shape, row = (4, 64, 160), 2053 * 8
    store = opened(tmp_path)
    store.add("clip", torch.zeros(shape, dtype=torch.bfloat16))
    store.flush()
    (shard,) = tmp_path.rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    content[-1 - row] ^= 1
    shard.write_bytes(content)
    assert opened(tmp_path, "read").read("clip", shape) is None


def test_a_shard_that_changes_after_it_was_opened_is_found(tmp_path):
    store = filled(tmp_path)
    assert store.read("clip 0", SHAPE) is not None
    (shard,) = tmp_path.rglob("*.safetensors")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.truncate(shard, len(whole) - 600)
    found = [store.read(f"clip {index}", SHAPE) for index in range(5)]
    assert sum(features is None for features in found) >= 2
    assert all(features is None or torch.equal(features, clip_features(i)) for i, features in enumerate(found))


def test_caches_of_another_format_are_named_once_and_computed_again(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    older = filled(tmp_path).folder
    assert not caplog.messages
    monkeypatch.setattr("readouts.fitting.feature_store.FORMAT", 3)
    store = opened(tmp_path)
    assert "clip 0" not in store
    (line,) = caplog.messages
    assert f"computed again; delete {older.name} to free the disk" in line
    opened(tmp_path)
    assert len(caplog.messages) == 1


def test_a_copy_in_a_worker_process_leaves_the_warnings_to_the_main_process(intact, tmp_path, caplog):
    shutil.copytree(intact, tmp_path, dirs_exist_ok=True)
    (index,) = tmp_path.rglob("*.index")
    index.write_bytes(index.read_bytes()[:-1])
    copy = pickle.loads(pickle.dumps(opened(tmp_path)))
    assert "clip 0" in copy
    assert not caplog.messages
    assert "clip 0" in opened(tmp_path)
    assert "is cut short" in caplog.messages[0]


def test_a_file_is_replaced_as_a_whole_and_its_bytes_do_not_change_by_chance(tmp_path):
    file = tmp_path / "a.safetensors"
    contents = set()
    for _ in range(3):
        save_atomically(file, {"x": torch.ones(2), "y": torch.zeros(3)}, {"one": 1, "two": {"b": 2, "a": 1}})
        contents.add(file.read_bytes())
    assert len(contents) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    tmp_path.chmod(0o755)
    save_atomically(file, {"x": torch.ones(2), "y": torch.zeros(3)}, {"one": 1, "two": {"b": 2, "a": 1}})
    assert file.stat().st_mode & 0o777 == 0o644
    with pytest.raises(ValueError, match="JSON"):
        save_atomically(file, {"x": torch.ones(2)}, {"one": float("nan")})
    assert file.read_bytes() in contents
    assert json.loads(file.read_bytes()[8 : 8 + int.from_bytes(file.read_bytes()[:8], "little")])["x"]["dtype"] == "F32"
