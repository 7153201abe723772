"""rvm-bench: a benchmark for frozen video encoders.

    encoder = rvm_bench.load_encoder("rvm-l")
    features = encoder.encode(video)                       # uint8 [T, H, W, 3] -> float32 [T, h, w, D]
    result = rvm_bench.evaluate(encoder, "davis", data="path/to/DAVIS")

Importing the package is cheap: torch is imported by the first name that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rvm_bench.api.card import EncoderCard, Model
    from rvm_bench.api.encoder import ClipEncoder, Encoder, ImageEncoder, RecurrentEncoder
    from rvm_bench.api.task import Protocol, Task
    from rvm_bench.errors import UserError
    from rvm_bench.fetch.load import load_encoder
    from rvm_bench.runs.engine import Result, evaluate

__all__ = [
    "ClipEncoder",
    "Encoder",
    "EncoderCard",
    "ImageEncoder",
    "Model",
    "Protocol",
    "RecurrentEncoder",
    "Result",
    "Task",
    "UserError",
    "evaluate",
    "load_encoder",
]

_HOMES = {
    "ClipEncoder": "api.encoder",
    "Encoder": "api.encoder",
    "EncoderCard": "api.card",
    "ImageEncoder": "api.encoder",
    "Model": "api.card",
    "Protocol": "api.task",
    "RecurrentEncoder": "api.encoder",
    "Result": "runs.engine",
    "Task": "api.task",
    "UserError": "errors",
    "evaluate": "runs.engine",
    "load_encoder": "fetch.load",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"rvm_bench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'rvm_bench' has no attribute {name!r}")
