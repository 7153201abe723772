"""Reads official checkpoints into a ViT, strictly: every tensor of a file is used, or named as ignored on purpose.

Files are `.pth`, `.pth.tar`, `.bin` (torch), `.safetensors`, and `.npz`. Torch and safetensors files are mapped into
memory, so that what is not used (an optimiser, a second encoder) is never read; arrays of an `.npz` are read one at a
time. Pickles are opened with torch's `weights_only`, and besides tensors may hold `ALLOWED` alone.
"""

import argparse
import dataclasses
import fnmatch
import json
import math
import pickle
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.family import HEADS, Family, Layout, ViTConfig
from baselines.naming import NAMINGS, Naming, Stored
from baselines.vit import ViT
from rvm_bench.errors import UserError

ALLOWED = (argparse.Namespace,)
"""What a pickled checkpoint may hold besides tensors and plain values: the training script's arguments."""

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

LISTED_AT_MOST = 20  # names of each kind in an error message; a file of another model would list hundreds


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorFile:
    """The tensors of a file, by name, before any of them is read.

    Attributes:
        shapes: of every tensor. floating: whether it holds floating-point numbers.
        read: one tensor, in the dtype of the file.
        config: the `config.json` beside it, as hub folders have one; empty where there is none.
    """

    shapes: Mapping[str, tuple[int, ...]]
    floating: Mapping[str, bool]
    read: Callable[[str], Tensor]
    config: Mapping[str, Any]


def load(
    family: Family,
    path: Path,
    *,
    named: ViTConfig | None = None,
    heads: int | None = None,
    ignore: Sequence[str] = (),
) -> tuple[ViT, dict[str, Any]]:
    """The model in a file, float32 on the CPU, and what there is to say about the file.

    Args:
        family: whose formats are tried.
        path: the file, or a folder that holds `model.safetensors`.
        named: the config that the file must have; None takes any size of the family.
        heads: attention heads, where the file cannot tell.
        ignore: further tensors that the user declares to be no part of the encoder, as glob patterns.

    Raises:
        UserError: the file cannot be read, holds another model, or holds a tensor too many, too few, of another shape
            or not finite; it is named. A square matrix that was transposed cannot be told from its shape.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a checkpoint of the {family.name} family")
    raw = _open(path, sorted({wrapper for layout in family.layouts for wrapper in layout.wrappers}))
    layout, file, prefix = _recognise(family, raw, path)
    naming = NAMINGS[layout.naming]
    config = _config(family, naming, file, prefix, heads, named, path)
    expected = naming.table(config, layout.norm)
    used = {prefix + name: stored.shape for stored in expected.values() for name in stored.names}
    ignored = [name for name in file.shapes if _matches(name, [*layout.ignored, *ignore]) and name not in used]
    _check(used, file, ignored, path, family)
    with torch.device("meta"):
        model = ViT(config)
    state = {
        ours: _convert(stored, [_finite(file, prefix + name, path) for name in stored.names], target)
        for (ours, target) in model.state_dict().items()
        for stored in [expected[ours]]
    }
    model.load_state_dict(state, strict=True, assign=True)
    facts: dict[str, Any] = {"layout": layout.naming, "ignored_tensors": len(ignored)}
    if layout.norm == "fc_norm" and bool((state["norm.weight"] == 1).all()) and not bool(state["norm.bias"].any()):
        facts["note"] = "fc_norm of this file is the identity (weight 1, bias 0): it was never trained"
    return model.eval().requires_grad_(False), facts


def _open(path: Path, wrappers: Sequence[str]) -> dict[str, TensorFile]:
    """The groups of tensors in a file, by the wrapper key that holds them ("": the file itself)."""
    try:
        if path.suffix == ".npz":
            return {"": _open_npz(path)}
        if path.suffix == ".safetensors":
            return {"": _open_safetensors(path)}
        return _open_torch(path, wrappers)
    except UserError:
        raise
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(f"{path}: cannot be read ({reason}); truncated, or another format? download it again")


def _open_npz(path: Path) -> TensorFile:
    shapes, floating = {}, {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as array:
                shape, _, dtype = HEADERS[np.lib.format.read_magic(array)](array)
            shapes[member.removesuffix(".npy")] = shape
            floating[member.removesuffix(".npy")] = dtype.kind == "f"

    def read(name: str) -> Tensor:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as array:
            return torch.from_numpy(np.lib.format.read_array(array, allow_pickle=False))

    return TensorFile(shapes=shapes, floating=floating, read=read, config={})


def _open_safetensors(path: Path) -> TensorFile:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise _damaged(path, error) from None
    return _of_tensors(tensors, path)


def _open_torch(path: Path, wrappers: Sequence[str]) -> dict[str, TensorFile]:
    try:
        with torch.serialization.safe_globals(list(ALLOWED)):
            # Files older than torch 1.6 are no zip archives and cannot be mapped.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found is None:
            raise _damaged(path, error) from None
        allowed = ", ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in ALLOWED)
        raise UserError(
            f"{path}: holds a pickled {found[1]}, which could run code when opened; allowed besides tensors: "
            f"{allowed}. If you trust the file, save its tensors alone with torch.save or safetensors and give that"
        ) from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}; expected a dictionary of tensors")
    groups = {key: value for key in wrappers if key and isinstance(value := content.get(key), Mapping)}
    if any(isinstance(value, Tensor) for value in content.values()):
        groups[""] = content
    if not groups:
        raise UserError(
            f"{path}: holds no tensors and none of the keys {', '.join(filter(None, wrappers))}; "
            f"found {', '.join(map(str, list(content)[:LISTED_AT_MOST]))}"
        )
    return {key: _of_tensors(group, path) for key, group in groups.items()}


def _of_tensors(content: Mapping[Any, Any], path: Path) -> TensorFile:
    beside = path.with_name("config.json")
    tensors = {str(name): value if isinstance(value, Tensor) else None for name, value in content.items()}
    return TensorFile(
        shapes={name: () if value is None else tuple(value.shape) for name, value in tensors.items()},
        floating={name: value is not None and value.is_floating_point() for name, value in tensors.items()},
        read=lambda name: content[name],
        config=json.loads(beside.read_text()) if path.suffix == ".safetensors" and beside.exists() else {},
    )


def _recognise(family: Family, groups: Mapping[str, TensorFile], path: Path) -> tuple[Layout, TensorFile, str]:
    """The layout that fits most tensors of a file, those tensors, and the prefix of their names."""
    best: tuple[int, Layout, TensorFile, str] | None = None
    for layout in family.layouts:
        naming = NAMINGS[layout.naming]
        known = re.compile(rf"(.*?){re.escape(naming.block).replace(re.escape('{}'), r'[0-9]+')}(.+)")
        wanted = {naming.width, naming.hidden, naming.gated}
        group = next((groups[wrapper] for wrapper in layout.wrappers if wrapper in groups), None)
        if group is None:
            continue
        found = [match for name in group.shapes if (match := known.fullmatch(name)) and match[2] in wanted]
        prefixes = Counter(match[1] for match in found)
        for prefix, count in prefixes.items():
            if layout.prefixes is not None and prefix not in layout.prefixes:
                continue
            # Between layouts that differ in the final norm alone, the norm decides.
            score = 2 * count + (f"{prefix}{layout.norm}.weight" in group.shapes)
            if best is None or score > best[0]:
                best = score, layout, group, prefix
    if best is None:
        names = [name for group in groups.values() for name in group.shapes][:3]
        examples = sorted(
            {
                (layout.prefixes[0] if layout.prefixes else "") + NAMINGS[layout.naming].block.format(0) + "..."
                for layout in family.layouts
            }
        )
        raise UserError(
            f"{path}: not a checkpoint of the {family.name} family: no tensor is named like {' or '.join(examples)}; "
            f"found {', '.join(names)}, ..."
        )
    return best[1:]


def _config(
    family: Family,
    naming: Naming,
    file: TensorFile,
    prefix: str,
    heads: int | None,
    named: ViTConfig | None,
    path: Path,
) -> ViTConfig:
    """The sizes of a model, read from its shapes by majority over the blocks, so that one bad tensor can be named."""
    block = re.compile(re.escape(prefix + naming.block).replace(re.escape("{}"), "([0-9]+)") + "(.+)")
    inside = [(int(m[1]), m[2], shape) for name, shape in file.shapes.items() if (m := block.fullmatch(name))]
    per_block = Counter(index for index, _, _ in inside)
    layers = sum(count > max(per_block.values()) / 2 for count in per_block.values())

    def vote(tensor: str) -> int:
        sizes = Counter(shape[0] for _, name, shape in inside if name == tensor and shape)
        return sizes.most_common(1)[0][0] if sizes else 0

    names = Counter(name for _, name, _ in inside)
    gated = bool(naming.gated) and names[naming.gated] > names[naming.hidden]
    width, hidden = vote(naming.width), vote(naming.gated) // 2 if gated else vote(naming.hidden)
    default = named or family.style(width=width, layers=layers, heads=1, hidden=hidden)
    if default.final_norm and "layer_norm_eps" in _sizes_of(file.config):
        default = dataclasses.replace(default, norm_eps=float(_sizes_of(file.config)["layer_norm_eps"]))
    patch = _patch(file.shapes.get(prefix + naming.patch, ()), naming) or default.patch
    config = dataclasses.replace(
        default,
        width=width,
        layers=layers,
        hidden=hidden,
        gated=gated,
        patch=patch,
        grid=_grid(file.shapes.get(prefix + naming.positions, ()), default, width, patch),
    )
    config = dataclasses.replace(config, heads=_heads(config, naming, vote, heads, named, file, path))
    if named is not None:
        _check_size(named, config, path, family)
    return config


def _sizes_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a hub config.json that holds the model's sizes; VideoMAEv2 keeps it one level down."""
    inner = config.get("model_config")
    return inner if isinstance(inner, Mapping) else config


def _heads(
    config: ViTConfig,
    naming: Naming,
    vote: Callable[[str], int],
    given: int | None,
    named: ViTConfig | None,
    file: TensorFile,
    path: Path,
) -> int:
    stored = vote(naming.heads) if naming.heads else 0
    sizes = _sizes_of(file.config)
    stored = stored or int(sizes.get("num_attention_heads") or sizes.get("num_heads") or 0)
    if stored and given and stored != given:
        raise UserError(f"{path}: has {stored} attention heads; leave out heads={given}")
    heads = stored or given or (named.heads if named else HEADS.get(config.width) or config.width // 64)
    if not heads or config.width % heads:
        raise UserError(
            f"{path}: width {config.width} cannot be split into {heads or 'width / 64'} heads; give heads=N "
            "(--option heads=N), as the model was trained"
        )
    return heads


def _patch(kernel: tuple[int, ...], naming: Naming) -> int:
    """The patch side that a kernel's shape shows, or 0 where it is no kernel of this naming."""
    if len(kernel) < 4:
        return 0
    side, other = (kernel[axis] for axis in naming.patch_sides)
    return side if side == other and kernel[naming.patch_channels] == 3 else 0


def _grid(table: tuple[int, ...], default: ViTConfig, width: int, patch: int) -> tuple[int, int, int]:
    """The grid of a table of positions: that of its axes, else the square one with as many cells, else the default."""
    tubes, rows, _ = default.grid
    if default.positions == "sinusoid":
        side = rows * default.patch // patch
        return tubes, side, side
    if len(table) == 4 and table[-1] == width:
        return table[0], table[1], table[2]
    if len(table) == 3 and table[-1] == width:
        cells = table[1] - default.cls
        side = math.isqrt(max(cells, 0) // tubes)
        if side and tubes * side**2 == cells:
            return tubes, side, side
    return default.grid


def _check_size(named: ViTConfig, found: ViTConfig, path: Path, family: Family) -> None:
    fields = ("width", "layers", "heads", "hidden", "patch", "gated")
    wrong = [
        f"{field} {getattr(found, field)} (expected {getattr(named, field)})"
        for field in fields
        if getattr(found, field) != getattr(named, field)
    ]
    if wrong:
        raise UserError(f"{path}: another size than the model's: {', '.join(wrong)}; `{family.name}` takes any size")


def _check(
    used: Mapping[str, tuple[int, ...]], file: TensorFile, ignored: Sequence[str], path: Path, family: Family
) -> None:
    left_out = set(ignored)
    problems = {
        "missing": [f"{name} {shape}" for name, shape in used.items() if name not in file.shapes],
        "unexpected": [
            f"{name} {shape}" for name, shape in file.shapes.items() if name not in used and name not in left_out
        ],
        "of another shape": [
            f"{name} {file.shapes[name]}, expected {shape}"
            for name, shape in used.items()
            if name in file.shapes and file.shapes[name] != shape
        ],
        "not floating point": [name for name in used if name in file.shapes and not file.floating[name]],
    }
    found = [f"{kind}: {_listed(names)}" for kind, names in problems.items() if names]
    if found:
        hint = "; --option ignore=PATTERN leaves out what is no part of the encoder" if problems["unexpected"] else ""
        raise UserError(f"{path}: not a sound {family.name} checkpoint; {'; '.join(found)}{hint}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED_AT_MOST
    return ", ".join(names[:LISTED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _finite(file: TensorFile, name: str, path: Path) -> Tensor:
    try:
        tensor = file.read(name).float()
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from None
    if not bool(torch.isfinite(tensor).all()):
        raise UserError(f"{path}: {name} holds numbers that are not finite; download it again")
    return tensor


def _convert(stored: Stored, tensors: Sequence[Tensor], target: Tensor) -> Tensor:
    """Tensors of a file as one parameter of ours."""
    inner = math.prod(target.shape[1:])
    if stored.form == "rows":
        parts = list(tensors)
    elif stored.form == "kernel":
        parts = [tensor.reshape(inner, -1).T for tensor in tensors]
    else:
        parts = [tensor.permute(4, 3, 0, 1, 2) for tensor in tensors]
    whole = parts[0] if len(parts) == 1 else torch.cat([part.reshape(-1, inner) for part in parts])
    return whole.reshape(target.shape).contiguous()
