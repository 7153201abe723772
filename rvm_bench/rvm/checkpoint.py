"""The released RVM checkpoint: names, shapes, and a strict reader. numpy only, so that torch and JAX share it.

A checkpoint is a numpy `.npz` whose keys are '/'-joined paths and whose arrays follow the flax layout: a Dense kernel
is [in, out], a query/key/value kernel [D, heads, head_dim], an output kernel [heads, head_dim, D], the patch kernel
[1, P, P, 3, D]. It holds the encoder, the recurrent core and the decoder. Source: the authors' inference notebook
(github.com/google-deepmind/representations4d), which loads it with `allow_pickle=False` and no leading `params/`.

No size table is needed to read a file: every size is in the shapes.
"""

import dataclasses
import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rvm_bench.errors import UserError

LISTED_AT_MOST = 20  # names of each kind in an error message; a file of another model would list hundreds


@dataclasses.dataclass(frozen=True, kw_only=True)
class RVMConfig:
    """Every size of an RVM.

    Attributes:
        patch: side of a patch in pixels.
        width, layers, heads, mlp: of the frame encoder; `mlp` is the hidden width of its MLPs.
        core_layers, core_heads, core_mlp: of the transformer in the recurrent core, which has the encoder's width.
        decoder_width, decoder_layers, decoder_heads, decoder_mlp: of the pixel decoder.
        delta_bins: length of the one-hot code of the time from the sources to a target.
    """

    patch: int = 16
    width: int
    layers: int
    heads: int
    mlp: int
    core_layers: int = 4
    core_heads: int
    core_mlp: int
    decoder_width: int = 512
    decoder_layers: int = 8
    decoder_heads: int = 16
    decoder_mlp: int = 2048
    delta_bins: int = 64


# Encoder: paper Table 5 and the inference notebook. Core heads: paper Table 5. Core MLP: L from the notebook; S is
# 2048, not 4 x 384, as the released file's size (270 MB) and the paper's 34M both need; B and H fit their files' sizes.
SIZES = {
    "rvm-s": RVMConfig(width=384, layers=12, heads=6, mlp=1536, core_heads=8, core_mlp=2048),
    "rvm-b": RVMConfig(width=768, layers=12, heads=12, mlp=3072, core_heads=12, core_mlp=3072),
    "rvm-l": RVMConfig(width=1024, layers=24, heads=16, mlp=4096, core_heads=16, core_mlp=4096),
    "rvm-h": RVMConfig(width=1280, layers=32, heads=16, mlp=5120, core_heads=16, core_mlp=5120),
    "rvm-tiny": RVMConfig(
        width=192,
        layers=4,
        heads=3,
        mlp=768,
        core_layers=2,
        core_heads=3,
        core_mlp=768,
        decoder_width=96,
        decoder_layers=2,
        decoder_heads=3,
        decoder_mlp=384,
    ),
    "rvm-demo": RVMConfig(
        width=128,
        layers=4,
        heads=4,
        mlp=384,
        core_layers=2,
        core_heads=4,
        core_mlp=384,
        decoder_width=128,
        decoder_layers=2,
        decoder_heads=4,
        decoder_mlp=384,
    ),
}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a `.npz`, by name, without a leading `params/`. Their names and shapes are `check`'s business.

    Raises:
        UserError: the file is missing, truncated, not an npz, or holds pickled objects.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:  # numpy itself leaves a damaged file open
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UserError(f"{path}: a single array; expected an .npz of named arrays in the official RVM naming")
            with archive:
                arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected an RVM checkpoint (.npz)") from None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read as an .npz ({reason}); truncated? download it again") from None
    if arrays and all(name.startswith("params/") for name in arrays):
        arrays = {name.removeprefix("params/"): array for name, array in arrays.items()}
    return arrays


def save(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as a checkpoint in the official naming, at exactly this path."""
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def config_from_arrays(arrays: Mapping[str, np.ndarray], source: str = "checkpoint") -> RVMConfig:
    """The sizes of a checkpoint, read from its shapes alone.

    Sizes come from one-dimensional arrays, from element counts, and by majority over all layers, so that one damaged
    array does not change the reading and `check` can name it.

    Args:
        source: how an error calls the checkpoint.

    Raises:
        UserError: an array from which a size must be read is missing or cannot hold it; it is named.
    """
    shapes = {name: array.shape for name, array in arrays.items()}

    def most(pattern: str, example: str, axis: int = 0) -> int:
        found = [shape[axis] for name, shape in shapes.items() if re.fullmatch(pattern, name) and axis < len(shape)]
        if not found:
            raise UserError(f"{source}: not an RVM checkpoint: array {example} is missing")
        return Counter(found).most_common(1)[0][0]

    def blocks(prefix: str) -> int:
        indices = [int(found[1]) for name in shapes if (found := re.match(rf"{prefix}(\d+)/", name))]
        if not indices:
            raise UserError(f"{source}: not an RVM checkpoint: array {prefix}0/attention_norm/scale is missing")
        return max(indices) + 1

    def elements(name: str) -> int:
        if name not in shapes:
            raise UserError(f"{source}: not an RVM checkpoint: array {name} is missing")
        return math.prod(shapes[name])

    def transformer(prefix: str) -> dict[str, int]:
        norm, bias = "mlp_norm/scale", "mlp/dense_in/bias"
        return {
            "width": most(rf"{prefix}\d+/(\w+_)?norm/(scale|bias)", f"{prefix}0/{norm}"),
            "layers": blocks(prefix),
            "heads": most(
                rf"{prefix}\d+/(ca_)?attention/(query|key|value)/bias|{prefix}\d+/(ca_)?attention/out/kernel",
                f"{prefix}0/attention/query/bias",
            ),
            "mlp": most(rf"{prefix}\d+/{bias}", f"{prefix}0/{bias}"),
        }

    encoder = transformer("encoder/layers_")
    core = transformer("rnn_core/transformer/xa_blocks_")
    decoder = transformer("decoder/xa_blocks_")
    patch = math.isqrt(elements("detokenizer/Dense_0/bias") // 3)
    return RVMConfig(
        patch=patch,
        **encoder,
        **{f"core_{key}": value for key, value in core.items() if key != "width"},
        **{f"decoder_{key}": value for key, value in decoder.items()},
        delta_bins=elements("delta_embedder/kernel") // max(1, decoder["width"]),
    )


def expected_shapes(config: RVMConfig) -> dict[str, tuple[int, ...]]:
    """The name and shape of every array of a checkpoint of this size, in the order of the computation."""
    width, patch = config.width, config.patch
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, width), "mask_token": (1, config.decoder_width)}

    def dense(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}/kernel"] = (inputs, outputs)
        shapes[f"{name}/bias"] = (outputs,)

    def norm(name: str, width: int) -> None:
        shapes[f"{name}/scale"] = (width,)
        shapes[f"{name}/bias"] = (width,)

    def attention(name: str, width: int, heads: int) -> None:
        head_dim = width // heads
        for part in ("query", "key", "value"):
            shapes[f"{name}/{part}/kernel"] = (width, heads, head_dim)
            shapes[f"{name}/{part}/bias"] = (heads, head_dim)
        shapes[f"{name}/out/kernel"] = (heads, head_dim, width)
        shapes[f"{name}/out/bias"] = (width,)

    def mlp(name: str, width: int, hidden: int) -> None:
        dense(f"{name}/dense_in", width, hidden)
        dense(f"{name}/dense_out", hidden, width)

    def cross_transformer(name: str, width: int, layers: int, heads: int, hidden: int) -> None:
        for block in (f"{name}/xa_blocks_{index}" for index in range(layers)):
            norm(f"{block}/ca_attention_norm", width)
            attention(f"{block}/ca_attention", width, heads)
            norm(f"{block}/mlp_norm", width)
            mlp(f"{block}/mlp", width, hidden)
            norm(f"{block}/attention_norm", width)
            attention(f"{block}/attention", width, heads)
        norm(f"{name}/output_norm", width)

    shapes["tokenizer/patch_embedding/Conv_0/kernel"] = (1, patch, patch, 3, width)
    shapes["tokenizer/patch_embedding/Conv_0/bias"] = (width,)
    for block in (f"encoder/layers_{index}" for index in range(config.layers)):
        norm(f"{block}/attention_norm", width)
        attention(f"{block}/attention", width, config.heads)
        norm(f"{block}/mlp_norm", width)
        mlp(f"{block}/mlp", width, config.mlp)
    norm("encoder/LayerNorm_0", width)

    for gate in ("input_update", "input_reset", "state_update", "state_reset"):
        shapes[f"rnn_core/{gate}/kernel"] = (width, width)
    shapes["rnn_core/state_layer_norm/scale"] = (width,)
    cross_transformer("rnn_core/transformer", width, config.core_layers, config.core_heads, config.core_mlp)

    dense("decoder_embedder", width, config.decoder_width)
    dense("delta_embedder", config.delta_bins, config.decoder_width)
    cross_transformer("decoder", config.decoder_width, config.decoder_layers, config.decoder_heads, config.decoder_mlp)
    dense("detokenizer/Dense_0", config.decoder_width, patch * patch * 3)
    return shapes


def check(arrays: Mapping[str, np.ndarray], source: str = "checkpoint") -> RVMConfig:
    """The sizes of a checkpoint, once every array is known to be there with the right shape, floating and finite.

    What a shape cannot show passes: the four gate kernels are square (as is any kernel whose two sides agree), so a
    transposed one looks right. The hash of the file is what guards those.

    Raises:
        UserError: an array is missing, unexpected, of another shape, not floating point or not finite; the message
            lists the names with found and expected shapes.
    """
    config = config_from_arrays(arrays, source)
    expected = expected_shapes(config)
    problems = {
        "missing": [f"{name} {shape}" for name, shape in expected.items() if name not in arrays],
        "unexpected": [f"{name} {array.shape}" for name, array in arrays.items() if name not in expected],
        "of another shape": [
            f"{name} {arrays[name].shape}, expected {shape}"
            for name, shape in expected.items()
            if name in arrays and arrays[name].shape != shape
        ],
        "not floating point": [
            f"{name} {array.dtype}" for name, array in arrays.items() if not np.issubdtype(array.dtype, np.floating)
        ],
        "not finite": [
            name
            for name, array in arrays.items()
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all()
        ],
    }
    found = [f"{kind}: {_listed(names)}" for kind, names in problems.items() if names]
    if found:
        raise UserError(f"{source}: not a valid RVM checkpoint; " + "; ".join(found))
    return config


def random_arrays(config: RVMConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """An untrained checkpoint: Xavier-uniform kernels, normal(0, 0.02) tokens, zero biases, unit scales, all float32.

    Kernels that write into a residual stream are divided by the square root of how many do (as GPT-2's are), so that a
    deep stack starts close to its input. The same config and seed give the same arrays.
    """
    rng = np.random.default_rng(seed)
    writers = {
        "encoder/layers_": 2 * config.layers,
        "rnn_core/transformer/": 3 * config.core_layers,
        "decoder/": 3 * config.decoder_layers,
    }
    arrays = {}
    for name, shape in expected_shapes(config).items():
        kind = name.rpartition("/")[2]
        if kind == "scale":
            array = np.ones(shape, np.float32)
        elif kind == "bias":
            array = np.zeros(shape, np.float32)
        elif kind == "kernel":
            inputs = math.prod(shape[:-1] if name.endswith(("out/kernel", "Conv_0/kernel")) else shape[:1])
            bound = math.sqrt(6 / (inputs + math.prod(shape) // inputs))
            if name.endswith("out/kernel"):
                bound /= math.sqrt(next(count for prefix, count in writers.items() if name.startswith(prefix)))
            array = rng.random(shape, np.float32)
            array *= 2 * bound
            array -= bound
        else:
            array = 0.02 * rng.standard_normal(shape, np.float32)
        arrays[name] = array
    return arrays


def parameter_count(config: RVMConfig) -> int:
    """Parameters as the paper counts them: all but the decoder's transformer (its embedders and output layer count).

    This rule gives the paper's 34, 375 and 743 M for S, L and H; for B it gives 126.6 M where the paper prints 117.
    """
    return sum(math.prod(shape) for name, shape in expected_shapes(config).items() if not name.startswith("decoder/"))


def _listed(names: list[str]) -> str:
    more = len(names) - LISTED_AT_MOST
    return ", ".join(names[:LISTED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
