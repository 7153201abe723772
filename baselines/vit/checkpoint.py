"""Reads official checkpoints into a ViT, strictly: every tensor of a file is used, or ignored by name.

Sizes are read from shapes by majority over the blocks, so that a single wrong tensor can be named.
"""

import dataclasses
import fnmatch
import functools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.vit.config import HEADS, Family, Layout, ViTConfig
from baselines.vit.model import ViT
from baselines.vit.naming import NAMINGS, Naming, Stored
from baselines.vit.tensor_files import TensorFile, damaged, open_tensors
from rvm_bench.errors import UserError, listed


def load(
    family: Family,
    path: Path,
    *,
    named: ViTConfig | None = None,
    heads: int | None = None,
    ignore: Sequence[str] = (),
) -> tuple[ViT, dict[str, Any]]:
    """The model in a checkpoint, float32 on the CPU, and the facts of its `Provenance`.

    Args:
        family: the layouts to try.
        path: the file, or a Hugging Face folder.
        named: config that the checkpoint must have; None: any size of the family.
        heads: attention heads, if the file does not tell.
        ignore: further tensors that are not part of the encoder, as glob patterns.

    Raises:
        UserError: the file cannot be read, holds another model, or a tensor is missing, unexpected, of another shape or
            not finite; it is named. A transposed square matrix cannot be told from its shape.
    """
    groups = open_tensors(path, sorted({wrapper for layout in family.layouts for wrapper in layout.wrappers}))
    match = _recognise(family, groups, path)
    config = _config(match, family, named, heads)
    expected = match.naming.table(config, match.layout.norm)
    used = {match.prefix + name: stored.shape for stored in expected.values() for name in stored.names}
    patterns = [*match.layout.ignored, *ignore]
    ignored = [name for name in match.file.shapes if name not in used and _matches(name, patterns)]
    _check_tensors(used, ignored, match, family)
    with torch.device("meta"):
        model = ViT(config)
    state = {}
    for name, parameter in model.state_dict().items():
        stored = expected[name]
        state[name] = _convert(stored, [match.read(theirs) for theirs in stored.names], parameter.shape)
    model.load_state_dict(state, strict=True, assign=True)
    facts: dict[str, Any] = {"layout": match.layout.naming, "ignored_tensors": len(ignored)}
    if (
        match.layout.norm == "fc_norm"
        and bool((state["norm.weight"] == 1).all())
        and not bool(state["norm.bias"].any())
    ):
        facts["note"] = "fc_norm of this file is the identity (weight 1, bias 0): it was never trained"
    return model.eval().requires_grad_(False), facts


@dataclasses.dataclass(frozen=True)
class _Match:
    """A checkpoint and the layout that it has.

    Attributes:
        path, file: the checkpoint.
        layout: the layout that fits most of its tensors.
        prefix: of all names.
    """

    path: Path
    file: TensorFile
    layout: Layout
    prefix: str

    @property
    def naming(self) -> Naming:
        return NAMINGS[self.layout.naming]

    @functools.cached_property
    def block_tensors(self) -> list[tuple[int, str, tuple[int, ...]]]:
        """Block, name within the block, and shape of every tensor of a block."""
        pattern = re.compile(f"{re.escape(self.prefix)}{_block_pattern(self.naming, '([0-9]{1,4})')}(.+)")
        found = ((pattern.fullmatch(name), shape) for name, shape in self.file.shapes.items())
        return [(int(match[1]), match[2], shape) for match, shape in found if match]

    def first_axis(self, tensor: str) -> int:
        """Size of the first axis of a block's tensor, by majority over the blocks; 0 if no block has it."""
        sizes = Counter(shape[0] for _, name, shape in self.block_tensors if name == tensor and shape)
        return sizes.most_common(1)[0][0] if sizes else 0

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Shape of a tensor outside the blocks; () if there is none."""
        return self.file.shapes.get(self.prefix + tensor, ())

    def read(self, tensor: str) -> Tensor:
        """A tensor as float32; UserError if it cannot be read or is not finite."""
        name = self.prefix + tensor
        try:
            values = self.file.read(name).float()
        except Exception as error:  # as in open_tensors
            raise damaged(self.path, error, name) from None
        if not bool(torch.isfinite(values).all()):
            raise UserError(f"{self.path}: {name} holds numbers that are not finite; download it again")
        return values


def _block_pattern(naming: Naming, index: str) -> str:
    """Regular expression of the prefix of a block's tensors."""
    return re.escape(naming.block).replace(re.escape("{}"), index)


def _recognise(family: Family, groups: Mapping[str, TensorFile], path: Path) -> _Match:
    """The layout, group of tensors and prefix that fit most tensors; UserError if none fits any."""
    best: tuple[int, _Match] | None = None
    for layout in family.layouts:
        naming = NAMINGS[layout.naming]
        group = next((groups[wrapper] for wrapper in layout.wrappers if wrapper in groups), None)
        if group is None:
            continue
        tensor = re.compile(rf"(.*?){_block_pattern(naming, '[0-9]{1,4}')}(.+)")
        wanted = {naming.width, naming.hidden, naming.gated}
        found = [match for name in group.shapes if (match := tensor.fullmatch(name)) and match[2] in wanted]
        for prefix, count in Counter(match[1] for match in found).items():
            if layout.prefixes is not None and prefix not in layout.prefixes:
                continue
            # The final norm decides between layouts that differ in nothing else.
            score = 2 * count + (f"{prefix}{layout.norm}.weight" in group.shapes)
            if best is None or score > best[0]:
                best = score, _Match(path, group, layout, prefix)
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
    return best[1]


def _config(match: _Match, family: Family, named: ViTConfig | None, heads: int | None) -> ViTConfig:
    """The sizes of the model, read from shapes; UserError if they are not those of `named` or of a config.json."""
    naming = match.naming
    # A block counts if it has most of a block's tensors, so that one stray name adds no layer.
    per_block = Counter(index for index, _, _ in match.block_tensors)
    layers = sum(count > max(per_block.values()) / 2 for count in per_block.values())
    names = Counter(name for _, name, _ in match.block_tensors)
    gated = bool(naming.gated) and names[naming.gated] > names[naming.hidden]
    width = match.first_axis(naming.width)
    hidden = match.first_axis(naming.gated) // 2 if gated else match.first_axis(naming.hidden)
    default = named or family.style(width=width, layers=layers, heads=1, hidden=hidden)
    patch = _patch(match.shape(naming.patch), naming) or default.patch
    config = dataclasses.replace(
        default,
        norm_eps=match.file.config.get("layer_norm_eps", default.norm_eps),
        width=width,
        layers=layers,
        hidden=hidden,
        gated=gated,
        patch=patch,
        grid=_grid(match.shape(naming.positions), default, width, patch),
    )
    config = dataclasses.replace(config, heads=_heads(match, config, named, heads))
    if named is not None:
        _check_size(named, config, match.path, family)
    _check_config_json(match.file.config, config, match.path)
    return config


def _heads(match: _Match, config: ViTConfig, named: ViTConfig | None, given: int | None) -> int:
    """Attention heads: those of the file or its config.json, else given by the user, else the default."""
    stored = match.first_axis(match.naming.heads) if match.naming.heads else 0
    stored = stored or match.file.config.get("num_attention_heads") or match.file.config.get("num_heads") or 0
    if stored and given and stored != given:
        raise UserError(f"{match.path}: has {stored} attention heads; leave out heads={given}")
    heads = stored or given or (named.heads if named else HEADS.get(config.width) or config.width // 64)
    if not heads or config.width % heads:
        raise UserError(
            f"{match.path}: width {config.width} cannot be split into {heads or 'width / 64'} heads; give heads=N "
            "(--option heads=N), as the model was trained"
        )
    return heads


def _patch(kernel: tuple[int, ...], naming: Naming) -> int:
    """Side of a patch from the shape of the patch kernel; 0 if this is no kernel of the naming."""
    if len(kernel) < 4:
        return 0
    side, other = (kernel[axis] for axis in naming.patch_sides)
    return side if side == other and kernel[naming.patch_channels] == 3 else 0


def _grid(table: tuple[int, ...], default: ViTConfig, width: int, patch: int) -> tuple[int, int, int]:
    """The grid of a position table: that of its axes, else the square one with as many cells, else the default."""
    tubelets, rows, _ = default.grid
    if default.positions == "sinusoid":
        side = rows * default.patch // patch
        return tubelets, side, side
    if len(table) == 4 and (table[0], table[-1]) == (tubelets, width) and min(table) > 0:
        return table[0], table[1], table[2]
    if len(table) == 3 and table[-1] == width:
        cells = table[1] - default.cls
        side = math.isqrt(max(cells, 0) // tubelets)
        if side and tubelets * side**2 == cells:
            return tubelets, side, side
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


def _check_config_json(stated: Mapping[str, Any], config: ViTConfig, path: Path) -> None:
    """Raises UserError if a config.json contradicts the tensors beside it, or what this project computes."""
    tubelets, rows, _ = config.grid
    computed: dict[str, Any] = {"hidden_size": config.width, "num_hidden_layers": config.layers}
    if not config.gated:
        computed["hidden_act"] = {"erf": "gelu", "tanh": "gelu_pytorch_tanh"}[config.gelu]
    if config.positions == "sinusoid":  # the table is not stored, so no shape shows its size
        computed |= {"image_size": rows * config.patch, "num_frames": tubelets * config.tubelet}
    wrong = [
        f"{key} {stated[key]} (expected {value})" for key, value in computed.items() if stated.get(key, value) != value
    ]
    if wrong:
        raise UserError(f"{path.with_name('config.json')}: does not belong to {path.name}: {', '.join(wrong)}")


def _check_tensors(used: Mapping[str, tuple[int, ...]], ignored: Sequence[str], match: _Match, family: Family) -> None:
    """Raises UserError that names every tensor that is missing, unexpected, misshapen or not floating point."""
    shapes, not_used = match.file.shapes, set(ignored)
    problems = {
        "missing": [f"{name} {shape}" for name, shape in used.items() if name not in shapes],
        "unexpected": [
            f"{name} {shape}" for name, shape in shapes.items() if name not in used and name not in not_used
        ],
        "of another shape": [
            f"{name} {shapes[name]}, expected {shape}"
            for name, shape in used.items()
            if name in shapes and shapes[name] != shape
        ],
        "not floating point": [name for name in used if name in shapes and not match.file.floating[name]],
    }
    found = [f"{kind}: {listed(names)}" for kind, names in problems.items() if names]
    if found:
        hint = "; --option ignore=PATTERN leaves out what is no part of the encoder" if problems["unexpected"] else ""
        raise UserError(f"{match.path}: not a valid {family.name} checkpoint; {'; '.join(found)}{hint}")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _is_identity(scale: Tensor, bias: Tensor) -> bool:
    return bool((scale == 1).all()) and not bool(bias.any())


def _convert(stored: Stored, tensors: Sequence[Tensor], shape: torch.Size) -> Tensor:
    """Tensors of a file as one parameter of this shape."""
    inner = math.prod(shape[1:])
    if stored.form == "rows":
        parts = list(tensors)
    elif stored.form == "kernel":
        parts = [tensor.reshape(inner, -1).T for tensor in tensors]
    else:
        parts = [tensor.permute(4, 3, 0, 1, 2) for tensor in tensors]
    joined = parts[0] if len(parts) == 1 else torch.cat([part.reshape(-1, inner) for part in parts])
    # A copy: overwriting a memory-mapped file would change the model, and truncating it would kill the process.
    return joined.reshape(shape).clone(memory_format=torch.contiguous_format)
