"""Long-term stability (paper Fig. 4): DAVIS J&F after 16, 32, 48, 64 and 80 frames, relative to 16.

Sequences of more than 80 frames are propagated once, over their first 80 frames. Propagation is causal, so the masks at
every length come from that one pass. The paper does not define the score at N frames; `StabilityProtocol.mode` does:

    prefix  the first N frames scored as a video of their own: frames 1..N-2, objects that appear in them (default: "as
            a function of frame count")
    block   frames N-16..N-1, without frame 0
    frame   frame N-1 alone
"""

import csv
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from propagation.datasets.davis import OFFICIAL_FRAMES
from propagation.datasets.sequences import MaskedVideo
from propagation.tasks.davis import DavisProtocol, DavisTask, jf_text, read_mask
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overlay import Overlay
from rvm_bench.api.task import Dataset, Metric, Record, constant
from rvm_bench.errors import UserError
from rvm_bench.stats.bootstrap import bootstrap_interval

LENGTHS = (16, 32, 48, 64, 80)
"""Numbers of frames at which the curve is evaluated (paper section 4.2.3)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StabilityProtocol(DavisProtocol):
    """The DAVIS protocol, and which frames are scored at each length."""

    id: str = "davis-2017-stability/1"
    mode: Literal["prefix", "block", "frame"] = constant(
        "prefix", 'not published; our reading of "as a function of frame count" (paper section 4.2.3)'
    )

    def frames_at(self, length: int) -> range:
        """The frames that are scored at a length; frame 0 never is."""
        step = LENGTHS[0]
        return {
            "prefix": range(1, length - 1),
            "block": range(max(1, length - step), length),
            "frame": range(length - 1, length),
        }[self.mode]


class DavisStabilityTask(DavisTask):
    """DAVIS J&F as sequences grow longer, in percent of the score at the first length."""

    name: ClassVar[str] = "davis-stability"
    title: ClassVar[str] = "J&F at 16 to 80 frames of DAVIS sequences of more than 80, relative to 16 (Fig. 4)"
    demo_folder: ClassVar[str] = "DAVIS-long"
    metric: ClassVar[Metric] = Metric(key="relative@80", label="DAVIS stability", floor="first_mask relative@80")
    presets: ClassVar[Mapping[str, Callable[[], Any]]] = {}
    protocol: StabilityProtocol

    def __init__(self, protocol: StabilityProtocol | None = None) -> None:
        super().__init__(protocol or StabilityProtocol())

    def open(self, data: Path, *, allow_missing: bool = False) -> Dataset:
        dataset = super().open(data, allow_missing=allow_missing)
        longest = LENGTHS[-1]
        videos = tuple(video for video in dataset.videos if video.length > longest)
        if not videos:
            raise UserError(
                f"{data} holds no sequence of more than {longest} frames; {self.name} needs one: give --data demo"
            )
        coverage = dataclasses.replace(
            dataset.coverage,
            listed=len(videos),
            usable=len(videos),
            official=sum(frames > longest for frames in OFFICIAL_FRAMES.values()),
            in_official=sum(video.name in OFFICIAL_FRAMES for video in videos),
        )
        return dataclasses.replace(dataset, videos=videos, coverage=coverage)

    def measure(self, encoder: Encoder, video: MaskedVideo, tick: Callable[[], object] = lambda: None) -> Record:
        """J and F of every object in every frame from 1 on, and the largest id in the frames so far."""
        longest, beginning = LENGTHS[-1], _first_frames(video)
        largest = [int(read_mask(mask, video.native_hw).max()) for mask in beginning.masks]
        propagated_TOM, held_TOM = self.frame_scores(encoder, beginning, range(1, longest), tick)
        # The other frames are not propagated, but progress counts every frame of the video.
        for _ in range(video.length - longest):
            tick()
        return {
            "frames": longest,
            "largest_id": np.maximum.accumulate(largest).tolist(),
            "J": propagated_TOM[..., 0].tolist(),
            "F": propagated_TOM[..., 1].tolist(),
            "first_mask_JF": held_TOM.mean(axis=-1).tolist(),
        }

    def score(self, records: Sequence[Record]) -> dict[str, float]:
        """J&F in percent at every length, and relative to the first length; of the held first mask only the last."""
        return self._score([self._table(record) for record in records])

    def artifacts(self, records: Sequence[Record]) -> dict[str, str]:
        """curve.csv: per length J&F, J&F in percent of the first length's, and 95 % intervals over videos."""
        tables = [self._table(record) for record in records]
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["frames", *(f"{name}{part}" for name in ("J&F", "relative") for part in ("", "_low", "_high"))])
        score = self._score(tables)
        for n in LENGTHS:
            row: list[float | str] = [n]
            for key in (f"J&F@{n}", f"relative@{n}"):
                interval = bootstrap_interval(tables, lambda draw, key=key: self._score(draw)[key])  # type: ignore[misc]
                row += [score[key], *(interval or ("", ""))]
            rows.writerow(row)
        return {"curve.csv": text.getvalue()}

    def prediction_files(self, folder: Path, video: MaskedVideo) -> list[Path]:
        return super().prediction_files(folder, _first_frames(video))

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import davis
        from rvm_bench.demo.progress import write_with_progress

        write_with_progress(davis.write, folder, sequences=davis.SEQUENCES[:2], frames=LENGTHS[-1] + 4)

    def overlay(self, folder: Path, video: MaskedVideo, record: Record, most: int) -> Overlay:
        return super().overlay(folder, _first_frames(video), record, most)

    def _frame_text(self, record: Record, t: int) -> str:
        if t == 0:
            return "not scored"
        objects = record["largest_id"][t]
        j, f = (100 * float(np.mean(record[key][t - 1][:objects])) for key in "JF")
        return jf_text(j, f)

    def _table(self, record: Record) -> np.ndarray:
        """(J&F, J&F of the held first mask) in [0, 1], float64 [objects, lengths, 2]; NaN before an object appears."""
        propagated_TO = (np.array(record["J"]) + np.array(record["F"])) / 2
        both_TO2 = np.stack([propagated_TO, np.array(record["first_mask_JF"])], axis=-1)
        table = np.full((both_TO2.shape[1], len(LENGTHS), 2), np.nan)
        for column, n in enumerate(LENGTHS):
            frames = self.protocol.frames_at(n)
            objects = record["largest_id"][n - 1]
            # Row t - 1 has frame t, as frame 0 is not scored.
            table[:objects, column] = both_TO2[frames.start - 1 : frames.stop - 1, :objects].mean(axis=0)
        return table

    def _score(self, tables: Sequence[np.ndarray]) -> dict[str, float]:
        curve, held = 100 * np.nanmean(np.concatenate(tables), axis=0).T
        return {
            **{f"J&F@{n}": float(value) for n, value in zip(LENGTHS, curve, strict=True)},
            **{f"relative@{n}": _percent(value, curve[0]) for n, value in zip(LENGTHS, curve, strict=True)},
            f"first_mask relative@{LENGTHS[-1]}": _percent(held[-1], held[0]),
        }


def _percent(value: float, first: float) -> float:
    """A score in percent of the first one; 0 where the first is 0."""
    return float(100 * value / first) if first else 0.0


def _first_frames(video: MaskedVideo) -> MaskedVideo:
    """The part of a video that is propagated: as many frames as the longest length."""
    return dataclasses.replace(video, frames=video.frames[: LENGTHS[-1]], masks=video.masks[: LENGTHS[-1]])
