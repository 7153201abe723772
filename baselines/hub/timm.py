"""`timm:<name>`: any timm backbone as an encoder. Optional: timm needs a torchvision built for this torch."""

import importlib
import re
from typing import Any

import torch
from torch import Tensor, nn

from baselines.hub.frame_size import first_line, refused_sizes
from rvm_bench.api.card import EncoderCard, Provenance
from rvm_bench.api.encoder import ImageEncoder
from rvm_bench.errors import UserError, unknown_name


class TimmEncoder(ImageEncoder):
    """`forward_features` of a timm model: patch tokens without prefix tokens, or the last feature map."""

    def __init__(self, card: EncoderCard, network: nn.Module, native_px: tuple[int, int]) -> None:
        super().__init__()
        self.card = card
        self.network = network
        self.native_px = native_px

    def forward_frames(self, frames: Tensor) -> Tensor:
        h, w = self.grid(*frames.shape[-2:])
        pixels = frames[..., : h * self.card.patch, : w * self.card.patch]
        with refused_sizes(self.card.name, (pixels.shape[-2], pixels.shape[-1]), self.native_px):
            features = self.network.forward_features(pixels)  # type: ignore[operator]
        return _maps(self.network, features, (h, w), self.card.name)


def timm(reference: str, *, weights: str | None = None, dtype: str = "float32", seed: int = 0) -> TimmEncoder:
    """The encoder `timm:<reference>`.

    Args:
        reference: a name of `timm.list_models()`, with or without its tag; or "hf-hub:OWNER/NAME".
        weights: None: the pretrained ones, which timm downloads; or "random".
        dtype: "float32" or "bfloat16".
        seed: of random weights.

    Raises:
        UserError: timm cannot be imported, has no such model or no weights for it, or the model returns no grid.
    """
    library = _import_timm()
    if weights not in (None, "random"):
        raise UserError(
            f"timm:{reference} brings its own weights; leave out --weights {weights}, or give --weights random"
        )
    if ":" not in reference and not library.is_model(reference.partition(".")[0]):
        raise unknown_name("timm model", reference, library.list_models())
    pretrained = weights is None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = _create(library, reference, pretrained)
        except (RuntimeError, OSError) as error:
            raise UserError(f"timm:{reference} cannot be made: {first_line(error)}") from error
    network = network.to(getattr(torch, dtype)).eval().requires_grad_(False)
    facts = library.data.resolve_model_data_config(network)
    encoder = _encoder(reference, network, facts)
    encoder.dtype = getattr(torch, dtype)
    # timm does not tell which file it read, so there is no sha256 of it; the tensors are hashed all the same.
    encoder.weights = Provenance(kind="package", facts={"source": f"timm:{reference}"})
    if not pretrained:
        encoder.weights = Provenance(kind="random", seed=seed)
    encoder.options = {"timm": library.__version__} | ({} if pretrained else {"seed": seed})
    return encoder


def _import_timm() -> Any:
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError, AttributeError) as error:  # a torchvision for another torch raises all three
        raise UserError(
            f"timm cannot be imported: {first_line(error)}; install timm, and the torchvision built for torch "
            f"{torch.__version__}, which it needs (hf: models need neither)"
        ) from error


def _create(library: Any, name: str, pretrained: bool) -> nn.Module:
    try:
        return library.create_model(name, pretrained=pretrained, num_classes=0, dynamic_img_size=True)
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
    return library.create_model(name, pretrained=pretrained, num_classes=0)  # conv nets lack the argument


def _encoder(name: str, network: Any, facts: dict[str, Any]) -> TimmEncoder:
    native_px = tuple(facts["input_size"][-2:])
    parameter = next(network.parameters())
    with torch.inference_mode():
        blank = torch.zeros(1, 3, *native_px, dtype=parameter.dtype, device=parameter.device)
        shape = tuple(network.forward_features(blank).shape)
    if len(shape) == 3:
        side = getattr(getattr(network, "patch_embed", None), "patch_size", None)
        patch = side if isinstance(side, int) or side is None else side[0] if len(set(side)) == 1 else None
        width = shape[2]
    else:
        rows, width = (shape[1], shape[3]) if _channels_last(network) else (shape[2], shape[1])
        patch = native_px[0] // rows
    if not patch:
        raise UserError(f"timm:{name} returns {list(shape)} and has no square patch_size: there is no grid of features")
    terms = getattr(network, "pretrained_cfg", None) or {}
    mean, std = facts["mean"], facts["std"]
    card = EncoderCard(
        name=re.sub(r"[^\w.-]+", "_", name.rpartition(":")[2]),
        family="timm",
        params_m=round(sum(p.numel() for p in network.parameters()) / 1e6, 2),
        patch=patch,
        width=width,
        pixel_mean=(mean[0], mean[1], mean[2]),
        pixel_std=(std[0], std[1], std[2]),
        taps=dict.fromkeys(("propagation", "readout"), "forward_features, prefix tokens dropped"),
        licence=terms.get("license") or "see the model card",
        source=f"timm:{name}",
        note=f"{type(network).__name__}; pixels normalised as timm's config of the model says",
    )
    encoder = TimmEncoder(card, network, native_px)
    with torch.inference_mode():
        _maps(network, network.forward_features(blank), encoder.grid(*native_px), name)
    return encoder


def _maps(network: Any, features: Tensor, grid: tuple[int, int], name: str) -> Tensor:
    """The output of `forward_features` as [N, h, w, D]; UserError if it does not fit the grid."""
    if features.ndim == 4:
        return features if _channels_last(network) else features.permute(0, 2, 3, 1)
    prefix = getattr(network, "num_prefix_tokens", 0)
    if features.ndim != 3 or features.shape[1] != prefix + grid[0] * grid[1]:
        raise UserError(
            f"timm:{name} returned {list(features.shape)}; expected {prefix} prefix tokens and "
            f"{grid[0]}x{grid[1]} patches"
        )
    return features[:, prefix:].unflatten(1, grid)


def _channels_last(network: Any) -> bool:
    return str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")
