"""Tiny random models of transformers, saved to folders."""

import json

import numpy as np
import pytest
import torch

import rvm_bench

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
