"""Nothing that is wrong with a file passes unnamed, runs code, or ends in a traceback."""

import argparse
import io
import itertools
import json
import pathlib
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from official_files import (
    MODELS,
    NPZ_NAME,
    VIDEO,
    load,
    parameters,
    refusal,
    tensors,
    write,
)
from safetensors.torch import save_file

from baselines.families import videomaev2
from baselines.vit.config import size
from rvm_bench import load_encoder
from rvm_bench.errors import UserError


@pytest.mark.parametrize("model", MODELS)
def test_a_truncated_file_is_one_line(tmp_path, model):
    content = write(tmp_path, model).read_bytes()
    kept = [0, 1, 8, 100, *(len(content) * part // 12 for part in range(1, 12)), *(len(content) - n for n in (22, 1))]
    for length in kept:
        path = tmp_path / f"cut{length}{MODELS[model].suffix}"
        path.write_bytes(content[:length])
        assert "cannot be read" in refusal(model, path)


def test_a_truncated_torch_file_of_the_old_format_is_one_line(tmp_path, state):
    torch.save({"model": state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "old.pth").read_bytes()
    for length in [*range(0, 320, 3), *(len(content) * part // 20 for part in range(1, 20)), len(content) - 1]:
        path = tmp_path / f"cut{length}.pth"
        path.write_bytes(content[:length])
        refusal("cropmae", path)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_of_another_protocol_is_read_or_refused_without_a_warning(tmp_path, state, features, protocol, legacy):
    """torch's safe reader knows protocol 2, the default of torch.save, and what it shares with later ones."""
    options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": not legacy}
    torch.save({"model": state}, tmp_path / "other.pth", **options)
    if protocol == 3:
        assert np.array_equal(load("cropmae", tmp_path / "other.pth").encode(VIDEO), features["cropmae"])
    else:
        assert "weights_only" not in refusal("cropmae", tmp_path / "other.pth")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_flipped_bytes_of_an_npz_are_refused(tmp_path, compression):
    path = write_zip(tmp_path, npy_members("fourds"), compression)
    content = path.read_bytes()
    for number, place in enumerate(np.linspace(0.05, 0.95, 12)):
        broken = bytearray(content)
        broken[int(len(broken) * place)] ^= 0xFF
        (tmp_path / f"flipped{number}.npz").write_bytes(broken)
        assert "cannot be read" in refusal("fourds", tmp_path / f"flipped{number}.npz")


@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".bin", ".safetensors", ".npz", ""])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404 not found</html>\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"\x00" * 3000,
        b"\x80\x02}q\x00.",
        b"\x80\x04\x95garbage",
        b"PK\x05\x06" + b"\x00" * 18,
        bytes(range(256)) * 9,
    ],
    ids=["empty", "page", "lfs", "zeros", "pickle", "protocol4", "empty-zip", "noise"],
)
def test_what_is_no_checkpoint_is_one_short_line(tmp_path, suffix, content):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    message = refusal("fourds" if suffix == ".npz" else "vjepa", path)
    assert len(message.replace(str(path), "")) < 300
    # torch's own advice is to run what it found.
    assert "weights_only" not in message


def test_a_file_under_the_wrong_suffix_is_one_line(tmp_path):
    files = {model: write(tmp_path, model).read_bytes() for model in ("cropmae", "fourds", "videomaev2")}
    for (model, content), suffix in itertools.product(files.items(), [".pth", ".npz", ".safetensors"]):
        if suffix == MODELS[model].suffix:
            continue
        path = tmp_path / f"{model}-as{suffix}"
        path.write_bytes(content)
        message = refusal(model, path)
        assert "cannot be read" in message
        assert "weights_only" not in message


def test_a_real_tar_is_one_line(tmp_path):
    with tarfile.open(tmp_path / "real.pth.tar", "w") as archive:
        archive.add(write(tmp_path, "cropmae"), arcname="storages")
    assert "weights_only" not in refusal("vjepa", tmp_path / "real.pth.tar")


def test_a_file_or_folder_that_is_not_there_says_what_was_expected(tmp_path):
    assert "absent.pth.tar: no such file; expected a checkpoint" in refusal("vjepa", tmp_path / "absent.pth.tar")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").write_text("{}")
    assert "hub: a folder without model.safetensors" in refusal("videomaev2", tmp_path / "hub")


def test_shards_of_a_hub_folder_are_one_checkpoint(tmp_path, state, features):
    names = list(state)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: state[name] for name in held}, tmp_path / file)
    index = {"weight_map": {name: file for file, held in shards.items() for name in held}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    encoder = load("cropmae", tmp_path)
    assert np.array_equal(encoder.encode(VIDEO), features["cropmae"])
    assert encoder.weights.sha256 != load("cropmae", write(tmp_path, "cropmae")).weights.sha256
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "lacks model-00002-of-00002.safetensors" in refusal("cropmae", tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("name", ["norm.weight", "pos_embed", "blocks.2.mlp.fc1.weight"])
def test_a_number_that_is_not_finite_in_float32_is_named(tmp_path, state, name, value):
    state[name] = state[name].double()
    state[name].view(-1)[-1] = value
    torch.save({"model": state}, tmp_path / "nan.pth")
    assert f"{name} holds numbers that are not finite" in refusal("cropmae", tmp_path / "nan.pth")


def test_not_finite_numbers_of_what_is_ignored_do_no_harm(tmp_path, state, features):
    state["mask_token"].fill_(float("nan"))
    torch.save({"model": state}, tmp_path / "nan.pth")
    assert np.array_equal(load("cropmae", tmp_path / "nan.pth").encode(VIDEO), features["cropmae"])


ODD_TENSORS = {
    "integers": lambda tensor: tensor.to(torch.int32),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "booleans": lambda tensor: tensor > 0,
    "sparse": lambda tensor: tensor.to_sparse(),
    "without storage": lambda tensor: tensor.to("meta"),
    "a number": lambda tensor: 1.0,
    "none": lambda tensor: None,
    "a list": lambda tensor: tensor.tolist(),
    "a dictionary": lambda tensor: {"weight": tensor},
    "0-dimensional": lambda tensor: tensor.sum(),
    "empty": lambda tensor: tensor[:0],
}


@pytest.mark.parametrize("kind", ODD_TENSORS)
@pytest.mark.parametrize("name", ["norm.weight", "blocks.0.norm1.weight", "blocks.1.mlp.fc1.bias"])
def test_what_is_no_plain_floating_tensor_is_named(tmp_path, state, kind, name):
    state[name] = ODD_TENSORS[kind](state[name])
    torch.save({"model": state}, tmp_path / "odd.pth")
    assert name in refusal("cropmae", tmp_path / "odd.pth")


@pytest.mark.parametrize("dtype", [np.int32, object, "U3", [("a", "f4")], np.complex64])
def test_an_array_that_is_not_floating_is_named(tmp_path, dtype):
    arrays = parameters("fourds")
    arrays[NPZ_NAME] = np.zeros(48, dtype)
    path = write(tmp_path, "fourds", arrays, "odd")
    assert f"not floating point: {NPZ_NAME}" in refusal("fourds", path)


CONTENTS = {
    "nothing": {},
    "a list": [torch.zeros(3)],
    "a tensor": torch.zeros(3),
    "none": None,
    "a number": 3,
    "an empty wrapper": {"model": {}},
    "a wrapper of none": {"model": None},
    "a wrapper of a list": {"model": [torch.zeros(3)]},
    "a wrapper of a tensor": {"model": torch.zeros(3)},
    "a nested dictionary": {"model": {"model": {"norm.weight": torch.zeros(3)}}},
    "numbers for names": {1: torch.zeros(3), 2: torch.zeros(3)},
    "tuples for names": {("a", "b"): torch.zeros(3)},
    "bytes for names": {b"norm.weight": torch.zeros(3)},
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_pickle_without_our_tensors_is_one_line(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    message = refusal("cropmae", tmp_path / "other.pth")
    assert "found ," not in message
    assert not message.endswith("found ")


def renumbered(state, old, new):
    return {name.replace(f"blocks.{old}.", f"blocks.{new}."): tensor for name, tensor in state.items()}


STATES = {
    "no blocks": (lambda state: {n: t for n, t in state.items() if "blocks" not in n}, "not a checkpoint of the mae"),
    "a gap between blocks": (lambda state: renumbered(state, 2, 3), r"missing: blocks.2.norm1"),
    "no first block": (lambda state: renumbered(renumbered(renumbered(state, 2, 3), 1, 2), 0, 1), "missing: blocks.0"),
    "a leading zero": (lambda state: renumbered(state, 2, "02"), "unexpected: blocks.02"),
    "a negative block": (lambda state: renumbered(state, 2, "-1"), "unexpected: blocks.-1"),
    "a block number without end": (lambda state: renumbered(state, 2, "9" * 5000), "unexpected: blocks.999"),
    "a block too many": (lambda state: state | {"blocks.3.norm1.weight": torch.ones(48)}, "unexpected: blocks.3.norm1"),
    "all of no size": (lambda state: {n: t.reshape(-1)[:0] for n, t in state.items()}, "another shape"),
    "all 0-dimensional": (lambda state: {n: t.sum() for n, t in state.items()}, "another shape"),
    "blocks in chunks": (lambda state: renumbered(state, 2, "0.2"), "unexpected: blocks."),
    "two models": (lambda state: state | {f"ema.{n}": t for n, t in state.items()}, "unexpected: ema."),
    "other names too": (lambda state: state | {5: torch.zeros(3), ("a",): torch.zeros(2)}, "unexpected: 5"),
}


@pytest.mark.parametrize(("change", "expected"), STATES.values(), ids=STATES)
def test_a_model_whose_blocks_do_not_add_up_is_refused(tmp_path, state, change, expected):
    torch.save({"model": change(state)}, tmp_path / "odd.pth")
    assert expected in refusal("cropmae", tmp_path / "odd.pth")


# Pickles that would run code


class Trap:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return pathlib.Path.touch, (self.mark,)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("thing", "named"),
    [
        (pathlib.PurePosixPath("runs/a"), "pathlib"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (slice(1), "slice"),
        (eval, "eval"),
    ],
)
def test_a_pickle_that_holds_something_else_is_refused_by_its_name(tmp_path, state, thing, named, legacy):
    content = {"model": state, "args": argparse.Namespace(output=thing)}
    torch.save(content, tmp_path / "holds.pth", _use_new_zipfile_serialization=not legacy)
    message = refusal("cropmae", tmp_path / "holds.pth")
    assert f"holds a pickled {named}" in message
    assert "allowed besides tensors: argparse.Namespace" in message


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_is_never_run(tmp_path, state, legacy):
    mark = tmp_path / "ran"
    torch.save({"model": state, "x": Trap(mark)}, tmp_path / "trap.pth", _use_new_zipfile_serialization=not legacy)
    assert "holds a pickled" in refusal("cropmae", tmp_path / "trap.pth")
    assert not mark.exists()


def test_the_allowance_for_arguments_is_not_left_behind(tmp_path):
    load("cropmae", write(tmp_path, "cropmae"))
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_an_object_array_of_what_is_ignored_is_never_loaded(tmp_path, features):
    mark = tmp_path / "ran"
    arrays = parameters("fourds") | {"params/layers_2/trap": np.array([Trap(mark)], dtype=object)}
    encoder = load("fourds", write(tmp_path, "fourds", arrays, "trap"))
    assert np.array_equal(encoder.encode(VIDEO), features["fourds"])
    assert not mark.exists()


# Archives of arrays


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npy_members(model):
    return [(f"{name}.npy", npy(array)) for name, array in parameters(model).items()]


def write_zip(folder, members, compression=zipfile.ZIP_STORED):
    path = folder / "archive.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_of_any_compression_is_read(tmp_path, features, compression):
    path = write_zip(tmp_path, npy_members("fourds"), compression)
    assert np.array_equal(load("fourds", path).encode(VIDEO), features["fourds"])


def header(text, version=b"\x01\x00"):
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[0] == 1 else 4, "little") + text


BAD_MEMBERS = {
    "no array": ("readme.txt", b"hello"),
    "a folder": ("params/", b""),
    "an empty member": ("x.npy", b""),
    "half a magic": ("x.npy", b"\x93NUM"),
    "no header": ("x.npy", b"\x93NUMPY\x01\x00"),
    "half a header": ("x.npy", header(b"{'descr': '<f4', ".ljust(64))),
    "a header that is a list": ("x.npy", header(b"[1, 2]".ljust(64))),
    "a header that is no Python": ("x.npy", header(b"import os".ljust(64))),
    "a header of another dtype": (
        "x.npy",
        header(b"{'descr': 'zz', 'fortran_order': False, 'shape': (3,), }".ljust(80)),
    ),
    "a newer version": ("x.npy", header(b"{}".ljust(64), b"\x09\x00")),
    "a huge header": ("x.npy", header(b"{" + b" " * 60000 + b"}")),
    "a member without its suffix": (NPZ_NAME.replace("scale", "extra"), npy(np.zeros(3))),
}


@pytest.mark.parametrize("member", BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_an_archive_with_a_bad_member_is_one_line(tmp_path, member):
    refusal("fourds", write_zip(tmp_path, [*npy_members("fourds"), member]))


def test_a_member_without_its_suffix_is_one_line(tmp_path):
    """numpy always writes .npy, and reads such an archive; another program may not."""
    members = [(name.replace(f"{NPZ_NAME}.npy", NPZ_NAME), content) for name, content in npy_members("fourds")]
    assert NPZ_NAME in refusal("fourds", write_zip(tmp_path, members))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", [f"{NPZ_NAME}.npy", NPZ_NAME], ids=["same", "without suffix"])
def test_an_array_that_is_there_twice_is_named(tmp_path, name):
    """Which of them is meant cannot be known."""
    path = write_zip(tmp_path, [*npy_members("fourds"), (name, npy(np.zeros(48, np.float32)))])
    assert NPZ_NAME in refusal("fourds", path)


@pytest.mark.parametrize("shape", [(4, 14, 14, 48), (16, 14, 14, 48), (8, 0, 0, 48), (8, 14, 14, 12), (1568, 48)])
def test_positions_that_cannot_belong_to_16_frames_are_refused_on_loading(tmp_path, shape):
    arrays = parameters("fourds")
    arrays["params/layers_0/encoder/posenc/embeddings"] = np.zeros(shape, np.float32)
    path = write(tmp_path, "fourds", arrays, "other")
    assert f"posenc/embeddings {shape}, expected" in refusal("fourds", path)


@pytest.mark.parametrize("cells", [0, 1, 195, 1569])
def test_a_table_of_positions_that_is_no_square_is_named(tmp_path, state, cells):
    state["pos_embed"] = torch.zeros(1, cells, 48)
    torch.save({"model": state}, tmp_path / "other.pth")
    assert f"pos_embed (1, {cells}, 48), expected (1, 197, 48)" in refusal("cropmae", tmp_path / "other.pth")


def test_the_grid_and_the_patch_are_read_from_the_file(tmp_path, state):
    state["pos_embed"] = torch.zeros(1, 1 + 36, 48)
    state["patch_embed.proj.weight"] = torch.zeros(48, 3, 8, 8)
    torch.save({"model": state}, tmp_path / "other.pth")
    encoder = load("cropmae", tmp_path / "other.pth")
    assert (encoder.model.config.grid, encoder.model.config.patch, encoder.card.patch) == ((1, 6, 6), 8, 8)
    assert encoder.encode(VIDEO).shape == (2, 4, 6, 48)


# config.json beside the tensors


def with_config(folder, text):
    save_file(tensors(parameters("videomaev2")), folder / "model.safetensors")
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else json.dumps(text).encode())
    return folder


@pytest.mark.parametrize("inner", [False, True])
def test_heads_and_epsilon_come_from_the_config(tmp_path, inner):
    sizes = {"num_heads" if inner else "num_attention_heads": 3, "layer_norm_eps": 1e-3}
    folder = with_config(tmp_path, {"model_config": sizes} if inner else sizes)
    encoder = load_encoder("videomaev2", weights=folder, device="cpu")
    assert encoder.options == {"heads": 3, "norm_eps": 1e-3}


def test_a_config_without_sizes_says_nothing(tmp_path, features):
    encoder = load("videomaev2", with_config(tmp_path, {"architectures": ["X"], "model_config": None}))
    assert np.array_equal(encoder.encode(VIDEO), features["videomaev2"])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not json",
        b'{"a":',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        [],
        3,
        None,
        "text",
        {"num_attention_heads": "four"},
        {"num_attention_heads": [4]},
        {"num_attention_heads": -4},
        {"num_attention_heads": 5},
        {"num_attention_heads": 4.5},
        {"num_attention_heads": float("inf")},
        {"layer_norm_eps": None},
        {"layer_norm_eps": "small"},
        {"layer_norm_eps": [1]},
        {"layer_norm_eps": -1.0},
        {"layer_norm_eps": float("nan")},
    ],
    ids=lambda text: repr(text)[:40],
)
def test_a_config_that_makes_no_sense_is_blamed_in_one_line(tmp_path, text):
    heads = {} if isinstance(text, dict) and "num_attention_heads" in text else {"heads": 4}
    with pytest.raises(UserError, match=r"config\.json|heads") as error:
        load_encoder("videomaev2", weights=with_config(tmp_path, text), **heads)
    assert "\n" not in str(error.value)
    assert "download it again" not in str(error.value)


def test_a_config_of_another_head_count_is_refused_where_the_model_is_known(tmp_path, monkeypatch):
    monkeypatch.setitem(videomaev2.FAMILY.sizes, "videomaev2-b", size(48, 3, 4, 192))
    folder = with_config(tmp_path, {"num_attention_heads": 4})
    assert load_encoder("videomaev2-b", weights=folder).options["heads"] == 4
    (folder / "config.json").write_text('{"num_attention_heads": 3}')
    with pytest.raises(UserError, match=r"heads 3 \(expected 4\)"):
        load_encoder("videomaev2-b", weights=folder)
