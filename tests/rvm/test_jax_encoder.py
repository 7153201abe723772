"""The JAX RVM serves the benchmark like any encoder: it streams, and a missing JAX is one sentence."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rvm_bench import load_encoder, rvm
from rvm_bench.errors import UserError
from rvm_bench.rvm import models
from rvm_bench.rvm.torch.encoder import RVMEncoder as TorchEncoder

GOLDEN = Path(__file__).parents[1] / "golden"
FILE = GOLDEN / "rvm_tiny_params.npz"
TOLERANCE = 1e-5


def test_torch_is_the_default_and_an_unknown_backend_is_named():
    assert isinstance(models.build(models.RVM.card, FILE), TorchEncoder)
    with pytest.raises(UserError, match="unknown backend 'jux'; did you mean jax"):
        models.build(models.RVM.card, FILE, backend="jux")


def test_without_jax_one_sentence_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("rvm_bench.rvm.jax")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(UserError, match=r"backend jax needs a further package .*pip install 'rvm-bench\[jax\]'"):
        models.build(models.RVM.card, FILE, backend="jax")


jax = pytest.importorskip("jax", reason="needs the extra `jax`")
pytest.importorskip("flax", reason="needs the extra `jax`")

from rvm_bench.rvm.jax import frozen  # noqa: E402

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("rvm", weights=FILE, device="cpu", backend="jax")


@pytest.fixture(scope="module")
def expected(golden):
    """Official features of the 64x64 video, without CLS."""
    return golden["features1"][:, 1:].reshape(5, 4, 4, -1)


def difference(found, expected):
    return np.abs(np.asarray(found) - np.asarray(expected)).max()


def test_features_equal_the_official_ones_over_chunks_that_do_not_divide_the_video(encoder, golden, expected):
    features = encoder.encode(golden["video1"])
    assert features.dtype == np.float32
    assert difference(features, expected) < TOLERANCE


def test_the_chunk_does_not_change_the_features(golden, expected):
    features = load_encoder("rvm", weights=FILE, device="cpu", backend="jax", chunk=2).encode(golden["video1"])
    assert difference(features, expected) < TOLERANCE


def test_stepping_two_videos_together_equals_each_alone(encoder, golden, expected):
    clips = np.stack([golden["video1"], golden["video1"][::-1]])
    together = encoder.clips(clips)
    assert isinstance(together, torch.Tensor)
    assert difference(together[0], expected) < TOLERANCE
    assert difference(together[1], encoder.encode(clips[1])) < TOLERANCE


def test_a_video_goes_on_from_the_state_of_its_first_frames(encoder, golden, expected):
    frames = encoder.prepare(golden["video1"])
    state = encoder.init_state(1, 64, 64)
    for start, stop in [(0, 3), (3, 5)]:
        features, state = encoder.unroll(frames[start:stop], state)
        assert isinstance(state, jax.Array)
        assert (state.shape, state.dtype) == ((1, 17, 48), np.float32)
        assert difference(features, expected[start:stop]) < TOLERANCE


def test_nothing_is_compiled_again_for_a_frame_size_whatever_the_length_and_the_encoder(encoder):
    video = np.zeros((9, 64, 64, 3), np.uint8)
    encoder.encode(video[:4])
    compiled = frozen._encode._cache_size()
    for frames in range(1, 10):
        encoder.encode(video[:frames])
    load_encoder("rvm", weights=FILE, device="cpu", backend="jax").encode(video)
    assert frozen._encode._cache_size() == compiled


def test_pixels_beyond_the_last_whole_patch_are_not_seen(encoder, golden):
    video = golden["video1"][:1]
    larger = np.pad(video, [(0, 0), (0, 9), (0, 15), (0, 0)], constant_values=77)
    assert np.array_equal(encoder.encode(larger), encoder.encode(video))


def test_the_stamp_tells_the_backend_and_the_same_file_from_torchs(encoder):
    in_torch = load_encoder("rvm", weights=FILE, device="cpu")
    assert encoder.options == {"backend": "jax"}
    assert encoder.weights == in_torch.weights
    assert encoder.card == in_torch.card
    assert encoder.describe() != in_torch.describe()


def test_random_weights_depend_on_the_seed_and_have_a_hash():
    first, again, other = (models.build(models.RVM_TINY.card, "random", seed=s, backend="jax") for s in (1, 1, 2))
    assert first.weights.to_dict() == {"kind": "random", "seed": 1}
    assert first.weights_sha256() == again.weights_sha256() != other.weights_sha256()


def test_bfloat16_is_a_choice_of_the_harness():
    encoder = models.build(models.RVM.card, FILE, dtype="bfloat16", backend="jax")
    assert encoder.describe()["dtype"] == "bfloat16"
    assert encoder.network.model.dtype == jax.numpy.bfloat16


def test_what_cannot_be_loaded_is_refused_as_in_torch(tmp_path):
    with pytest.raises(UserError, match=r"not a checkpoint of rvm-s: width 48 \(expected 384\), layers 2"):
        models.build(models.RVM_S.card, FILE, backend="jax")
    with pytest.raises(UserError, match="rvm-l needs weights"):
        models.build(models.RVM_L.card, backend="jax")
    with pytest.raises(UserError, match="unknown dtype 'float16'"):
        models.build(models.RVM_TINY.card, "random", dtype="float16", backend="jax")
    with pytest.raises(UserError, match="no such file"):
        models.build(models.RVM.card, tmp_path / "absent.npz", backend="jax")


@pytest.mark.skipif(any(device.platform == "gpu" for device in jax.devices()), reason="this JAX has a GPU")
def test_a_device_that_jax_does_not_have_is_named(encoder):
    with pytest.raises(UserError, match=r"'cuda:1' is not available to this JAX, which has .*--device cpu"):
        encoder.to("cuda:1")
    assert encoder.device.type == "cpu"


def test_no_module_imports_both_torch_and_jax():
    for file in Path(rvm.__file__).parent.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not {"torch", "jax"} <= {name.partition(".")[0] for name in names}, file


def test_training_in_jax_needs_no_torch():
    code = "import sys, rvm_bench.rvm.jax.objective, rvm_bench.rvm.jax.frozen; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
