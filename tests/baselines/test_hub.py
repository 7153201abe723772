"""hf: and timm: models: the library's own features on the grid, or one line that says why not. All offline."""

import hashlib
import json
import shutil
import sys
import types

import numpy as np
import pytest
import torch
from layouts import the_run

import rvm_bench
from rvm_bench.errors import UserError
from rvm_bench.formats.files import read_json
from rvm_bench.nn.sinusoids import sinusoid_table

transformers = pytest.importorskip("transformers", reason="needs the extra `hub`")

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 16,
}
DECODER = {
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 64,
}
TEXT = {key: value for key, value in TINY.items() if key not in ("image_size", "patch_size")} | {"vocab_size": 9}
STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
IMAGES = {
    "ViT": (1, {}),
    "DeiT": (2, {}),
    "Dinov2": (1, {}),
    "Dinov2WithRegisters": (5, {}),
    "DINOv3ViT": (4, {"num_register_tokens": 3}),
    "Beit": (1, {"use_absolute_position_embeddings": True, "use_mean_pooling": False}),
    "CLIPVision": (1, {}),
    "SiglipVision": (0, {}),
    "IJepa": (0, {}),
}
VJEPA2 = {
    "crop_size": 64,
    "frames_per_clip": 4,
    "hidden_size": 64,
    "mlp_ratio": 2,
    "pred_hidden_size": 24,
    "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": 1,
}
HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


@pytest.fixture(autouse=True)
def without_progress_bars():
    transformers.utils.logging.disable_progress_bar()


def made(kind, head="Model", **options):
    """A tiny model with noise on every parameter, so that positions and norms matter."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**(TINY | options))
    model = getattr(transformers, f"{kind}{head}")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def saved(model, folder, preprocessor=HALVES):
    model.save_pretrained(folder)
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def video(frames, height, width):
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def pixels(frames):
    """uint8 [T, H, W, 3] -> [T, 3, H, W] in [-1, 1], as HALVES says."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


def load(folder, **options):
    return rvm_bench.load_encoder(f"hf:{folder}", device="cpu", **options)


def change_tensors(folder, change, name="model.safetensors"):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name, metadata={"format": "pt"})


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (101, 170)], ids=str)
@pytest.mark.parametrize("kind", IMAGES)
def test_features_are_the_models_own_patch_tokens_at_any_size(tmp_path, kind, size):
    prefix, options = IMAGES[kind]
    model = made(kind, **options)
    frames = video(3, *size)
    h, w = size[0] // 16, size[1] // 16
    arguments = {"interpolate_pos_encoding": True} if kind not in ("Dinov2", "Dinov2WithRegisters", "DINOv3ViT") else {}
    with torch.inference_mode():
        hidden = model(pixels(frames)[..., : 16 * h, : 16 * w], **arguments).last_hidden_state
    encoder = load(saved(model, tmp_path / kind))
    assert hidden.shape[1] == prefix + h * w
    np.testing.assert_allclose(encoder.encode(frames), hidden[:, prefix:].reshape(3, h, w, 32), atol=1e-5)
    assert (encoder.card.name, encoder.card.family, encoder.card.patch, encoder.card.width) == (kind, "hf", 16, 32)
    assert encoder.card.causal
    assert (f"{prefix} prefix tokens" in encoder.card.taps["readout"]) == (prefix > 0)


@pytest.mark.parametrize("size", [(64, 64), (96, 160)], ids=str)
def test_vit_mae_sees_every_patch_in_order(tmp_path, size):
    mae = made("ViTMAE", "ForPreTraining", **DECODER)
    vit = transformers.ViTModel(transformers.ViTConfig(**TINY, layer_norm_eps=mae.config.layer_norm_eps)).eval()
    vit.load_state_dict(mae.vit.state_dict(), strict=False)  # a ViT without its masking
    frames = video(2, *size)
    with torch.inference_mode():
        hidden = vit(pixels(frames), interpolate_pos_encoding=True).last_hidden_state[:, 1:]
    encoder = load(saved(mae, tmp_path / "mae"))
    np.testing.assert_allclose(encoder.encode(frames), hidden.reshape(2, size[0] // 16, size[1] // 16, 32), atol=1e-5)
    assert "decoder (" in encoder.card.note
    assert encoder.weights.facts["left_out"] == ["decoder (24)"]


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_of_a_pair_of_towers_the_vision_tower_is_taken(tmp_path, kind):
    pair = made(kind, vision_config=TINY, text_config=TEXT)
    frames = video(2, 64, 64)
    with torch.inference_mode():
        hidden = pair.vision_model(pixels(frames)).last_hidden_state[:, -16:]
    encoder = load(saved(pair, tmp_path / kind))
    np.testing.assert_allclose(encoder.encode(frames), hidden.reshape(2, 4, 4, 32), atol=1e-5)
    assert "text_model (" in encoder.card.note


@pytest.mark.parametrize("kind", ["ResNet", "ConvNext"])
def test_a_conv_nets_last_map_is_taken_with_the_stride_that_it_has(tmp_path, kind):
    torch.manual_seed(0)
    sizes = STAGES | ({"embedding_size": 8} if kind == "ResNet" else {"patch_size": 4})
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**sizes)).eval()
    frames = video(2, 100, 170)
    with torch.inference_mode():
        maps = model(pixels(frames)[..., :96, :160]).last_hidden_state
    encoder = load(saved(model, tmp_path / kind))
    assert encoder.card.patch == 32
    np.testing.assert_allclose(encoder.encode(frames), maps.permute(0, 2, 3, 1), atol=1e-5)


def test_videomae_at_its_own_size_is_transformers_own(tmp_path):
    model = made("VideoMAE", "ForPreTraining", use_mean_pooling=False, **DECODER).videomae
    encoder = load(saved(model, tmp_path / "mae"))
    clip = pixels(video(16, 64, 64))[None]
    with torch.inference_mode():
        hidden = model(clip).last_hidden_state.reshape(1, 8, 4, 4, 32)
        encoder.forward_clip(torch.zeros(1, 3, 16, 96, 160))  # another size in between leaves nothing behind
        features = encoder.forward_clip(clip.transpose(1, 2))
    np.testing.assert_allclose(features, hidden, atol=1e-6)
    np.testing.assert_allclose(encoder.network.embeddings.position_embeddings[0], sinusoid_table(128, 32), atol=1e-6)
    assert encoder.card.frames == 16
    assert not encoder.card.causal


def test_videomae_resizes_each_slot_of_its_table_as_the_authors_do(tmp_path):
    folder = saved(made("VideoMAE", use_mean_pooling=False), tmp_path / "mae")
    wide = transformers.VideoMAEModel.from_pretrained(folder, image_size=(96, 160)).eval()
    slots = torch.from_numpy(sinusoid_table(128, 32)).view(8, 4, 4, 32).permute(0, 3, 1, 2)
    slots = torch.nn.functional.interpolate(slots, scale_factor=(6 / 4, 10 / 4), mode="bicubic", align_corners=False)
    wide.embeddings.position_embeddings = slots.permute(0, 2, 3, 1).reshape(1, -1, 32)
    clip = pixels(video(16, 96, 160))[None]
    with torch.inference_mode():
        hidden = wide(clip).last_hidden_state.reshape(1, 8, 6, 10, 32)
        features = load(folder).forward_clip(clip.transpose(1, 2))
    np.testing.assert_allclose(features, hidden, atol=1e-5)


def test_videomae_takes_a_video_of_any_length_and_says_where_a_norm_is_missing(tmp_path):
    encoder = load(saved(made("VideoMAE"), tmp_path / "mae"))
    assert encoder.encode(video(21, 96, 160)).shape == (21, 6, 10, 32)
    assert "without a final norm" in encoder.card.note


def test_vjepa2_at_its_own_size_is_transformers_own_and_elsewhere_counts_rows_by_the_frame(tmp_path):
    from baselines.hub.hf_encoders import _RotaryGrid

    model = made("VJEPA2", **VJEPA2)
    encoder = load(saved(model, tmp_path / "vjepa2"))
    clip = pixels(video(4, 64, 64))[None]
    with torch.inference_mode():
        hidden = model(clip, skip_predictor=True).last_hidden_state.reshape(1, 2, 4, 4, 64)
        encoder.forward_clip(torch.zeros(1, 3, 4, 96, 160))
        np.testing.assert_allclose(encoder.forward_clip(clip.transpose(1, 2)), hidden, atol=1e-6)
    assert encoder.encode(video(5, 96, 160)).shape == (5, 6, 10, 64)
    slots, rows, columns = _RotaryGrid((2, 8), (4, 4))(torch.zeros(1, 32, 1))
    np.testing.assert_array_equal(slots, [0] * 16 + [1] * 16)
    np.testing.assert_allclose(rows, [*[0.5] * 8, *[2.5] * 8] * 2)
    np.testing.assert_allclose(columns, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3] * 4)
    native = _RotaryGrid((4, 4), (4, 4))(torch.zeros(1, 32, 1))
    expected = model.encoder.layer[0].attention.get_position_ids(torch.zeros(1, 32, 1))
    for ours, theirs in zip(native, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_clip_length_of_vjepa2_can_be_chosen_and_must_fit_its_tubelets(tmp_path):
    folder = saved(made("VJEPA2", **VJEPA2), tmp_path / "vjepa2")
    assert load(folder, frames=6).card.frames == 6
    with pytest.raises(UserError, match="5 frames is no usable clip length; expected a multiple"):
        load(folder, frames=5)
    with pytest.raises(UserError, match="clips of 16 frames only"):
        load(saved(made("VideoMAE"), tmp_path / "mae"), frames=8)
    with pytest.raises(UserError, match="is an image model; leave out the option frames=8"):
        load(saved(made("ViT"), tmp_path / "vit"), frames=8)


def test_vivit_works_at_its_own_size_and_names_it_at_others(tmp_path):
    model = made("Vivit", num_frames=4, tubelet_size=[2, 16, 16])
    encoder = load(saved(model, tmp_path / "vivit"))
    frames = video(4, 64, 64)
    with torch.inference_mode():
        hidden = model(pixels(frames)[None]).last_hidden_state[:, 1:].reshape(1, 2, 4, 4, 32)
        np.testing.assert_allclose(encoder.forward_clip(pixels(frames)[None].transpose(1, 2)), hidden, atol=1e-6)
    with pytest.raises(UserError, match="cannot take frames of 96x160 px; its positions are made for 64x64 px"):
        encoder.encode(video(4, 96, 160))


def test_a_model_without_movable_positions_names_the_size_that_works(tmp_path):
    encoder = load(saved(made("Aimv2Vision", "Model"), tmp_path / "aim"))
    assert encoder.encode(video(1, 64, 64)).shape == (1, 4, 4, 32)
    with pytest.raises(UserError, match="cannot take frames of 96x160 px; its positions are made for 64x64 px"):
        encoder.encode(video(1, 96, 160))


def test_pixels_are_normalised_as_the_model_says_or_as_imagenet(tmp_path):
    model = made("ViT")
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    card = load(saved(model, tmp_path / "a", said)).card
    assert (card.pixel_mean, card.pixel_std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert "pixels normalised as in preprocessor_config.json" in card.note
    card = load(saved(model, tmp_path / "b", None)).card
    assert card.pixel_mean == (0.485, 0.456, 0.406)
    assert "ImageNet" in card.note
    card = load(saved(model, tmp_path / "c", HALVES | {"rescale_factor": 1 / 127.5})).card
    np.testing.assert_allclose(card.pixel_mean + card.pixel_std, [0.25] * 6)  # x/127.5 -> (x/255 - 0.25) / 0.25
    card = load(saved(model, tmp_path / "d", HALVES | {"do_rescale": False, "do_normalize": False})).card
    np.testing.assert_allclose(card.pixel_mean + card.pixel_std, [0] * 3 + [1 / 255] * 3)
    nested = {"image_processor": HALVES | {"rescale_factor": 1 / 127.5, "offset": True}}
    card = load(saved(model, tmp_path / "e", nested)).card
    np.testing.assert_allclose(card.pixel_mean + card.pixel_std, [0.75] * 3 + [0.25] * 3)
    with pytest.raises(UserError, match="expected three numbers each"):
        load(saved(model, tmp_path / "f", HALVES | {"image_std": [1, 0, 1]}))


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


class FakeViT(torch.nn.Module):
    """A CLS token, then the mean of each patch."""

    num_prefix_tokens = 1
    pretrained_cfg = types.MappingProxyType({"license": "mit"})

    def __init__(self, patch=8):
        super().__init__()
        self.patch_embed = types.SimpleNamespace(patch_size=(patch, patch))
        self.scale = torch.nn.Parameter(torch.rand(1))

    def forward_features(self, x):
        tokens = torch.nn.functional.avg_pool2d(x, self.patch_embed.patch_size[0]).flatten(2).mT * self.scale
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)


class FakeConvNet(FakeViT):
    num_prefix_tokens = 0

    def forward_features(self, x):
        if x.shape[-1] == 40:
            raise AssertionError("Input width (40) doesn't match model (32).")
        return torch.nn.functional.avg_pool2d(x, 16) * self.scale


class FakeSwin(FakeConvNet):
    output_fmt = "NHWC"

    def forward_features(self, x):
        return super().forward_features(x).permute(0, 2, 3, 1)


class FakeQueries(FakeViT):
    def forward_features(self, x):
        return torch.zeros(len(x), 7, 3)


@pytest.fixture
def timm(monkeypatch):
    """timm itself cannot be imported without a matching torchvision; this has the parts of it that are used."""
    nets = {"vit": FakeViT, "conv": FakeConvNet, "swin": FakeSwin, "queries": FakeQueries}

    def create_model(name, pretrained, num_classes, **options):
        if options and name != "vit":
            raise TypeError("__init__() got an unexpected keyword argument 'dynamic_img_size'")
        if pretrained and name == "swin":
            raise RuntimeError("No pretrained weights exist for swin.\nUse pretrained=False")
        model = nets[name]()
        if pretrained:
            torch.nn.init.constant_(model.scale, 2.0)
        return model

    fake = types.ModuleType("timm")
    fake.__version__ = "1.0"
    fake.create_model = create_model
    fake.is_model = nets.__contains__
    fake.list_models = lambda: list(nets)
    statistics = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 32, 32)}
    fake.data = types.SimpleNamespace(resolve_model_data_config=lambda model: statistics)
    monkeypatch.setitem(sys.modules, "timm", fake)
    return fake


def test_timm_tokens_and_maps_become_grids(timm):
    frames = video(3, 35, 50)
    encoder = rvm_bench.load_encoder("timm:vit", device="cpu")
    expected = 2 * torch.nn.functional.avg_pool2d(pixels(frames), 8).permute(0, 2, 3, 1)
    np.testing.assert_allclose(encoder.encode(frames), expected, atol=1e-5)
    assert (encoder.card.patch, encoder.card.licence, encoder.card.source) == (8, "mit", "timm:vit")
    assert encoder.describe()["weights"]["sha256"]
    encoder = rvm_bench.load_encoder("timm:conv", device="cpu")
    expected = 2 * torch.nn.functional.avg_pool2d(pixels(frames), 16).permute(0, 2, 3, 1)
    np.testing.assert_allclose(encoder.encode(frames), expected, atol=1e-5)
    encoder = rvm_bench.load_encoder("timm:swin", weights="random", device="cpu")
    np.testing.assert_allclose(encoder.encode(frames), expected * encoder.network.scale / 2, atol=1e-5)


def test_random_timm_weights_follow_their_seed(timm):
    load_one = lambda seed: rvm_bench.load_encoder("timm:vit", weights="random", device="cpu", seed=seed)  # noqa: E731
    assert load_one(1).weights_sha256() == load_one(1).weights_sha256() != load_one(2).weights_sha256()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vitt", {}, "unknown timm model 'vitt'; did you mean vit"),
        ("swin", {}, "timm:swin cannot be made: No pretrained weights exist for swin.$"),
        ("queries", {}, r"returned \[1, 7, 3\]; expected 1 prefix tokens and 4x4 patches"),
        ("vit", {"weights": "w.pth"}, "brings its own weights"),
        ("vit", {"frames": 3}, "unknown option of timm:vit 'frames'"),
    ],
)
def test_a_mistake_with_timm_is_one_line(timm, name, options, message):
    with pytest.raises(UserError, match=message):
        rvm_bench.load_encoder(f"timm:{name}", device="cpu", **options)


def test_a_timm_model_of_one_size_names_it(timm):
    encoder = rvm_bench.load_encoder("timm:conv", device="cpu")
    encoder.card = type(encoder.card)(**(encoder.card.to_dict() | {"patch": 8}))
    with pytest.raises(UserError, match="cannot take frames of 32x40 px; its positions are made for 32x32 px"):
        encoder.encode(video(1, 32, 40))


def test_timm_that_cannot_be_imported_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"timm cannot be imported: .*the torchvision built for torch"):
        rvm_bench.load_encoder("timm:resnet50")
