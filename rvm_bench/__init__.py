"""rvm-bench: a benchmark for frozen video encoders.

    encoder = rvm_bench.load_encoder("rvm-l")
    features = encoder.encode(video)                       # uint8 [T, H, W, 3] -> float32 [T, h, w, D]
    result = rvm_bench.evaluate(encoder, "davis", data="path/to/DAVIS")
    rvm_bench.evaluate(["rvm-l", "dinov2-l"], ["davis", "vip"], data="data").to_frame()
    rvm_bench.load_results("runs")                         # finished runs as a pandas.DataFrame

To write a model or a task, import from `rvm_bench.api`. Importing the package is cheap: torch is imported with the
first name that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rvm_bench.api.card import EncoderCard, Model, Provenance
    from rvm_bench.api.encoder import ClipEncoder, Encoder, ImageEncoder, RecurrentEncoder
    from rvm_bench.api.registry import list_models, list_tasks
    from rvm_bench.api.task import Protocol, Task
    from rvm_bench.errors import UserError
    from rvm_bench.fetch.load import load_encoder
    from rvm_bench.runs.engine import evaluate
    from rvm_bench.runs.finished import load_results
    from rvm_bench.runs.results import Result, Results

    __version__: str

__all__ = [
    "ClipEncoder",
    "Encoder",
    "EncoderCard",
    "ImageEncoder",
    "Model",
    "Protocol",
    "Provenance",
    "RecurrentEncoder",
    "Result",
    "Results",
    "Task",
    "UserError",
    "__version__",
    "evaluate",
    "list_models",
    "list_tasks",
    "load_encoder",
    "load_results",
]

_HOMES = {
    "ClipEncoder": "api.encoder",
    "Encoder": "api.encoder",
    "EncoderCard": "api.card",
    "ImageEncoder": "api.encoder",
    "Model": "api.card",
    "Protocol": "api.task",
    "Provenance": "api.card",
    "RecurrentEncoder": "api.encoder",
    "Result": "runs.results",
    "Results": "runs.results",
    "Task": "api.task",
    "UserError": "errors",
    "evaluate": "runs.engine",
    "list_models": "api.registry",
    "list_tasks": "api.registry",
    "load_encoder": "fetch.load",
    "load_results": "runs.finished",
}
"""The module of each public name, imported when the name is first used."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("rvm-bench")
    if name in _HOMES:
        return getattr(importlib.import_module(f"rvm_bench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'rvm_bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, "api"})
