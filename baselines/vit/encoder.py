"""The configurable ViT as an encoder, for image models and for clip models."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.vit import checkpoint
from baselines.vit.config import Family, ViTConfig
from baselines.vit.model import ViT, randomise
from baselines.vit.tensor_files import files_of, files_sha256
from rvm_bench.api.card import EncoderCard, Provenance
from rvm_bench.api.encoder import ClipEncoder, Encoder, ImageEncoder
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.nn.dense import set_matmul_dtype

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class ImageViT(ImageEncoder):
    """A frozen image ViT. Features are the patch tokens of each frame, without CLS.

    Attributes:
        blocks: number of blocks after which each task family reads.
    """

    pixel_dtype = torch.float32

    def __init__(self, card: EncoderCard, model: ViT, blocks: Mapping[str, int]) -> None:
        super().__init__()
        self.card, self.model, self.blocks = card, model, blocks

    def forward_frames(self, frames: Tensor) -> Tensor:
        tokens = self.model(frames[:, :, None], self.blocks[self.tap])
        return tokens[:, int(self.model.config.cls) :].unflatten(1, self.grid(*frames.shape[-2:]))


class ClipViT(ClipEncoder):
    """A frozen clip ViT. Features are the tokens of each tubelet; the base class interpolates them to frames.

    Attributes:
        blocks: number of blocks after which each task family reads.
    """

    pixel_dtype = torch.float32

    def __init__(self, card: EncoderCard, model: ViT, blocks: Mapping[str, int], time_rule: str) -> None:
        super().__init__()
        self.card, self.model, self.blocks, self.time_rule = card, model, blocks, time_rule

    def forward_clip(self, clips: Tensor) -> Tensor:
        return self.model(clips, self.blocks[self.tap]).unflatten(1, self.model.grid(clips))


def load(
    family: Family,
    card: EncoderCard,
    weights: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    seed: int = 0,
    heads: int | None = None,
    ignore: str | Sequence[str] = (),
    **choices: Any,
) -> Encoder:
    """A frozen encoder of a family.

    Args:
        family: of the model.
        card: of a member, or of the family itself, whose sizes are then read from the file.
        weights: a checkpoint in one of the family's layouts, or "random" (for the family itself with the sizes of its
            smallest member).
        device: torch's name.
        dtype: "float32" (the reference) or "bfloat16": of the matrix products; everything else is float32.
        seed: of random weights.
        heads: attention heads, if the file does not tell. The default is `HEADS` of the width, else width / 64.
        ignore: tensors of the file that are not part of the encoder, as glob patterns, comma-separated or a list.
        **choices: fields of `ViTConfig` that override the family's.

    Raises:
        UserError: an unknown dtype, a number of heads that does not fit, or an invalid file (`checkpoint.load`).
    """
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if heads is not None and (isinstance(heads, bool) or not isinstance(heads, int) or heads < 1):
        raise UserError(f"heads={heads}: expected a positive whole number")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"seed={seed}: expected a whole number")
    if choices:
        family = replace(family, style=functools.partial(_restyled, family.style, choices))
    named = family.config(card.name)
    options: dict[str, Any] = {}
    if str(weights) == "random":
        model, provenance = _untrained(family, card.name, heads, seed)
    else:
        patterns = [part.strip() for part in ignore.split(",")] if isinstance(ignore, str) else list(ignore)
        options |= {"ignore": patterns} if patterns else {}
        path = Path(weights)
        model, facts = checkpoint.load(family, path, named=named, heads=heads, ignore=patterns)
        provenance = Provenance(kind="file", path=path.name, sha256=files_sha256(files_of(path)), facts=facts)
    config = model.config
    if named is None:
        millions = round(sum(p.numel() for p in model.parameters()) / 1e6, 1)
        card = replace(card, patch=config.patch, width=config.width, params_m=millions)
    set_matmul_dtype(model, DTYPES[dtype])
    blocks = family.blocks(config.layers)
    encoder = ImageViT(card, model, blocks) if family.frames == 1 else ClipViT(card, model, blocks, family.time_rule)
    encoder.dtype, encoder.weights = DTYPES[dtype], provenance
    encoder.options = options | {"heads": config.heads, "norm_eps": config.norm_eps}
    encoder.to(device)
    return encoder


def _untrained(family: Family, name: str, heads: int | None, seed: int) -> tuple[ViT, Provenance]:
    """A model with random weights: of the named member, or of the smallest if the name is the family's."""
    named = family.config(name)
    member = name if named else family.smallest()
    config = named or family.config(member)
    assert config is not None
    if heads not in (None, config.heads):
        raise UserError(f"random weights of {name} have the {config.heads} heads of {member}; leave out heads={heads}")
    facts = {} if named else {"size": member}
    return randomise(ViT(config), seed), Provenance(kind="random", seed=seed, facts=facts)


def _restyled(style: Callable[..., ViTConfig], choices: Mapping[str, Any], **sizes: Any) -> ViTConfig:
    return replace(style(**sizes), **choices)
