"""Kinetics-700-2020: 700 actions, top-1 over 7 clips of each video. No copy is complete: videos vanish from YouTube."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from readouts.datasets.kinetics import open_kinetics
from readouts.datasets.video_lists import ClipCopy
from readouts.tasks.classification import DEMO_CONSTANTS, ClassificationProtocol, ClassificationTask
from rvm_bench.api.task import constant


@dataclasses.dataclass(frozen=True, kw_only=True)
class KineticsProtocol(ClassificationProtocol):
    """Cost: 1.28 M clips through the encoder, and 7 x 34,125 to score. Expected: RVM-L 57.3 (Table 1)."""

    id: str = "kinetics-700-2020/1"
    test_clips: int = constant(7, "paper section 11.1: 7 linearly spaced clips, softmax averaged")


def demo_protocol() -> KineticsProtocol:
    """That of SSv2, but shorter: a hundred videos are memorised soon."""
    return KineticsProtocol(
        **{**DEMO_CONSTANTS, "learning_rates": (1e-3, 3e-3), "warmup_steps": 40, "steps": 400},
    )


class KineticsTask(ClassificationTask):
    name: ClassVar[str] = "kinetics"
    title: ClassVar[str] = "action recognition, Kinetics-700-2020 validation, top-1"
    folder: ClassVar[str] = "kinetics700_2020"
    presets: ClassVar[Mapping[str, Callable[[], Any]]] = {"demo": demo_protocol}

    @classmethod
    def default_protocol(cls) -> ClassificationProtocol:
        return KineticsProtocol()

    def open_copy(self, data: Path) -> ClipCopy:
        return open_kinetics(data)

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import kinetics
        from rvm_bench.demo.progress import write_with_progress

        write_with_progress(kinetics.write, folder, unit="video")
