"""Files of Hugging Face: hashes, shards, what does not fit, and repositories in the cache."""

import hashlib
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from hub_models import (
    HALVES,
    TINY,
    change_tensors,
    load,
    made,
    saved,
    transformers,
    video,
    without_progress_bars,  # noqa: F401 (a fixture for every test here)
)
from layouts import the_run

from rvm_bench.errors import UserError
from rvm_bench.formats.files import read_json


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags:\n- vision\n---\n# A model\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: dinov3-license\n---\n", "dinov3-license"),
        ("---\ntags: []\nlicense:\n- cc-by-nc-4.0\n---\n", "cc-by-nc-4.0"),
        ("# A model\nlicense: not here\n", "see the model card"),
    ],
)
def test_the_licence_is_the_one_in_the_front_matter(tmp_path, front, licence):
    folder = saved(made("ViT"), tmp_path / "vit")
    (folder / "README.md").write_text(front)
    assert load(folder).card.licence == licence


def test_weights_are_known_by_the_hash_of_their_file_and_configs_by_theirs(tmp_path):
    folder = saved(made("ViT"), tmp_path / "vit")
    encoder = load(folder)
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert encoder.weights.sha256 == encoder.describe()["weights"]["sha256"] == sha256
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "vit")
    assert load(moved).describe() == encoder.describe()
    config = json.loads((moved / "config.json").read_text()) | {"layer_norm_eps": 0.1}
    (moved / "config.json").write_text(json.dumps(config))
    assert load(moved).describe() != encoder.describe()


def test_shards_are_one_model_and_none_may_be_missing(tmp_path):
    model = made("ViT")
    whole = load(saved(model, tmp_path / "whole")).encode(video(1, 64, 64))
    folder = tmp_path / "vit"
    model.save_pretrained(folder, max_shard_size="40KB")
    (folder / "preprocessor_config.json").write_text(json.dumps(HALVES))
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    encoder = load(folder)
    np.testing.assert_array_equal(encoder.encode(video(1, 64, 64)), whole)
    assert encoder.weights.path == ", ".join(file.name for file in shards)
    assert load(folder).weights.sha256 == encoder.weights.sha256
    change_tensors(
        folder, lambda tensors: tensors.update({name: x + 1 for name, x in tensors.items()}), shards[-1].name
    )
    assert load(folder).weights.sha256 != encoder.weights.sha256
    shards[1].unlink()
    with pytest.raises(UserError, match=f"lacks {shards[1].name}"):
        load(folder)


def test_random_weights_follow_their_seed_and_leave_the_global_one_alone(tmp_path):
    folder = saved(made("Dinov2"), tmp_path / "dino")
    (folder / "model.safetensors").unlink()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = (load(folder, weights="random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    frames = video(1, 64, 64)
    np.testing.assert_array_equal(first.encode(frames), again.encode(frames))
    assert first.weights_sha256() == again.weights_sha256() != other.weights_sha256()
    assert first.weights.kind == "random"


def test_bfloat16_stays_near_float32(tmp_path):
    folder = saved(made("DINOv3ViT"), tmp_path / "dino")
    frames = video(2, 96, 160)
    encoder = load(folder, dtype="bfloat16")
    exact, near = load(folder).encode(frames), encoder.encode(frames)
    assert near.dtype == np.float32
    assert {buffer.dtype for buffer in encoder.network.buffers()} == {torch.float32}  # rotary frequencies
    assert 0 < np.abs(near - exact).max() < 0.15 * np.abs(exact).max()


def test_a_classifiers_backbone_needs_no_pooler_and_its_head_is_listed(tmp_path):
    encoder = load(saved(made("ViT", "ForImageClassification"), tmp_path / "vit"))
    assert encoder.weights.facts["left_out"] == ["classifier (2)"]


def _drop(tensors):
    del tensors["encoder.layer.1.output.dense.bias"]


def _cut(tensors):
    tensors["layernorm.weight"] = tensors["layernorm.weight"][:8].contiguous()


def _add(tensors):
    tensors["layernorm.scale"] = torch.ones(32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, r"tensors 1 missing: layers.1.mlp.fc2.bias$"),
        (_cut, r"tensors 1 of another shape: layernorm.weight \[8\] \(expected \[32\]\)$"),
        (_add, r"tensors 1 left over: layernorm.scale$"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, change, message):
    folder = saved(made("ViT"), tmp_path / "vit")
    change_tensors(folder, change)
    with pytest.raises(UserError, match=message):
        load(folder)


def test_more_layers_than_the_config_says_are_refused(tmp_path):
    folder = saved(made("ViT", "ForImageClassification", num_hidden_layers=3), tmp_path / "vit")
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"left over: .*vit.layers.2.* and 8 more"):
        load(folder)


def folder_of(tmp_path, **config):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _config_of(kind, **options):
    return getattr(transformers, f"{kind}Config")(**options).to_dict()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "model type None is not known to transformers"),
        ({"model_type": "mystery", "auto_map": {"AutoModel": "x.Y"}}, "code of a repository is never run"),
        (_config_of("Bert"), "model type 'bert' is not supported: it reads input_ids"),
        (_config_of("Timesformer"), "'timesformer' is not supported: it is a video model whose order"),
        (_config_of("Siglip2Vision"), "it needs pixel_attention_mask, spatial_shapes beside the pixels"),
        (_config_of("Yolos", **(TINY | {"image_size": [64, 64]})), "1 known prefix tokens leave no grid of features"),
        (_config_of("PixtralVision", **TINY), r"returns \[1, 32, 32\] for two images"),
        (_config_of("ViT", **(TINY | {"patch_size": [16, 8]})), "is not square; expected one number"),
        (_config_of("VideoMAE", **(TINY | {"num_frames": 0})), "0 frames is no usable clip length"),
        (_config_of("ViT", **TINY) | {"hidden_size": "wide"}, "config.json cannot be read: .*expected int, got str"),
        (_config_of("ViT", **TINY) | {"hidden_act": "wobble"}, "config.json makes no model: .*wobble"),
    ],
)
def test_an_unsupported_model_is_refused_in_one_line(tmp_path, config, message):
    with pytest.raises(UserError, match=message) as error:
        load(folder_of(tmp_path, **config), weights="random")
    assert "\n" not in str(error.value)
    if "is not supported" in str(error.value):
        assert "supported: ViTs, conv nets" in str(error.value)


@pytest.mark.parametrize(
    ("reference", "options", "message"),
    [
        ("", {}, "expected hf:NAME"),
        ("/no/such/folder", {}, "no such folder: /no/such/folder"),
        ("./nowhere", {}, "no such folder: ./nowhere"),
        ("empty", {}, "empty holds no config.json"),
        ("weightless", {}, "weightless holds no weights; expected model.safetensors"),
        ("weightless", {"weights": "w.pth"}, "brings its own weights; leave out --weights w.pth"),
        ("weightless", {"fames": 8}, "unknown option of hf:weightless 'fames'; did you mean frames"),
        ("weightless", {"revision": "main"}, "is a folder, which has no revision 'main'"),
        ("broken", {}, "hf:broken cannot be loaded"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, reference, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("weightless", "broken"):
        made("ViT").config.save_pretrained(tmp_path / name)
    (tmp_path / "broken/model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match=message) as error:
        load(reference, **options)
    assert "\n" not in str(error.value)


def test_without_transformers_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'rvm-bench\[hub\]'"):
        load(tmp_path)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A Hugging Face cache that holds owner/vit, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "cache" / "models--owner--vit"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    return saved(made("ViT"), repository / "snapshots" / COMMIT)


def test_a_repository_in_the_cache_needs_no_network_and_is_known_by_its_commit(hub_cache):
    encoder = load("owner/vit")
    assert encoder.card.name == "vit"
    assert encoder.card.source == f"hf:owner/vit@{COMMIT}"
    assert encoder.card.licence == "see the model card"
    assert encoder.weights.facts["commit"] == COMMIT
    np.testing.assert_array_equal(encoder.encode(video(1, 64, 64)), load(hub_cache).encode(video(1, 64, 64)))


def test_a_repository_that_cannot_be_reached_is_one_line(hub_cache):
    with pytest.raises(UserError, match=r"^hf:owner/dino: .*huggingface.co cannot be reached; connect once"):
        load("owner/dino")
    with pytest.raises(UserError, match=r"^hf:owner/vit at v2: "):
        load("owner/vit", revision="v2")


def test_offline_no_statistics_are_made_up_for_a_repository(hub_cache):
    (hub_cache / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"preprocessor_config.json is not in the Hugging Face cache"):
        load("owner/vit")
    unknown = hub_cache.parents[1] / ".no_exist" / COMMIT
    unknown.mkdir(parents=True)
    for name in ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json"):
        (unknown / name).touch()
    assert "ImageNet" in load("owner/vit").card.note


def test_a_folder_runs_through_the_command_line(tmp_path, davis_copy, cli):
    folder = saved(made("Dinov2"), tmp_path / "my dino")
    code, out, err = cli("run", "--model", f"hf:{folder}", "--task", "davis", "--data", davis_copy, "--device", "cpu")
    assert (code, err) == (0, "")
    assert "my_dino on davis" in out
    result = read_json(the_run(tmp_path / "runs") / "result.json")
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() in json.dumps(result)
    code, _, err = cli("run", "--model", "hf:./nowhere", "--task", "davis", "--data", davis_copy)
    assert code == 2
    assert (
        err.strip()
        == "rvm-bench: hf:./nowhere: no such folder: ./nowhere (expected hf:FOLDER, or hf:OWNER/NAME "
        + ("of the Hugging Face Hub)")
    )
