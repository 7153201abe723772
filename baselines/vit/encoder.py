"""The configurable ViT as a benchmark encoder, for image models and for clip models."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.vit import checkpoint
from baselines.vit.config import Family
from baselines.vit.model import ViT, randomise
from baselines.vit.tensor_files import files_of
from rvm_bench.api.card import EncoderCard, Provenance
from rvm_bench.api.encoder import ClipEncoder, Encoder, ImageEncoder
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.formats.hashes import file_sha256
from rvm_bench.nn.dense import set_matmul_dtype

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class ImageViT(ImageEncoder):
    """A frozen image ViT: features are the patch tokens of each frame, CLS dropped.

    Attributes:
        blocks: after how many blocks each task family reads.
    """

    pixel_dtype = torch.float32

    def __init__(self, card: EncoderCard, model: ViT, blocks: Mapping[str, int]) -> None:
        super().__init__()
        self.card, self.model, self.blocks = card, model, blocks

    def forward_frames(self, frames: Tensor) -> Tensor:
        tokens = self.model(frames[:, :, None], self.blocks[self.tap])
        return tokens[:, int(self.model.config.cls) :].unflatten(1, self.grid(*frames.shape[-2:]))


class ClipViT(ClipEncoder):
    """A frozen clip ViT: features are the tokens of each tube, which the base class brings back to frames.

    Attributes:
        blocks: after how many blocks each task family reads.
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
        card: a named member, or the bare family, whose sizes are read from the file.
        weights: a checkpoint in one of the family's formats, or "random" (the bare family then has the sizes of its
            smallest member).
        dtype: "float32" (the reference) or "bfloat16": the matrix products alone, all else stays float32.
        seed: of random weights.
        heads: attention heads, where the file cannot tell; the default is that of the usual widths, else width / 64.
        ignore: tensors of the file that are no part of the encoder, as glob patterns with commas between.
        **choices: fields of `ViTConfig` in place of the family's own.

    Raises:
        UserError: an unknown dtype, a head count that does not fit, or an unsound file (`checkpoint.load`).
    """
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if heads is not None and (isinstance(heads, bool) or not isinstance(heads, int) or heads < 1):
        raise UserError(f"heads={heads}: expected a positive whole number")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"seed={seed}: expected a whole number")
    patterns = [part.strip() for part in ignore.split(",")] if isinstance(ignore, str) else list(ignore)
    styled = replace(family, style=lambda **sizes: replace(family.style(**sizes), **choices)) if choices else family
    named = styled.config(card.name)
    options: dict[str, Any] = {}
    if str(weights) == "random":
        member = card.name if named else family.smallest()
        config = named or styled.config(member)
        assert config is not None
        if heads not in (None, config.heads):
            raise UserError(
                f"random weights of {card.name} have the {config.heads} heads of {member}; leave out heads={heads}"
            )
        model = randomise(ViT(config), seed)
        origin = Provenance(kind="random", seed=seed, facts={} if named else {"size": member})
    else:
        path = Path(weights)
        model, facts = checkpoint.load(styled, path, named=named, heads=heads, ignore=patterns)
        origin = Provenance(kind="file", path=path.name, sha256=_sha256(path), facts=facts)
        options |= {"ignore": patterns} if patterns else {}
    if named is None:
        c = model.config
        millions = round(sum(p.numel() for p in model.parameters()) / 1e6, 1)
        card = replace(card, patch=c.patch, width=c.width, params_m=millions)
    set_matmul_dtype(model, DTYPES[dtype])
    blocks = family.blocks(model.config.layers)
    encoder = ImageViT(card, model, blocks) if family.frames == 1 else ClipViT(card, model, blocks, family.time_rule)
    encoder.dtype, encoder.weights = DTYPES[dtype], origin
    encoder.options = options | {"heads": model.config.heads, "norm_eps": model.config.norm_eps}
    encoder.to(device)
    return encoder


def _sha256(path: Path) -> str:
    """Of the file; of shards, over their names and hashes."""
    files = files_of(path)
    if len(files) == 1:
        return file_sha256(files[0])
    return hashlib.sha256("".join(f"{file.name} {file_sha256(file)}\n" for file in files).encode()).hexdigest()
