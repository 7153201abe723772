"""The golden models as their authors would publish them: official names, in the containers of the real files."""

import argparse
import dataclasses
import fnmatch
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rvm_bench.api.registry import find_model
from rvm_bench.errors import UserError

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Official:
    """How one golden model is published.

    Attributes:
        family: the name under which `load_encoder` takes any file of it.
        suffix: of its files.
        options: what loading needs, because no file says it.
        ignored: what its files hold besides the encoder, as glob patterns.
    """

    family: str
    suffix: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"heads": 4})
    ignored: tuple[str, ...] = ()


MODELS = {
    "dinov2": Official(family="dinov2", suffix=".pth", ignored=("mask_token",)),
    "dinov2_swiglu": Official(family="dinov2", suffix=".pth", ignored=("mask_token",)),
    "videomae": Official(
        family="videomae", suffix=".pth", ignored=("mask_token", "encoder_to_decoder.weight", "decoder.*")
    ),
    "videomaev2": Official(family="videomaev2", suffix=".safetensors"),
    "vjepa": Official(family="vjepa", suffix=".pth.tar"),
    "fourds": Official(family="4ds", suffix=".npz", options={}),
    "fourds_depth": Official(family="4ds", suffix=".npz", options={}, ignored=("params/layers_2/*",)),
    "cropmae": Official(family="mae", suffix=".pth", ignored=("mask_token", "decoder_*")),
}


@functools.cache
def golden(model: str) -> Mapping[str, np.ndarray]:
    """Inputs, outputs and parameters of a golden model. Shared: never written to."""
    with np.load(GOLDEN / f"{model}.npz", allow_pickle=False) as archive:
        return dict(archive)


def parameters(model: str) -> dict[str, np.ndarray]:
    """The parameters of a golden model by official name, in a dictionary of the caller's own."""
    return {key.removeprefix("param:"): array for key, array in golden(model).items() if key.startswith("param:")}


def is_ignored(model: str, name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in MODELS[model].ignored)


def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def write(folder: Path, model: str, arrays: Mapping[str, np.ndarray] | None = None, name: str = "") -> Path:
    """A golden model (or other arrays) in the official container of the model, and its path."""
    arrays = parameters(model) if arrays is None else arrays
    path = folder / f"{name or model}{MODELS[model].suffix}"
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file(tensors(arrays), path)
    else:
        torch.save(container(model, tensors(arrays)), path)
    return path


def container(model: str, state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What the official `.pth` of a model holds around its tensors."""
    arguments = argparse.Namespace(lr=1.5e-4, epochs=1600, model="tiny", opt_betas=None)
    if model in ("videomae", "cropmae"):
        optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(5)}}, "param_groups": [{"lr": 1}]}
        return {"model": state, "optimizer": optimizer, "epoch": 1599, "scaler": {"scale": 65536.0}, "args": arguments}
    if model == "vjepa":
        untrained = {name: torch.full((), 0.5).expand(tensor.shape) for name, tensor in state.items()}
        return {
            "encoder": untrained,
            "predictor": {"module.backbone.mask_tokens.0": torch.zeros(1, 1, 24)},
            "opt": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]},
            "scaler": None,
            "target_encoder": state,
            "epoch": 300,
            "loss": 0.25,
        }
    return state


VIDEO = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
FAMILY_OF = {model: official.family for model, official in MODELS.items()}
NPZ_NAME = "params/layers_0/processor/layers_0/attention_norm/scale"


BUILDERS = {family: find_model(family) for family in FAMILY_OF.values()}


def load(model, path, **options):
    """As `load_encoder`, whose search for the name would take longer than reading one of these files."""
    return BUILDERS[FAMILY_OF[model]](weights=str(path), **(dict(MODELS[model].options) | options))


def refusal(model, path, **options):
    """The one line with which a file is refused."""
    with pytest.raises(UserError) as error:
        load(model, path, **options)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message
