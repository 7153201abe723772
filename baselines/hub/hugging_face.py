"""`hf:<repository or folder>`: image ViTs, conv nets and clip models of transformers as encoders.

Needs the extra `hub`. Code of a repository is never run. docs/hub.md lists the checks.
"""

import contextlib
import dataclasses
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from baselines.hub.hf_encoders import (
    KINDS,
    VIDEO_TYPES,
    HubClipEncoder,
    HubImageEncoder,
    Layout,
    image_layout,
    prefix_tokens,
    video_layout,
)
from baselines.hub.hf_files import CONFIG, Repository, find_repository
from baselines.vit.tensor_files import files_sha256
from rvm_bench.api.card import EncoderCard, Provenance
from rvm_bench.errors import UserError, listed, optional_packages
from rvm_bench.formats.files import read_json
from rvm_bench.formats.hashes import file_sha256

UNUSED = re.compile(r"^(pooler|head|predictor)\.|(^|\.)mask_tokens?$")
"""Parameters of the base model that `last_hidden_state` does not depend on; they may be missing."""

DERIVED = re.compile(r"(^|\.)(position_ids|relative_position_index|num_batches_tracked)$")
"""Index tables and counters that older files hold and newer models compute."""

LISTED_AT_MOST = 8  # names in an error message


def hugging_face(
    reference: str,
    *,
    weights: str | None = None,
    dtype: str = "float32",
    seed: int = 0,
    revision: str | None = None,
    frames: int | None = None,
) -> HubImageEncoder | HubClipEncoder:
    """The encoder `hf:<reference>`; its features are `last_hidden_state` without prefix tokens.

    Args:
        reference: a folder that `save_pretrained` wrote, or "owner/name" of the Hugging Face Hub.
        weights: None: the model's own; or "random".
        dtype: "float32" or "bfloat16".
        seed: of random weights.
        revision: branch, tag or commit of a repository.
        frames: clip length of V-JEPA 2; None: the config's.

    Raises:
        UserError: transformers is not installed, no such model, an unsupported type, or weights that do not fit.
    """
    transformers = _import_transformers()
    if weights not in (None, "random"):
        raise UserError(
            f"hf:{reference} brings its own weights; leave out --weights {weights}, or give --weights random"
        )
    repository = find_repository(reference, revision)
    config = _config(transformers, repository)
    attention = "sdpa" if getattr(_model_class(transformers, config), "_supports_sdpa", False) else "eager"
    is_video = config.model_type in VIDEO_TYPES
    if frames is not None and not is_video:
        raise UserError(f"hf:{reference} is an image model; leave out the option frames={frames}")

    layout = video_layout(config, repository.name, frames) if is_video else None
    left_out: list[str] = []
    files = [] if weights == "random" else repository.weight_files()
    with _quiet(transformers):
        if not files:
            network = _untrained(transformers, repository, config, attention, seed)
            provenance = Provenance(kind="random", seed=seed)
        else:
            network, left_out = _load(transformers, repository, config, attention)
            names = ", ".join(file.name for file in files)
            provenance = Provenance(kind="file", path=names, sha256=files_sha256(files))
    network = _cast(network, getattr(torch, dtype)).eval().requires_grad_(False)

    if layout is None:
        with torch.inference_mode():
            layout = image_layout(network, config, repository.name)
    else:
        layout = dataclasses.replace(layout, prefix=prefix_tokens(network))
    card = _card(repository, config, network, layout, left_out)
    encoder = (HubClipEncoder if is_video else HubImageEncoder)(card, network, layout)
    encoder.dtype = getattr(torch, dtype)
    facts: dict[str, Any] = {"source": card.source} | ({"left_out": left_out} if left_out else {})
    if repository.commit:
        facts |= {"repository": reference, "commit": repository.commit}
    encoder.weights = provenance.with_facts(**facts)
    # The hash of the weights covers neither the config nor the code of transformers.
    encoder.options = {
        "config_sha256": file_sha256(repository.folder / CONFIG),
        "transformers": transformers.__version__,
        "attention": attention,
    }
    if weights == "random":
        encoder.options["seed"] = seed
    return encoder


def _import_transformers() -> Any:
    with optional_packages("hf: models need", "hub"):
        import transformers
    return transformers


def _config(transformers: Any, repository: Repository) -> Any:
    """The config of the model that is read; of a CLIP-like pair that of the vision tower."""
    from huggingface_hub.errors import StrictDataclassError

    kind = read_json(repository.folder / CONFIG).get("model_type")
    if kind not in transformers.CONFIG_MAPPING:
        raise UserError(
            f"hf:{repository.reference}: model type {kind!r} is not known to transformers {transformers.__version__}, "
            f"and code of a repository is never run; supported: {KINDS}"
        )
    try:
        config = transformers.AutoConfig.from_pretrained(repository.folder, trust_remote_code=False)
    except (ValueError, TypeError, KeyError, OSError, StrictDataclassError) as error:
        raise UserError(f"hf:{repository.reference}: {CONFIG} cannot be read: {_one_line(error)}") from error
    config = getattr(config, "vision_config", None) or config
    if "mask_ratio" in config.to_dict():
        config.mask_ratio = 0.0  # else ViT-MAE drops three quarters of the patches
    return config


def _model_class(transformers: Any, config: Any) -> type:
    """AutoModel's class for a config.

    Raises:
        UserError: there is none, or it is neither an image model nor a supported video model.
    """
    kind = config.model_type
    found = transformers.MODEL_MAPPING.get(type(config), None)
    model = found[0] if isinstance(found, (list, tuple)) else found
    if model is None:
        raise UserError(f"model type {kind!r} is not supported: AutoModel has no model for it; supported: {KINDS}")
    what = ""
    pixels = model.main_input_name
    needed = [
        name
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if name not in ("self", pixels)
        and parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if not str(pixels).startswith("pixel_values"):
        what = f"reads {pixels}, not pixel_values"
    elif needed:
        what = f"needs {', '.join(needed)} beside the pixels"
    elif kind not in VIDEO_TYPES and hasattr(config, "num_frames"):
        what = "is a video model whose order of tokens is not known here"
    if what:
        raise UserError(f"model type {kind!r} is not supported: it {what}; supported: {KINDS}")
    return model


def _untrained(transformers: Any, repository: Repository, config: Any, attention: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return transformers.AutoModel.from_config(
                config, attn_implementation=attention, dtype=torch.float32, trust_remote_code=False
            )
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(f"hf:{repository.reference}: {CONFIG} makes no model: {_one_line(error)}") from error


def _load(transformers: Any, repository: Repository, config: Any, attention: str) -> tuple[nn.Module, list[str]]:
    """The base model in float32 with the weights of its files, and a list of other tensors in the files.

    Strict for everything that the features depend on: each tensor of the base model must be in a file with the right
    shape, and no tensor of a file that belongs to the base model may be unused. Tensors outside it (heads, a decoder, a
    text tower) are left out and listed.

    Raises:
        UserError: tensors are missing, misshapen or unused, by transformers' names.
    """
    try:
        network, report = transformers.AutoModel.from_pretrained(
            repository.folder,
            config=config,
            attn_implementation=attention,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are reported by name
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError, UnpicklingError) as error:
        raise UserError(f"hf:{repository.reference} cannot be loaded: {_one_line(error)}") from error
    prefixes = tuple(f"{prefix}." for prefix in {network.base_model_prefix, "vision_model"} if prefix)
    inside: list[str] = []
    outside: Counter[str] = Counter()
    for name in sorted(report["unexpected_keys"]):
        own = next((name.removeprefix(prefix) for prefix in prefixes if name.startswith(prefix)), name)
        if DERIVED.search(own) or UNUSED.search(own) or not hasattr(network, own.split(".")[0]):
            outside[name.split(".")[0]] += 1
        else:
            inside.append(name)
    wrong = {
        "missing": [name for name in sorted(report["missing_keys"]) if not UNUSED.search(name)],
        "of another shape": [
            f"{name} {list(found)} (expected {list(expected)})"
            for name, found, expected in sorted(report["mismatched_keys"])
            if not UNUSED.search(name)
        ],
        "left over": inside,
    }
    complaints = [f"{len(names)} {what}: {listed(names, LISTED_AT_MOST)}" for what, names in wrong.items() if names]
    if complaints:
        raise UserError(
            f"hf:{repository.reference}: its weights do not fit a {type(network).__name__} of its {CONFIG}; tensors "
            + "; ".join(complaints)
        )
    return network, [f"{name} ({count})" for name, count in sorted(outside.items())]


def _cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network in another dtype, except for computed buffers: rotary frequencies need float32."""
    stored = network.state_dict().keys()
    computed = {name: buffer for name, buffer in network.named_buffers() if name not in stored}
    network = network.to(dtype)
    for name, buffer in computed.items():
        module, _, last = name.rpartition(".")
        setattr(network.get_submodule(module), last, buffer)
    return network


def _card(repository: Repository, config: Any, network: nn.Module, layout: Layout, left_out: list[str]) -> EncoderCard:
    mean, std, pixels = repository.pixels()
    notes = [type(network).__name__, pixels]
    if getattr(config, "use_mean_pooling", False):
        notes.append("its config says use_mean_pooling, so that features are the last block's, without a final norm")
    if left_out:
        notes.append(f"tensors of the file that are no part of the encoder: {', '.join(left_out)}")
    dropped = f", {layout.prefix} prefix tokens dropped" if layout.prefix else ""
    count = sum(p.numel() for name, p in network.named_parameters() if not UNUSED.search(name))
    return EncoderCard(
        name=repository.name,
        family="hf",
        params_m=round(count / 1e6, 2),
        patch=layout.patch,
        width=layout.width,
        frames=layout.frames,
        pixel_mean=(mean[0], mean[1], mean[2]),
        pixel_std=(std[0], std[1], std[2]),
        taps=dict.fromkeys(("propagation", "readout"), f"last_hidden_state{dropped}"),
        causal=layout.frames == 1,
        licence=repository.licence(),
        source=repository.source,
        note="; ".join(notes),
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Disables transformers' progress bars and loading report; `_load` turns the report into errors and notes."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
