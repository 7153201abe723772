"""The one import for whoever writes a model or a task. What stands here is stable: docs/api.md has the policy.

    from rvm_bench.api import EncoderCard, ImageEncoder        # a backbone
    from rvm_bench.api import Dataset, Metric, Protocol, Task  # a task

Importing it is cheap: torch comes in with the first name that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from rvm_bench.api.card import EncoderCard, Model, Provenance, WeightsFile
from rvm_bench.errors import DamagedFile, UserError, unknown_name

if TYPE_CHECKING:
    from rvm_bench.api.encoder import TAPS, ClipEncoder, Encoder, ImageEncoder, RecurrentEncoder, VideoLike
    from rvm_bench.api.overrides import check_bounds, check_choices
    from rvm_bench.api.task import (
        Coverage,
        Dataset,
        DataSource,
        FitsHeads,
        Metric,
        Overlay,
        Protocol,
        Record,
        SavesPredictions,
        ShownFrame,
        Task,
        Video,
        constant,
        shown_size,
    )

CONTRACT_VERSION = 1
"""Of the contracts below. It rises when a plug-in that was written against an earlier one may break."""

__all__ = [
    "CONTRACT_VERSION",
    "TAPS",
    "ClipEncoder",
    "Coverage",
    "DamagedFile",
    "DataSource",
    "Dataset",
    "Encoder",
    "EncoderCard",
    "FitsHeads",
    "ImageEncoder",
    "Metric",
    "Model",
    "Overlay",
    "Protocol",
    "Provenance",
    "Record",
    "RecurrentEncoder",
    "SavesPredictions",
    "ShownFrame",
    "Task",
    "UserError",
    "Video",
    "VideoLike",
    "WeightsFile",
    "check_bounds",
    "check_choices",
    "constant",
    "shown_size",
    "unknown_name",
]

_HEAVY = {
    **dict.fromkeys(("TAPS", "ClipEncoder", "Encoder", "ImageEncoder", "RecurrentEncoder", "VideoLike"), "encoder"),
    **dict.fromkeys(("check_bounds", "check_choices"), "overrides"),
}
"""Where the names live that are imported when they are first used; the others are in `task`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'rvm_bench.api' has no attribute {name!r}")
    return getattr(importlib.import_module(f"rvm_bench.api.{_HEAVY.get(name, 'task')}"), name)


def __dir__() -> list[str]:
    return __all__
