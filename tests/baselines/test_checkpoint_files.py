"""Every format of every family is read, and one tensor too few, too many or of another shape is named."""

import argparse
import itertools

import numpy as np
import pytest
import torch
from official_files import (
    FAMILY_OF,
    MODELS,
    VIDEO,
    container,
    is_ignored,
    load,
    parameters,
    refusal,
    tensors,
    write,
)
from safetensors.torch import save_file

from baselines.families import dinov2
from baselines.vit.naming import NAMINGS
from rvm_bench import load_encoder
from rvm_bench.errors import UserError

# Formats


@pytest.mark.parametrize("model", MODELS)
def test_the_official_container_is_read(tmp_path, model):
    encoder = load(model, write(tmp_path, model))
    held = {name: array for name, array in parameters(model).items() if not is_ignored(model, name)}
    assert encoder.weights.facts["ignored_tensors"] == len(parameters(model)) - len(held)
    own = encoder.model.state_dict().values()
    assert sum(tensor.numel() for tensor in own) == sum(array.size for array in held.values())
    assert {tensor.dtype for tensor in own} == {torch.float32}
    # Every number of the file is in the model, and no other.
    assert np.array_equal(
        np.sort(np.concatenate([tensor.flatten() for tensor in own])),
        np.sort(np.concatenate([array.flatten() for array in held.values()])),
    )


@pytest.mark.parametrize("model", [model for model in MODELS if MODELS[model].suffix != ".npz"])
@pytest.mark.parametrize("kind", [".pth", ".bin", ".safetensors", "folder", "legacy", "no suffix"])
def test_every_torch_format_gives_the_same_features(tmp_path, features, model, kind):
    content = tensors(parameters(model))
    path = tmp_path / {"folder": "model.safetensors", "no suffix": "weights"}.get(kind, f"weights{kind}")
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(container(model, content), path, _use_new_zipfile_serialization=kind != "legacy")
    encoder = load(model, tmp_path if kind == "folder" else path)
    assert np.array_equal(encoder.encode(VIDEO), features[model])


@pytest.mark.parametrize("model", ["fourds", "fourds_depth"])
@pytest.mark.parametrize("prefix", ["params/layers_0/", "layers_0/", "", "params/"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_is_read_under_any_prefix_compressed_or_not(tmp_path, features, model, prefix, save):
    arrays = {
        name.removeprefix("params/layers_0/") if prefix == "" else name.replace("params/layers_0/", prefix): array
        for name, array in parameters(model).items()
    }
    save(tmp_path / "own.npz", **arrays)
    assert np.array_equal(load(model, tmp_path / "own.npz").encode(VIDEO), features[model])


@pytest.mark.parametrize(
    ("model", "wrapper", "prefix"),
    [
        ("vjepa", "target_encoder", "module.backbone."),
        ("vjepa", "target_encoder", "backbone."),
        ("vjepa", "", ""),
        ("videomae", "module", "encoder."),
        ("videomae", "", "encoder."),
        ("videomaev2", "module", ""),
        ("videomaev2", "", "model."),
        ("videomaev2", "state_dict", "backbone."),
        ("cropmae", "", ""),
    ],
)
def test_wrappers_and_prefixes_of_mirrored_files_are_known(tmp_path, features, model, wrapper, prefix):
    usual = {"vjepa": "module.backbone.", "videomae": "encoder.", "videomaev2": "model.", "cropmae": ""}[model]
    content = {
        prefix + name.removeprefix(usual): tensor
        for name, tensor in tensors(parameters(model)).items()
        if not is_ignored(model, name)
    }
    torch.save({wrapper: content} if wrapper else content, tmp_path / "mirror.pth")
    assert np.array_equal(load(model, tmp_path / "mirror.pth").encode(VIDEO), features[model])


def test_a_pretraining_checkpoint_of_videomaev2_ends_in_the_norm_of_its_encoder(tmp_path, features):
    content = {
        name.replace("model.", "encoder.").replace("fc_norm", "norm"): tensor
        for name, tensor in tensors(parameters("videomaev2")).items()
    } | {"mask_token": torch.zeros(1, 1, 4), "decoder.norm.weight": torch.zeros(4)}
    torch.save({"model": content}, tmp_path / "pt.pth")
    assert np.array_equal(load("videomaev2", tmp_path / "pt.pth").encode(VIDEO), features["videomaev2"])
    finetuned = {name.removeprefix("model."): tensor for name, tensor in tensors(parameters("videomaev2")).items()} | {
        "head.weight": torch.zeros(7, 48),
        "head.bias": torch.zeros(7),
    }
    torch.save({"module": finetuned}, tmp_path / "ft.pth")
    assert np.array_equal(load("videomaev2", tmp_path / "ft.pth").encode(VIDEO), features["videomaev2"])


def test_the_target_encoder_of_vjepa_is_the_model(tmp_path):
    """Its other encoder, here half of everything, is never mistaken for it."""
    content = container("vjepa", tensors(parameters("vjepa")))
    del content["target_encoder"]
    torch.save(content, tmp_path / "trained.pth.tar")
    assert "target_encoder" in refusal("vjepa", tmp_path / "trained.pth.tar")
    for other in (None, torch.zeros(3), []):
        torch.save(content | {"target_encoder": other}, tmp_path / "none.pth.tar")
        refusal("vjepa", tmp_path / "none.pth.tar")


def test_the_teacher_of_a_dino_checkpoint_is_the_model(tmp_path, features):
    backbone = {n: t for n, t in tensors(parameters("cropmae")).items() if not is_ignored("cropmae", n)}
    full = {f"backbone.{name}": tensor for name, tensor in backbone.items()} | {"head.mlp.0.weight": torch.zeros(3, 48)}
    student = {f"module.{name}": torch.zeros_like(tensor) for name, tensor in full.items()}
    torch.save({"student": student, "teacher": full, "args": argparse.Namespace(a=1)}, tmp_path / "full.pth")
    torch.save(backbone, tmp_path / "backbone.pth")
    for name in ("full", "backbone"):
        encoder = load_encoder("dino", weights=tmp_path / f"{name}.pth", heads=4, device="cpu")
        assert np.array_equal(encoder.encode(VIDEO), features["cropmae"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_floating_dtypes_load_as_float32(tmp_path, state, features, dtype, suffix):
    content = {name: tensor.to(dtype) for name, tensor in state.items()}
    path = tmp_path / f"other{suffix}"
    torch.save(content, path) if suffix == ".pth" else save_file(content, path)
    encoder = load("cropmae", path)
    assert {tensor.dtype for tensor in encoder.model.state_dict().values()} == {torch.float32}
    assert np.abs(encoder.encode(VIDEO) - features["cropmae"]).max() < (1e-6 if dtype == torch.float64 else 0.1)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble, ">f4"])
def test_arrays_of_other_floating_dtypes_load_as_float32(tmp_path, features, dtype):
    np.savez(tmp_path / "other.npz", **{name: array.astype(dtype) for name, array in parameters("fourds").items()})
    encoder = load("fourds", tmp_path / "other.npz")
    assert {tensor.dtype for tensor in encoder.model.state_dict().values()} == {torch.float32}
    assert np.abs(encoder.encode(VIDEO) - features["fourds"]).max() < (0.1 if dtype == np.float16 else 1e-6)


def test_tensors_that_are_parameters_or_not_contiguous_load_all_the_same(tmp_path, state, features):
    odd = {n: torch.nn.Parameter(t.T.contiguous().T if t.ndim == 2 else t) for n, t in state.items()}
    torch.save({"model": odd}, tmp_path / "odd.pth")
    encoder = load("cropmae", tmp_path / "odd.pth")
    assert np.array_equal(encoder.encode(VIDEO), features["cropmae"])
    assert all(parameter.is_contiguous() for parameter in encoder.model.parameters())
    np.savez(tmp_path / "odd.npz", **{name: np.asfortranarray(array) for name, array in parameters("fourds").items()})
    assert np.array_equal(load("fourds", tmp_path / "odd.npz").encode(VIDEO), features["fourds"])


def test_a_loaded_model_outlives_its_file(tmp_path, features):
    path = write(tmp_path, "cropmae")
    encoder = load("cropmae", path)
    path.unlink()
    assert np.array_equal(encoder.encode(VIDEO), features["cropmae"])


@pytest.mark.parametrize("model", ["cropmae", "videomaev2", "fourds"])
def test_a_file_that_is_written_over_does_not_change_a_loaded_model(tmp_path, features, model):
    """Its hash is in the stamp of every result that the model gives, so it must stay the model that was hashed."""
    path = write(tmp_path, model)
    encoder = load(model, path)
    with path.open("r+b") as file:  # in place: a file that shrank would end the process
        file.write(b"\x11" * path.stat().st_size)
    assert np.array_equal(encoder.encode(VIDEO), features[model])


# One tensor too few, too many, or of another shape


def drop(arrays, name):
    del arrays[name]
    return [f"missing: {name}"]


def rename(arrays, name):
    arrays[f"{name}x"] = arrays.pop(name)
    return [f"missing: {name}", f"unexpected: {name}x"]


def transpose(arrays, name):
    shape = arrays[name].shape
    arrays[name] = np.ascontiguousarray(arrays[name].T)
    # The size of the table in the depth checkpoint is its own: once transposed, nothing tells it.
    expected = "" if name.endswith("posenc/embeddings") else f" {shape}"
    return [f"of another shape: {name} {shape[::-1]}, expected{expected}"]


@pytest.mark.parametrize("change", [drop, rename, transpose])
@pytest.mark.parametrize("model", MODELS)
def test_every_tensor_of_an_encoder_is_missed_by_name(tmp_path, model, change):
    numbers = itertools.count()
    for name, array in parameters(model).items():
        if is_ignored(model, name) or (change is transpose and array.shape == array.shape[::-1]):
            continue
        arrays = parameters(model)
        expected = change(arrays, name)
        message = refusal(model, write(tmp_path, model, arrays, f"changed{next(numbers)}"))
        assert [part for part in expected if part not in message] == []
        # Nothing else is blamed.
        assert sum(kind in message for kind in ("missing:", "unexpected:", "of another shape:")) == len(expected)
        assert message.count(name) == (2 if change is rename else 1)


@pytest.mark.parametrize("model", MODELS)
def test_an_extra_tensor_is_named_unless_the_user_says_it_is_no_part(tmp_path, model, features):
    prefix = next(iter(parameters(model))).partition("patch_embed")[0].partition("encoder/")[0]
    inside = {"fourds": "processor/layers_1/gamma", "fourds_depth": "processor/layers_1/gamma"}
    names = ["extra", prefix + "extra", prefix + inside.get(model, "blocks.1.gamma")]
    arrays = parameters(model) | {name: np.zeros((3, 2), np.float32) for name in names}
    path = write(tmp_path, model, arrays, "extra")
    message = refusal(model, path)
    assert "missing" not in message
    assert all(f"{name} (3, 2)" in message for name in names)
    assert "--option ignore=PATTERN" in message
    encoder = load(model, path, ignore="*extra,*gamma")
    assert np.array_equal(encoder.encode(VIDEO), features[model])
    assert encoder.describe()["options"]["ignore"] == ["*extra", "*gamma"]
    assert set(names) <= set(refusal(model, path, ignore=["nothing*"]).replace(",", " ").split())


def test_what_ignore_names_is_missed_all_the_same(tmp_path, features):
    encoder = load("dinov2", write(tmp_path, "dinov2"), ignore="*")
    assert np.array_equal(encoder.encode(VIDEO), features["dinov2"])


SQUARE = {
    "dinov2": "blocks.{}.attn.proj.weight",
    "dinov2_swiglu": "blocks.{}.attn.proj.weight",
    "videomae": "encoder.blocks.{}.attn.proj.weight",
    "videomaev2": "model.blocks.{}.attn.proj.weight",
    "vjepa": "module.backbone.blocks.{}.attn.proj.weight",
    "cropmae": "blocks.{}.attn.proj.weight",
}


@pytest.mark.parametrize("model", MODELS)
def test_only_square_matrices_can_be_transposed_unseen(model):
    """A gap that no shape can close. Arrays of 4DS carry their heads, so none of its kernels is square."""
    hidden = {
        name
        for name, array in parameters(model).items()
        if array.ndim > 1 and array.shape == array.shape[::-1] and not is_ignored(model, name)
    }
    assert hidden == ({SQUARE[model].format(block) for block in range(3)} if model in SQUARE else set())


def test_of_a_hub_file_each_of_query_key_value_and_projection_is_square():
    table = NAMINGS["hub-dinov2"].table(dinov2.FAMILY.config("dinov2-s"), "norm")
    stored = {name: item.shape for item in table.values() for name in item.names}
    square = {name for name, shape in stored.items() if len(shape) > 1 and shape == shape[::-1]}
    attention = ("attention.query", "attention.key", "attention.value", "output.dense")
    assert square == {f"encoder.layer.{i}.attention.{part}.weight" for i in range(12) for part in attention}


# The one pair of families that no file tells apart: both are VideoMAE's architecture, under the same names.
TWINS = {("videomae", "videomaev2")}
ALL = ("dinov2", "dino", "mae", "videomae", "videomaev2", "vjepa", "4ds")


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("model", MODELS)
def test_a_file_of_one_family_is_refused_by_every_other(tmp_path, model, family):
    if family == FAMILY_OF[model]:
        return
    plain = tmp_path / f"plain{'.npz' if MODELS[model].suffix == '.npz' else '.safetensors'}"
    np.savez(plain, **parameters(model)) if plain.suffix == ".npz" else save_file(tensors(parameters(model)), plain)
    for path in (write(tmp_path, model), plain):
        if (model, family) in TWINS:
            load_encoder(family, weights=path, heads=4)
            continue
        with pytest.raises(UserError) as error:
            load_encoder(family, weights=path, heads=4)
        assert "\n" not in str(error.value)
        assert f"{family} " in str(error.value) or "holds no tensors" in str(error.value)
