"""Tensors of a checkpoint file by name, read lazily, for every container that is in use.

Containers are `.pth`, `.pth.tar`, `.bin` (torch), `.safetensors` (also in shards) and `.npz`. Torch and safetensors
files are memory-mapped, so that an optimiser or a second encoder is never read; arrays of an `.npz` are read one at a
time. Pickles are opened with torch's `weights_only` and may hold, besides tensors, `ALLOWED` only.
"""

import argparse
import dataclasses
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rvm_bench.errors import UserError, listed
from rvm_bench.formats.hashes import file_sha256, text_sha256

_SCALAR = np.float64(0).__reduce__()[0]  # numpy's constructor of pickled scalars; its module depends on the version

ALLOWED: dict[str, Any] = {
    "argparse.Namespace": argparse.Namespace,
    "numpy.core.multiarray.scalar": _SCALAR,
    "numpy._core.multiarray.scalar": _SCALAR,
    "numpy.dtype": np.dtype,
    **{f"numpy.dtypes.{name}": getattr(np.dtypes, name) for name in ("Float64DType", "Float32DType", "Int64DType")},
}
"""Globals that a pickled checkpoint may refer to besides tensors: a training script's arguments, and numbers."""

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

INDEX = "model.safetensors.index.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorFile:
    """The tensors of a file by name, none of them read yet.

    Attributes:
        shapes: of every tensor. floating: whether its dtype is floating point.
        read: reads one tensor, in the dtype of the file.
        config: the `config.json` beside it, as in Hugging Face folders; empty if there is none.
    """

    shapes: Mapping[str, tuple[int, ...]]
    floating: Mapping[str, bool]
    read: Callable[[str], Tensor]
    config: Mapping[str, Any]


def open_tensors(path: Path, wrappers: Sequence[str]) -> dict[str, TensorFile]:
    """The state dicts of a checkpoint, by the key of the file that holds them ("": the file itself).

    Args:
        path: the file, or a Hugging Face folder that holds `model.safetensors` or its shards.
        wrappers: keys of a torch file whose values may be state dicts.

    Raises:
        UserError: the file is missing, cannot be read, or would run code.
    """
    files = files_of(path)
    path = files[0]
    try:
        if path.suffix == ".npz":
            return {"": _open_npz(path)}
        if path.suffix == ".safetensors":
            return {"": _open_safetensors(files)}
        return _open_torch(path, wrappers)
    except UserError:
        raise
    # Damaged files make zipfile, pickle, numpy and torch raise almost any exception.
    except Exception as error:
        raise damaged(path, error) from None


def files_of(path: Path) -> list[Path]:
    """The files of a checkpoint: the path itself, or the weights or shards of a Hugging Face folder.

    Raises:
        UserError: a file or a shard is missing.
    """
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"{path}: no such file; expected a checkpoint")
        return [path]
    if (path / "model.safetensors").is_file():
        return [path / "model.safetensors"]
    if not (path / INDEX).is_file():
        raise UserError(f"{path}: a folder without model.safetensors or {INDEX}; give the file itself")
    try:
        names = sorted(set(json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        missing = [name for name in names if not (path / name).is_file()]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise damaged(path / INDEX, error) from None
    if missing or not names:
        raise UserError(f"{path}: lacks {', '.join(missing) or 'any shard'}, which {INDEX} lists; get the model again")
    return [path / name for name in names]


def files_sha256(files: Sequence[Path]) -> str:
    """sha256 of a single file, which the Hub shows too; of several, sha256 over their sorted names and hashes."""
    if len(files) == 1:
        return file_sha256(files[0])
    lines = (f"{file.name} {file_sha256(file)}\n" for file in sorted(files))
    return text_sha256("".join(lines))


def damaged(path: Path, error: Exception, name: str = "") -> UserError:
    """The error for a file, or a tensor of it, that cannot be read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "weights_only" in reason:  # torch's message advises to open the file unsafely
        reason = "not what torch.save writes by default"
    tensor = f"{name} " if name else ""
    return UserError(f"{path}: {tensor}cannot be read ({reason}); truncated, or another format? download it again")


def _open_npz(path: Path) -> TensorFile:
    shapes, floating = {}, {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            name = member.removesuffix(".npy")
            if name == member:
                raise ValueError(f"{member} in it is no .npy array")
            if name in shapes:
                raise ValueError(f"{name} is in it twice")
            with archive.open(member) as array:
                shapes[name], _, dtype = HEADERS[np.lib.format.read_magic(array)](array)
            floating[name] = dtype.kind == "f"

    def read(name: str) -> Tensor:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as array:
            numbers = np.lib.format.read_array(array, allow_pickle=False)
        # torch supports neither long doubles nor other byte orders. Overflow to inf is found by the check for finite.
        with np.errstate(over="ignore"):
            return torch.from_numpy(numbers.astype(np.float32, copy=False))

    return TensorFile(shapes=shapes, floating=floating, read=read, config={})


def _open_safetensors(files: Sequence[Path]) -> TensorFile:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            shard = load_file(path)
        except SafetensorError as error:
            raise damaged(path, error) from None
        duplicated = sorted(tensors.keys() & shard.keys())
        if duplicated:
            raise UserError(f"{path}: {duplicated[0]} is in another shard too; get the model again")
        tensors |= shard
    return _state_dict_file(tensors, files[0])


def _open_torch(path: Path, wrappers: Sequence[str]) -> dict[str, TensorFile]:
    try:
        allowed: list[Any] = [(value, name) for name, value in ALLOWED.items()]
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            # torch warns about pickles of protocol 4, which it reads all the same.
            warnings.simplefilter("ignore", UserWarning)
            # The format before torch 1.6 is not a zip archive and cannot be memory-mapped.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found is None:
            raise damaged(path, error) from None
        raise UserError(
            f"{path}: holds a pickled {found[1]}, which could run code when opened; allowed besides tensors: "
            f"{', '.join(ALLOWED)}. If you trust the file, save its tensors alone, with torch.save or safetensors"
        ) from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}; expected a dictionary of tensors")
    groups = {key: value for key in wrappers if key and isinstance(value := content.get(key), Mapping)}
    if any(isinstance(value, Tensor) for value in content.values()):
        groups[""] = content
    if not groups:
        raise UserError(
            f"{path}: holds no tensors and none of the keys {', '.join(filter(None, wrappers))}; "
            f"found {listed(list(map(str, content))) or 'nothing'}"
        )
    return {key: _state_dict_file(group, path) for key, group in groups.items()}


def _state_dict_file(content: Mapping[Any, Any], path: Path) -> TensorFile:
    beside = path.with_name("config.json")
    tensors = {str(name): value if isinstance(value, Tensor) else None for name, value in content.items()}
    return TensorFile(
        shapes={name: () if value is None else tuple(value.shape) for name, value in tensors.items()},
        floating={name: value is not None and _is_dense_float(value) for name, value in tensors.items()},
        read=lambda name: content[name],
        config=_read_config(beside) if path.suffix == ".safetensors" and beside.exists() else {},
    )


def _is_dense_float(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.layout is torch.strided and not tensor.is_meta


def _read_config(path: Path) -> dict[str, Any]:
    """The sizes in a Hugging Face config.json; VideoMAEv2 has them one level down."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}, not an object")
        sizes = content["model_config"] if isinstance(content.get("model_config"), dict) else content
        heads = sizes.get("num_attention_heads", sizes.get("num_heads"))
        if heads is not None and (isinstance(heads, bool) or not isinstance(heads, int) or heads < 1):
            raise ValueError(f"{heads!r} attention heads")
        epsilon = sizes.get("layer_norm_eps", 1e-6)
        if not isinstance(epsilon, float) or not 0 < epsilon < 1:
            raise ValueError(f"layer_norm_eps {epsilon!r}")
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path}: not the config of a model ({reason}); mend it, or move the tensors away from it"
        ) from None
    return sizes
