"""rvm-bench: a benchmark for frozen video encoders.

    encoder = rvm_bench.load_encoder("rvm-l")
    features = encoder.encode(video)                       # uint8 [T, H, W, 3] -> float32 [T, h, w, D]
    result = rvm_bench.evaluate(encoder, "davis", data="path/to/DAVIS")

Importing the package is cheap: torch is imported by the first name that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rvm_bench.card import EncoderCard, Model
    from rvm_bench.encoder import ClipEncoder, Encoder, ImageEncoder, RecurrentEncoder
    from rvm_bench.engine import Result, evaluate
    from rvm_bench.errors import UserError
    from rvm_bench.registry import load_encoder
    from rvm_bench.task import Protocol, Task

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
    "ClipEncoder": "encoder",
    "Encoder": "encoder",
    "EncoderCard": "card",
    "ImageEncoder": "encoder",
    "Model": "card",
    "Protocol": "task",
    "RecurrentEncoder": "encoder",
    "Result": "engine",
    "Task": "task",
    "UserError": "errors",
    "evaluate": "engine",
    "load_encoder": "registry",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"rvm_bench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'rvm_bench' has no attribute {name!r}")
