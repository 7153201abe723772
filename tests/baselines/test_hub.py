"""Models of Hugging Face give transformers' own features."""

import numpy as np
import pytest
import torch
from hub_models import (
    DECODER,
    HALVES,
    IMAGES,
    STAGES,
    TEXT,
    TINY,
    VJEPA2,
    load,
    made,
    pixels,
    saved,
    transformers,
    video,
    without_progress_bars,  # noqa: F401 (a fixture for every test here)
)

from rvm_bench.errors import UserError
from rvm_bench.nn.sinusoids import sinusoid_table


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
