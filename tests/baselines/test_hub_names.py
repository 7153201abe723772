"""Files of the hub hold the models that transformers makes of them: same names read, same tokens, any config."""

import json

import numpy as np
import pytest
import torch

from rvm_bench import load_encoder
from rvm_bench.errors import UserError

transformers = pytest.importorskip("transformers", reason="needs the extra `hub`")

TOLERANCE = 1e-4
TINY = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "layer_norm_eps": 1e-3}
# Norms with an epsilon of their own show whether config.json was read.


def perturbed(model):
    """A model in which no parameter is at its initial zero or one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def dinov2(**changes):
    config = transformers.Dinov2Config(**(TINY | {"image_size": 70, "patch_size": 14, "mlp_ratio": 4} | changes))
    return perturbed(transformers.Dinov2Model(config))


def videomae_config(**changes):
    sizes = {
        "intermediate_size": 96,
        "use_mean_pooling": False,
        "decoder_hidden_size": 24,
        "decoder_num_hidden_layers": 1,
    }
    sizes |= {"decoder_num_attention_heads": 2, "decoder_intermediate_size": 48}
    return transformers.VideoMAEConfig(**(TINY | sizes | changes))


def vit_config(**changes):
    return transformers.ViTConfig(**(TINY | {"intermediate_size": 96, "image_size": 64} | changes))


def noise(frames, height, width):
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def difference(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return np.abs(found - expected).max()


@torch.inference_mode()
def ours(encoder, video):
    """All tokens: of each frame, or of the clip."""
    pixels = encoder.prepare(video)
    return encoder.model(pixels[:, :, None] if encoder.card.frames == 1 else pixels.transpose(0, 1)[None])


@torch.inference_mode()
def theirs(model, encoder, video, **options):
    """All tokens of the transformers model, from pixels as the encoder prepares them."""
    pixels = encoder.prepare(video)
    return model(pixels if encoder.card.frames == 1 else pixels[None], **options).last_hidden_state


@pytest.mark.parametrize("gated", [False, True], ids=["mlp", "swiglu"])
@pytest.mark.parametrize("size", [(70, 70), (56, 98), (140, 42), (100, 150), (76, 68)])
def test_dinov2_equals_transformers_at_any_size(tmp_path, gated, size):
    model = dinov2(use_swiglu_ffn=gated)
    model.save_pretrained(tmp_path)
    encoder = load_encoder("dinov2", weights=tmp_path, device="cpu")
    assert encoder.weights.facts["layout"] == "hub-dinov2"
    assert encoder.options == {"heads": 4, "norm_eps": 1e-3, "positions": "hub"}
    # transformers makes the gated hidden width a multiple of 8 of two thirds of 4 x 48.
    assert (encoder.model.config.gated, encoder.model.config.hidden) == (gated, 128 if gated else 192)
    video = noise(2, *size)
    assert difference(ours(encoder, video), theirs(model, encoder, video)) < TOLERANCE
    grid = (size[0] // 14, size[1] // 14)
    assert difference(encoder.encode(video), theirs(model, encoder, video)[:, 1:].unflatten(1, grid)) < TOLERANCE


def test_dinov2_under_a_classifier_is_the_same_encoder(tmp_path):
    config = transformers.Dinov2Config(**(TINY | {"image_size": 70, "mlp_ratio": 4, "num_labels": 3}))
    model = perturbed(transformers.Dinov2ForImageClassification(config))
    model.save_pretrained(tmp_path)
    encoder = load_encoder("dinov2", weights=tmp_path / "model.safetensors", device="cpu")
    assert encoder.weights.facts["ignored_tensors"] == 3  # classifier and mask token
    video = noise(1, 70, 70)
    assert difference(ours(encoder, video), theirs(model.dinov2, encoder, video)) < TOLERANCE


def test_dinov2_with_registers_is_refused_by_name(tmp_path):
    config = transformers.Dinov2WithRegistersConfig(**(TINY | {"image_size": 70, "mlp_ratio": 4}))
    transformers.Dinov2WithRegistersModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"unexpected: embeddings\.register_tokens \(1, 4, 48\)"):
        load_encoder("dinov2", weights=tmp_path)


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_videomae_equals_transformers(tmp_path, qkv_bias):
    model = perturbed(transformers.VideoMAEModel(videomae_config(qkv_bias=qkv_bias)))
    model.save_pretrained(tmp_path)
    if not qkv_bias:  # no model of the family goes without its biases
        with pytest.raises(UserError, match=r"missing: .*q_bias"):
            load_encoder("videomae", weights=tmp_path)
        return
    encoder = load_encoder("videomae", weights=tmp_path / "model.safetensors", device="cpu")
    assert encoder.options == {"heads": 4, "norm_eps": 1e-3}
    video = noise(16, 224, 224)
    assert difference(ours(encoder, video), theirs(model, encoder, video)) < TOLERANCE


def test_videomae_for_pretraining_is_its_encoder_alone(tmp_path):
    model = perturbed(transformers.VideoMAEForPreTraining(videomae_config()))
    model.save_pretrained(tmp_path)
    encoder = load_encoder("videomae", weights=tmp_path, device="cpu")
    assert encoder.weights.facts["ignored_tensors"] > 10
    video = noise(16, 224, 224)
    assert difference(ours(encoder, video), theirs(model.videomae, encoder, video)) < TOLERANCE


def test_a_finetuned_videomae_is_refused_because_its_final_norm_is_another(tmp_path):
    model = transformers.VideoMAEForVideoClassification(videomae_config(use_mean_pooling=True, num_labels=3))
    model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"missing: videomae\.layernorm\.weight.*unexpected: .*fc_norm"):
        load_encoder("videomae", weights=tmp_path)


@pytest.mark.parametrize(
    ("family", "name", "size"),
    [("dino", "ViTModel", 64), ("dino", "ViTForImageClassification", 64), ("mae", "ViTMAE", 64)],
)
def test_image_models_of_the_hub_equal_transformers_at_their_native_size(tmp_path, family, name, size):
    if name == "ViTMAE":
        sizes = {"decoder_hidden_size": 24, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
        sizes |= {"intermediate_size": 96, "image_size": size, "decoder_intermediate_size": 48, "mask_ratio": 0.0}
        model = perturbed(transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**(TINY | sizes))))
    else:
        model = perturbed(getattr(transformers, name)(vit_config()))
    model.save_pretrained(tmp_path)
    encoder = load_encoder(family, weights=tmp_path, device="cpu")
    assert encoder.weights.facts["layout"] == "hub-vit"
    assert encoder.options == {"heads": 4, "norm_eps": 1e-3}
    video = noise(2, size, size)
    # Noise in rising order keeps MAE's patches, all of which are visible, where they are.
    options = {"noise": torch.arange(16.0).expand(2, 16)} if name == "ViTMAE" else {}
    backbone = model if name == "ViTModel" else getattr(model, model.base_model_prefix)
    assert difference(ours(encoder, video), theirs(backbone, encoder, video, **options)) < TOLERANCE


def test_a_torch_file_of_the_hub_holds_the_same_model(tmp_path):
    model = dinov2(layer_norm_eps=1e-6)
    model.save_pretrained(tmp_path)
    from safetensors.torch import load_file

    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    video = noise(1, 42, 56)
    bin_file = load_encoder("dinov2", weights=tmp_path / "pytorch_model.bin", heads=4, device="cpu")
    assert np.array_equal(bin_file.encode(video), load_encoder("dinov2", weights=tmp_path, device="cpu").encode(video))


def test_the_heads_of_a_config_are_not_contradicted(tmp_path):
    dinov2().save_pretrained(tmp_path)
    assert load_encoder("dinov2", weights=tmp_path, heads=4).options["heads"] == 4
    with pytest.raises(UserError, match="has 4 attention heads; leave out heads=6"):
        load_encoder("dinov2", weights=tmp_path, heads=6)


@pytest.mark.parametrize("changes", [{"hidden_size": 64}, {"num_hidden_layers": 12}, {"hidden_act": "relu"}])
def test_a_config_that_says_something_else_than_we_compute_is_refused(tmp_path, changes):
    """A config.json of another model must not give a file its heads and its epsilon in silence."""
    dinov2().save_pretrained(tmp_path)
    change_config(tmp_path, **changes)
    with pytest.raises(UserError, match=r"config\.json") as error:
        load_encoder("dinov2", weights=tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("changes", [{"image_size": 256}, {"num_frames": 8}])
def test_a_config_of_other_fixed_positions_is_not_ignored(tmp_path, changes):
    """VideoMAE's table is not in its files: its size is known from the config alone."""
    perturbed(transformers.VideoMAEModel(videomae_config())).save_pretrained(tmp_path)
    change_config(tmp_path, **changes)
    with pytest.raises(UserError, match=r"config\.json"):
        load_encoder("videomae", weights=tmp_path)


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
