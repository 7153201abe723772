"""A checkpoint is read from its shapes alone, and nothing that is wrong with it passes unnamed."""

import math
from pathlib import Path

import numpy as np
import pytest

from rvm_bench.errors import UserError
from rvm_bench.rvm import checkpoint
from rvm_bench.rvm.checkpoint import RVMConfig

FILE = Path(__file__).parents[1] / "golden" / "rvm_tiny_params.npz"
with np.load(FILE, allow_pickle=False) as _archive:
    NAMES = {name: _archive[name].shape for name in _archive.files}
# Square kernels look the same when transposed, and a vector has nothing to transpose.
TRANSPOSABLE = [name for name, shape in NAMES.items() if shape[::-1] != shape]


@pytest.fixture
def arrays():
    return checkpoint.read(FILE)


def test_sizes_are_read_from_the_shapes(arrays):
    assert checkpoint.config_from_arrays(arrays) == RVMConfig(
        patch=16,
        width=48,
        layers=2,
        heads=3,
        mlp=192,
        core_layers=2,
        core_heads=4,
        core_mlp=192,
        decoder_width=32,
        decoder_layers=2,
        decoder_heads=4,
        decoder_mlp=128,
        delta_bins=64,
    )


def test_the_golden_file_has_exactly_the_expected_names_and_shapes(arrays):
    expected = checkpoint.expected_shapes(checkpoint.check(arrays))
    assert expected == {name: array.shape for name, array in arrays.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_dropped_array_is_named(arrays, name):
    del arrays[name]
    with pytest.raises(UserError) as error:
        checkpoint.check(arrays)
    assert name in str(error.value)
    assert "missing" in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_renamed_array_is_named(arrays, name):
    arrays[f"{name}_ema"] = arrays.pop(name)
    with pytest.raises(UserError) as error:
        checkpoint.check(arrays)
    assert name in str(error.value)


@pytest.mark.parametrize("name", TRANSPOSABLE)
def test_a_transposed_array_is_named_alone_with_both_shapes(arrays, name):
    arrays[name] = arrays[name].T
    with pytest.raises(UserError) as error:
        checkpoint.check(arrays)
    assert f"{name} {arrays[name].shape}, expected {NAMES[name]}" in str(error.value)
    assert str(error.value).count("expected") == 1


def test_only_square_kernels_and_vectors_can_be_transposed_unseen():
    hidden = {name for name, shape in NAMES.items() if shape[::-1] == shape and len(shape) > 1}
    gates = ("input_update", "input_reset", "state_update", "state_reset")
    assert hidden == {f"rnn_core/{gate}/kernel" for gate in gates}


def test_an_extra_array_is_named(arrays):
    arrays["optimizer/step"] = np.zeros(3, np.float32)
    with pytest.raises(UserError, match=r"unexpected: optimizer/step \(3,\)"):
        checkpoint.check(arrays)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(arrays, value):
    arrays["mask_token"][0, 3] = value
    with pytest.raises(UserError, match="not finite: mask_token"):
        checkpoint.check(arrays)


def test_an_integer_array_is_refused(arrays):
    arrays["cls_token"] = arrays["cls_token"].astype(np.int32)
    with pytest.raises(UserError, match="not floating point: cls_token int32"):
        checkpoint.check(arrays)


def test_another_models_file_is_refused_by_the_first_name_it_lacks():
    with pytest.raises(UserError, match=r"backbone\.npz: not an RVM checkpoint: array encoder/layers_0"):
        checkpoint.check({"blocks.0.attn.qkv.weight": np.zeros((3, 1))}, "backbone.npz")


def test_a_leading_params_is_accepted(arrays, tmp_path):
    checkpoint.save(tmp_path / "prefixed.npz", {f"params/{name}": array for name, array in arrays.items()})
    again = checkpoint.read(tmp_path / "prefixed.npz")
    assert again.keys() == arrays.keys()
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)


def test_saving_and_reading_gives_the_same_arrays(arrays, tmp_path):
    checkpoint.save(tmp_path / "copy.npz", arrays)
    again = checkpoint.read(tmp_path / "copy.npz")
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize("kept", [0, 10, 1000, 500_000, 1_015_000])
def test_a_truncated_file_is_one_clear_line(tmp_path, kept):
    path = tmp_path / "cut.npz"
    path.write_bytes(FILE.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"cut\.npz: cannot be read as an \.npz") as error:
        checkpoint.read(path)
    assert "\n" not in str(error.value)


def test_a_flipped_byte_is_refused(tmp_path):
    content = bytearray(FILE.read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"flipped\.npz: cannot be read"):
        checkpoint.read(tmp_path / "flipped.npz")


def test_a_missing_file_a_text_file_and_a_single_array_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        checkpoint.read(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("not found\n")
    with pytest.raises(UserError, match=r"text\.npz: cannot be read"):
        checkpoint.read(tmp_path / "text.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(UserError, match=r"single\.npy: a single array"):
        checkpoint.read(tmp_path / "single.npy")


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "pickled.npz", cls_token=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match=r"pickled\.npz: cannot be read"):
        checkpoint.read(tmp_path / "pickled.npz")


# Spec: counts of the official flax modules, by shape evaluation.
@pytest.mark.parametrize(
    ("name", "arrays_held", "full", "encoder_and_core", "paper_rule_m"),
    [
        ("rvm-s", 525, 67_480_448, 33_222_272, 33.85),
        ("rvm-b", 525, 160_270_848, 125_816_064, 126.64),
        ("rvm-l", 717, 409_069_824, 374_483_968, 375.44),
        ("rvm-h", 845, 776_895_488, 742_178_560, 743.26),
    ],
)
def test_parameter_counts_are_those_of_the_official_modules(name, arrays_held, full, encoder_and_core, paper_rule_m):
    config = checkpoint.SIZES[name]
    counts = {key: math.prod(shape) for key, shape in checkpoint.expected_shapes(config).items()}
    features = ("encoder/", "tokenizer/", "rnn_core/", "cls_token")
    assert len(counts) == arrays_held
    assert sum(counts.values()) == full
    assert sum(count for key, count in counts.items() if key.startswith(features)) == encoder_and_core
    assert round(checkpoint.parameter_count(config) / 1e6, 2) == paper_rule_m


@pytest.mark.parametrize("name", checkpoint.SIZES)
def test_every_named_size_is_read_back_from_its_own_shapes(name):
    config = checkpoint.SIZES[name]
    views = {key: np.broadcast_to(np.float32(0), shape) for key, shape in checkpoint.expected_shapes(config).items()}
    assert checkpoint.config_from_arrays(views) == config


def test_random_arrays_are_a_sound_checkpoint_and_depend_on_the_seed_alone():
    config = checkpoint.SIZES["rvm-tiny"]
    first, again, other = (checkpoint.random_arrays(config, seed) for seed in (3, 3, 4))
    assert checkpoint.check(first) == config
    assert all(array.dtype == np.float32 for array in first.values())
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["cls_token"], other["cls_token"])


def test_random_arrays_of_a_released_size_have_its_shapes():
    config = checkpoint.SIZES["rvm-s"]
    arrays = checkpoint.random_arrays(config)
    assert {name: array.shape for name, array in arrays.items()} == checkpoint.expected_shapes(config)
