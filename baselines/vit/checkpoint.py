"""Reads official checkpoints into a ViT, strictly: every tensor of a file is used, or named as ignored on purpose.

Sizes are read from shapes, by majority over the blocks, so that a single wrong tensor can be named.
"""

import dataclasses
import fnmatch
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.vit.config import HEADS, Family, Layout, ViTConfig
from baselines.vit.model import ViT
from baselines.vit.naming import NAMINGS, Naming, Stored
from baselines.vit.tensor_files import LISTED_AT_MOST, TensorFile, damaged, open_tensors
from rvm_bench.errors import UserError


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
        path: the file, or a hub's folder.
        named: the config that the file must have; None takes any size of the family.
        heads: attention heads, where the file cannot tell.
        ignore: further tensors that the user declares to be no part of the encoder, as glob patterns.

    Raises:
        UserError: the file cannot be read, holds another model, or holds a tensor too many, too few, of another shape
            or not finite; it is named. A square matrix that was transposed cannot be told from its shape.
    """
    raw = open_tensors(path, sorted({wrapper for layout in family.layouts for wrapper in layout.wrappers}))
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


def _recognise(family: Family, groups: Mapping[str, TensorFile], path: Path) -> tuple[Layout, TensorFile, str]:
    """The layout that fits most tensors of a file, those tensors, and the prefix of their names."""
    best: tuple[int, Layout, TensorFile, str] | None = None
    for layout in family.layouts:
        naming = NAMINGS[layout.naming]
        known = re.compile(rf"(.*?){re.escape(naming.block).replace(re.escape('{}'), r'[0-9]{1,4}')}(.+)")
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
            f"found {', '.join(names) or 'none at all'}, ..."
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
    block = re.compile(re.escape(prefix + naming.block).replace(re.escape("{}"), "([0-9]{1,4})") + "(.+)")
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
    default = dataclasses.replace(default, norm_eps=file.config.get("layer_norm_eps", default.norm_eps))
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
    _check_config(file.config, config, path)
    return config


def _check_config(stated: Mapping[str, Any], config: ViTConfig, path: Path) -> None:
    """Raises UserError where a config.json says something else than the tensors beside it, or than we compute."""
    tubes, rows, _ = config.grid
    computed: dict[str, Any] = {"hidden_size": config.width, "num_hidden_layers": config.layers}
    if not config.gated:
        computed["hidden_act"] = {"erf": "gelu", "tanh": "gelu_pytorch_tanh"}[config.gelu]
    if config.positions == "sinusoid":  # nothing else tells the size of a table that is not stored
        computed |= {"image_size": rows * config.patch, "num_frames": tubes * config.tubelet}
    wrong = [
        f"{key} {stated[key]} (expected {value})" for key, value in computed.items() if stated.get(key, value) != value
    ]
    if wrong:
        raise UserError(f"{path.with_name('config.json')}: does not belong to {path.name}: {', '.join(wrong)}")


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
    stored = stored or file.config.get("num_attention_heads") or file.config.get("num_heads") or 0
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
    if len(table) == 4 and (table[0], table[-1]) == (tubes, width) and min(table) > 0:
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
        raise UserError(f"{path}: not a valid {family.name} checkpoint; {'; '.join(found)}{hint}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED_AT_MOST
    return ", ".join(names[:LISTED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _finite(file: TensorFile, name: str, path: Path) -> Tensor:
    try:
        tensor = file.read(name).float()
    except Exception as error:  # as in open_tensors
        raise damaged(path, error, name) from None
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
    # A copy: a mapped file that is written over would change the model, and one that shrinks would end the process.
    return whole.reshape(target.shape).clone(memory_format=torch.contiguous_format)
