"""What a recipe costs: FLOPs by formula, memory, and device time at an assumed share of the peak.

A multiply-add counts as two FLOPs; norms, softmax, GELU and additions are left out. A training step is three forward
passes (a product of the forward pass has two in the backward pass), four where blocks are recomputed.

Letters: t tokens, m context tokens, d width, hidden MLP width.
"""

import dataclasses
import math

from rvm_bench.rvm.checkpoint import expected_shapes
from rvm_bench.rvm.masking import visible_count
from rvm_bench.rvm.train.recipes import Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
    """An accelerator. `peak_flops` is per second, dense, with bfloat16 products; `memory` is in bytes."""

    label: str
    peak_flops: float
    memory: float


DEVICES = {
    # NVIDIA's data sheet of the H100 SXM: 1,979 TFLOP/s with sparsity, half of that without; 80 GB.
    "h100": Device(label="H100 SXM", peak_flops=989.4e12, memory=80e9),
    # cloud.google.com/tpu/docs/v6e: 918 TFLOP/s and 32 GB per chip, one core per chip. The paper trains on 256 of them.
    "tpu-v6e": Device(label="TPU v6e", peak_flops=918e12, memory=32e9),
}
# An assumption, measured nowhere: model FLOPs over peak. Small widths and targets of 13 tokens argue for less at S.
ASSUMED_MFU = 0.4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forward:
    """FLOPs of one forward pass of one clip, by part; `core` is 0 where the sources are aggregated in the ViT."""

    sources: float
    targets: float
    core: float
    decoder: float

    @property
    def total(self) -> float:
        return self.sources + self.targets + self.core + self.decoder


def forward_flops(recipe: Recipe, *, visible_only: bool = True, share_keys: bool = True) -> Forward:
    """FLOPs of one clip, with or without the two savings of `rvm_bench.rvm.torch.objective`."""
    sizes, width, decoder_width = recipe.model, recipe.model.width, recipe.model.decoder_width
    patches, pixels = recipe.patches, 3 * recipe.model.patch**2
    tokens = 1 + patches
    seen = 1 + (visible_count(patches, recipe.mask_ratio) if visible_only else patches)
    joint = recipe.aggregator == "self_attention"
    context = 1 + recipe.source_frames * patches if joint else recipe.source_frames * tokens

    def vit(t: int) -> float:
        own = sizes.layers * _self_block(t, width, sizes.mlp)
        return own + (sizes.core_layers * _self_block(t, width, sizes.core_mlp) if joint else 0)

    embedding = 2 * patches * pixels * width
    sources = vit(context) if joint else recipe.source_frames * vit(tokens)
    core = 0.0
    if not joint:
        gates = 8 * tokens * width**2
        blocks = sizes.core_layers * _cross_block(tokens, tokens, width, sizes.core_mlp)
        core = recipe.source_frames * (gates + sizes.core_layers * _keys_values(tokens, width) + blocks)

    projections = sizes.decoder_layers * _keys_values(context, decoder_width)
    target = (
        2 * (1 + visible_count(patches, recipe.mask_ratio)) * width * decoder_width
        + 2 * sizes.delta_bins * decoder_width
        + sizes.decoder_layers * _cross_block(tokens, context, decoder_width, sizes.decoder_mlp)
        + 2 * patches * decoder_width * pixels
    )
    decoder = 2 * context * width * decoder_width + projections * (1 if share_keys else recipe.targets)
    return Forward(
        sources=recipe.source_frames * embedding + sources,
        targets=recipe.targets * (embedding + vit(seen)),
        core=core,
        decoder=decoder + recipe.targets * target,
    )


def step_flops(recipe: Recipe, *, recompute: bool = False) -> float:
    """FLOPs of one training step over all devices."""
    return recipe.batch * forward_flops(recipe).total * (4 if recompute else 3)


def total_flops(recipe: Recipe) -> float:
    """FLOPs of the whole training, without recomputation: what a share of the peak (MFU) is a share of."""
    return recipe.steps * step_flops(recipe)


def device_hours(recipe: Recipe, device: Device, mfu: float = ASSUMED_MFU) -> float:
    """Hours of one device for the whole training, if its products run at `mfu` of its peak and it never waits."""
    return total_flops(recipe) / (device.peak_flops * mfu) / 3600


def summary(recipe: Recipe) -> str:
    """What a recipe costs, in lines for people."""
    hours = (f"{device_hours(recipe, device):,.3g} hours of one {device.label}" for device in DEVICES.values())
    return (
        f"{recipe.name}: {parameters(recipe) / 1e6:.1f} M parameters, {recipe.steps:,} steps of {recipe.batch} clips\n"
        f"{forward_flops(recipe).total / 1e9:.3g} GFLOP forward per clip, {total_flops(recipe):.3g} FLOPs in all\n"
        f"{' or '.join(hours)}, if {ASSUMED_MFU:.0%} of its peak is used, which was measured nowhere"
    )


def parameters(recipe: Recipe) -> int:
    """Parameters that are trained, the decoder's among them."""
    sizes = recipe.model
    shapes = expected_shapes(sizes)
    if recipe.aggregator == "rnn":
        return sum(math.prod(shape) for shape in shapes.values())
    kept = sum(math.prod(shape) for name, shape in shapes.items() if not name.startswith("rnn_core/"))
    width, hidden = sizes.width, sizes.core_mlp
    block = 4 * width * (width + 1) + width * (hidden + 1) + hidden * (width + 1) + 4 * width
    return kept + sizes.core_layers * block


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device; `weights` are the float32 ones and, where products are bfloat16, their copies."""

    weights: float
    gradients: float
    moments: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.moments + self.activations


def memory(recipe: Recipe, *, clips: int, recompute: bool = False, shards: int = 1) -> Memory:
    """Memory of a step with `clips` clips on each device, without the allocator's own and what a kernel works in.

    Args:
        recompute: whether blocks keep only their inputs.
        shards: devices over which float32 weights, gradients and moments are divided (FSDP). The bfloat16 copies are
            counted whole, as if all were gathered at once.
    """
    count = parameters(recipe)
    copies = 2 * count if recipe.dtype == "bfloat16" else 0
    return Memory(
        weights=4 * count / shards + copies,
        gradients=4 * count / shards,
        moments=8 * count / shards,
        activations=clips * _activations(recipe, recompute),
    )


def _activations(recipe: Recipe, recompute: bool) -> float:
    """Bytes kept for the backward pass of one clip, at its peak.

    Streams and the inputs of norms are float32; what products, attention and GELU keep has the dtype of the products.
    """
    sizes, width, decoder_width = recipe.model, recipe.model.width, recipe.model.decoder_width
    size = 2 if recipe.dtype == "bfloat16" else 4
    patches, pixels = recipe.patches, 3 * recipe.model.patch**2
    tokens, seen = 1 + patches, 1 + visible_count(patches, recipe.mask_ratio)
    joint = recipe.aggregator == "self_attention"
    context = 1 + recipe.source_frames * patches if joint else recipe.source_frames * tokens
    in_vit = context + recipe.targets * seen  # tokens of one clip that pass through the ViT
    in_decoder = recipe.targets * tokens

    def attention(t: int, d: int) -> float:
        return t * d * (4 + 5 * size)  # norm; query, key, value, their input and their result

    def mlp(t: int, d: int, hidden: int) -> float:
        return t * d * (4 + size) + 2 * t * hidden * size

    def cross_block(t: int, d: int, hidden: int) -> float:
        return t * d * (4 + 3 * size) + mlp(t, d, hidden) + attention(t, d)

    def stack(layers: int, block: float, t: int, d: int) -> tuple[float, float]:
        """Bytes that stay, and those of the block that is being recomputed."""
        return (layers * 4 * t * d, block) if recompute else (layers * block, 0.0)

    def keys_values(layers: int, m: int, d: int) -> float:
        return m * d * size * (1 + 2 * layers)

    stacks = [stack(sizes.layers, attention(in_vit, width) + mlp(in_vit, width, sizes.mlp), in_vit, width)]
    kept: float = (recipe.source_frames + recipe.targets) * patches * pixels * size + 4 * in_vit * width
    if joint:
        added = attention(in_vit, width) + mlp(in_vit, width, sizes.core_mlp)
        stacks.append(stack(sizes.core_layers, added, in_vit, width))
    else:
        stays, peak = stack(sizes.core_layers, cross_block(tokens, width, sizes.core_mlp), tokens, width)
        stacks.append((recipe.source_frames * stays, peak))
        # Of each frame: both inputs of the gates; in float32 the two gates, the state, the candidate, and their norms.
        core = tokens * width * (2 * size + 6 * 4) + keys_values(sizes.core_layers, tokens, width)
        kept += recipe.source_frames * core
    block = cross_block(in_decoder, decoder_width, sizes.decoder_mlp)
    stacks.append(stack(sizes.decoder_layers, block, in_decoder, decoder_width))
    kept += context * width * size + keys_values(sizes.decoder_layers, context, decoder_width)
    kept += in_decoder * decoder_width * (4 + size) + 2 * 4 * recipe.targets * patches * pixels
    return kept + sum(stays for stays, _ in stacks) + max(peak for _, peak in stacks)


def _self_block(t: int, d: int, hidden: int) -> float:
    return 8 * t * d**2 + 4 * t**2 * d + 4 * t * d * hidden


def _cross_block(t: int, m: int, d: int, hidden: int) -> float:
    """Without the keys and values of its context, which `_keys_values` counts."""
    return 4 * t * d**2 + 4 * t * m * d + _self_block(t, d, hidden)


def _keys_values(m: int, d: int) -> float:
    return 4 * m * d**2
