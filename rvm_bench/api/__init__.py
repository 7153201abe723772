"""The stable interface for models and tasks of your own. docs/api.md says what may change between releases.

    from rvm_bench.api import EncoderCard, ImageEncoder        # a backbone
    from rvm_bench.api import Dataset, Metric, Protocol, Task  # a task

Importing it is cheap: torch is imported with the first name that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from rvm_bench.api.card import EncoderCard, Model, Provenance, WeightsFile
from rvm_bench.errors import DamagedFile, UserError, optional_packages, unknown_name
from rvm_bench.formats.hashes import file_sha256, manifest_sha256

if TYPE_CHECKING:
    from rvm_bench.api.encoder import TAPS, ClipEncoder, Encoder, ImageEncoder, RecurrentEncoder, VideoLike
    from rvm_bench.api.overlay import Overlay, ShownFrame, shown_size
    from rvm_bench.api.overrides import check_bounds, check_choices
    from rvm_bench.api.task import (
        Coverage,
        Dataset,
        DataSource,
        FitsHeads,
        FitSummary,
        Metric,
        Protocol,
        Record,
        SavesPredictions,
        Task,
        Video,
        constant,
    )

CONTRACT_VERSION = 1
"""Version of this interface. It rises in a release in which a plug-in written for an earlier version may fail."""

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
    "FitSummary",
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
    "file_sha256",
    "manifest_sha256",
    "optional_packages",
    "shown_size",
    "unknown_name",
]

_ENCODER = ("TAPS", "ClipEncoder", "Encoder", "ImageEncoder", "RecurrentEncoder", "VideoLike")
_LAZY = {
    **dict.fromkeys((name for name in __all__ if name not in globals()), "task"),
    **dict.fromkeys(_ENCODER, "encoder"),
    **dict.fromkeys(("Overlay", "ShownFrame", "shown_size"), "overlay"),
    **dict.fromkeys(("check_bounds", "check_choices"), "overrides"),
}
"""The module of each name that is imported when it is first used."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'rvm_bench.api' has no attribute {name!r}")
    return getattr(importlib.import_module(f"rvm_bench.api.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return __all__
