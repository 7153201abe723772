"""All that can change a fitted readout, and all that can change the features it is fitted on, as JSON values."""

import dataclasses
import functools
import json
from importlib.metadata import version
from typing import Any

from readouts.features import Cache
from readouts.losses import Measure, Selection
from readouts.recipe import FitConfig
from readouts.replicas import Sizes
from readouts.sampling import Source
from rvm_bench.encoder import Encoder
from rvm_bench.fingerprint import LIBRARIES, source_sha256

NOT_IDENTITY = ("log_every", "checkpoint_every_s")
"""Fields of `FitConfig` that do not change the readout."""


def feature_identity(encoder: Encoder, source: Source) -> dict[str, Any]:
    return {
        "encoder": encoder.describe(),
        "preprocessing": source.preprocessing(),
        "code_sha256": source_sha256([Encoder, type(encoder), type(source)]),
        "libraries": {name: version(name) for name in LIBRARIES},
        "device": encoder.device.type,
    }


def fit_identity(
    encoder: Encoder,
    source: Source,
    readout: Sizes,
    config: FitConfig,
    loss: Measure,
    selection: Selection,
    cache: Cache | None,
) -> dict[str, Any]:
    """All that can change the readout, as JSON values."""
    functions = [_unwrapped(loss), _unwrapped(selection.measure)]
    identity = {
        **feature_identity(encoder, source),
        "source": source.describe(),
        "readout": readout.describe(),
        "fit": {name: value for name, value in dataclasses.asdict(config).items() if name not in NOT_IDENTITY},
        "functions": [told for _, told in functions],
        "selection": [selection.name, selection.higher_is_better],
        "functions_sha256": source_sha256([type(readout), *(function for function, _ in functions)]),
        "features": "float32" if cache is None else cache.dtype,
    }
    return json.loads(json.dumps(identity))


def _unwrapped(function: Any) -> tuple[Any, str]:
    """What holds the code of a function, and its name with what was set in it: a partial, or a dataclass instance."""
    if isinstance(function, functools.partial):
        inner, told = _unwrapped(function.func)
        return inner, f"{told} {function.args!r} {sorted(function.keywords.items())!r}"
    return function, getattr(function, "__qualname__", None) or repr(function)
