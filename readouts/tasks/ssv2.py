"""Something-Something v2: 174 actions that need more than a single frame, top-1 on the validation videos."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from readouts.datasets.ssv2 import open_ssv2
from readouts.datasets.video_lists import ClipCopy
from readouts.tasks.classification import DEMO_CONSTANTS, ClassificationProtocol, ClassificationTask
from rvm_bench.api.task import constant


@dataclasses.dataclass(frozen=True, kw_only=True)
class SSv2Protocol(ClassificationProtocol):
    """Cost: 1.28 M clips through the encoder, and 24,777 to score. Expected: RVM-L 66.7, VideoMAE-L 62.7 (Table 1)."""

    id: str = "ssv2/1"
    params: int = constant(768, "paper Table 7")
    heads: int = constant(12, "paper Table 7")


class SSv2Task(ClassificationTask):
    name: ClassVar[str] = "ssv2"
    title: ClassVar[str] = "action recognition, Something-Something v2 validation, top-1"
    folder: ClassVar[str] = "ssv2"
    presets: ClassVar[Mapping[str, Callable[[], Any]]] = {"demo": lambda: SSv2Protocol(**DEMO_CONSTANTS)}

    @classmethod
    def default_protocol(cls) -> ClassificationProtocol:
        return SSv2Protocol()

    def open_copy(self, data: Path) -> ClipCopy:
        return open_ssv2(data)

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import ssv2
        from rvm_bench.demo.progress import write_with_progress

        write_with_progress(ssv2.write, folder, unit="video")
