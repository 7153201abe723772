"""VIP (Video Instance-level Parsing) semantic part propagation: protocol, reader, measure and score.

    <root>/lists/val_videos.txt                           one video name per line
    <root>/Images/<video>/<frame>.jpg                     RGB
    <root>/Annotations/Category_ids/<video>/<frame>.png   label PNG: 0 background, 1..19 parts and garments, 255 ignored

Only every 25th frame of a video is annotated, and only annotated frames are there: the numbers of the files have holes.
The labels of frame 0 are propagated through them; mIoU comes from one matrix over all pixels of all videos.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from propagation.datasets.sequences import VOID, Copy, MaskedVideo, read_masked
from propagation.datasets.vip import OFFICIAL_NAME, OFFICIAL_VIDEOS, SPLIT, unofficial, verify_vip
from propagation.labels import heat_to_mask, mask_to_heat
from propagation.metrics import confusion, mean_iou
from propagation.predictions import SavesMasks, mask_file, mask_overlay
from propagation.tasks.protocol import NOTEBOOK, PropagationProtocol, seconds_per_frame, soft_labels
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.task import Dataset, DataSource, Metric, Overlay, Record, Task, constant
from rvm_bench.media.images import read_labels, write_labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class VipProtocol(PropagationProtocol):
    """How the paper's VIP column is measured."""

    id: str = "vip-val/1"
    input_height_px: int = constant(448, "paper Table 8")
    input_width_px: int = constant(880, "paper Table 8; the aspect ratio is not kept")
    topk: int = constant(10, "paper Table 8")
    classes: Literal[20] = constant(20, "ATEN evaluate/test_parsing.py: 19 parts and garments, and the background")
    ignored: Literal[255] = constant(
        VOID, "ATEN evaluate/test_parsing.py: only pixels of a true id below 20 are counted"
    )
    frames_scored: Literal["0..T-1"] = constant(
        "0..T-1", f"{NOTEBOOK}: frame 0 counts too, as it was propagated to itself"
    )
    resolution: Literal["native"] = constant(
        "native", f"{NOTEBOOK}: predictions are taken to the size of the annotation"
    )
    average: Literal["classes"] = constant(
        "classes", f"{NOTEBOOK}: one matrix over all videos; mean over classes seen, background too"
    )


class VipTask(SavesMasks, Task[VipProtocol]):
    """VIP validation, mean intersection over union in percent."""

    name: ClassVar[str] = "vip"
    title: ClassVar[str] = "semantic part propagation, VIP val, mIoU"
    folder: ClassVar[str] = "VIP"
    metric: ClassVar[Metric] = Metric(key="mIoU", label="VIP mIoU", floor="first_mask mIoU")
    source: ClassVar[DataSource | None] = DataSource(
        url="https://storage.googleapis.com/representations4d/datasets/VIP.zip",
        archive="VIP.zip",
        homepage="https://sysu-hcp.net/lip/video_parsing.php",
        licence=(
            "VIP (Zhou et al., ACM MM 2018), published by its authors for research on human parsing; we know of no "
            "terms but those on its page. The archive is the copy that the authors of RVM publish for evaluation."
        ),
        inside="VIP",
    )

    def __init__(self, protocol: VipProtocol | None = None) -> None:
        self.protocol = protocol or VipProtocol()

    def open(self, data: Path, *, allow_missing: bool = False) -> Dataset:
        copy = self._read(data)
        in_official = sum(OFFICIAL_NAME.fullmatch(video.name) is not None for video in copy.videos)
        return copy.dataset(self, official=OFFICIAL_VIDEOS, in_official=in_official, allow_missing=allow_missing)

    def check(self, data: Path) -> list[str]:
        copy = self._read(data)
        return [*copy.lines(), *unofficial(copy.names)]

    def _read(self, data: Path) -> Copy:
        verify = functools.partial(verify_vip, classes=self.protocol.classes, ignored=self.protocol.ignored)
        return read_masked(data, SPLIT, verify)

    def measure(self, encoder: Encoder, video: MaskedVideo, tick: Callable[[], object] = lambda: None) -> Record:
        """Pixels by true and predicted class, of the propagated masks and of the first mask held still.

        Frames are read, encoded, propagated and scored one after the other: memory does not grow with the video.
        """
        input_hw, classes = self.protocol.input_hw, self.protocol.classes
        heat, label_ids, held_mask = self._first_labels(video, encoder.grid(*input_hw))
        propagated, held = np.zeros((2, classes, classes), dtype=np.int64)
        for t, soft in enumerate(soft_labels(encoder, video.frames, heat, self.protocol)):
            truth = read_labels(video.masks[t])
            mask = heat_to_mask(soft.cpu().numpy(), label_ids, input_hw, video.native_hw)
            if self.predictions is not None:
                write_labels(mask_file(self.predictions, video, t), mask)
            propagated += confusion(truth, mask, classes)
            held += confusion(truth, held_mask, classes)
            tick()
        return {"frames": video.length, "confusion": propagated.tolist(), "first_mask": held.tolist()}

    def score(self, records: Sequence[Record]) -> dict[str, float]:
        """Percent, from the sum of the matrices of all videos; `first_mask` is what holding frame 0's mask scores.

        Classes that are neither in the truth nor predicted have no "IoU class N" and are not in the mean.
        """
        miou, iou = mean_iou(_total(records, "confusion"))
        hold, _ = mean_iou(_total(records, "first_mask"))
        by_class = {f"IoU class {i}": 100 * float(iou[i]) for i in np.flatnonzero(~np.isnan(iou))}
        return {"mIoU": 100 * miou, "first_mask mIoU": 100 * hold, **by_class, "videos": len(records)}

    def estimate_seconds(self, encoder: Encoder, dataset: Dataset) -> float:
        video = dataset.videos[0]
        assert isinstance(video, MaskedVideo)
        heat, _, _ = self._first_labels(video, encoder.grid(*self.protocol.input_hw))
        return dataset.frames * seconds_per_frame(encoder, video.frames, heat, self.protocol)

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import vip
        from rvm_bench.demo.progress import write_with_progress

        write_with_progress(vip.write, folder)

    def overlay(self, folder: Path, video: MaskedVideo, record: Record, most: int) -> Overlay:
        """Frames with the share of pixels whose class is right; a record holds no frame by itself."""
        return mask_overlay(folder, video, most)

    def _first_labels(self, video: MaskedVideo, grid_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Soft labels of frame 0 on the grid [h, w, K], their ids [K], and the mask to hold [H, W].

        Ignored pixels have no channel: their cells vote for nothing, and 255 cannot be predicted. The mask to hold must
        say something there and says the lowest id, as an arg max over no votes does.
        """
        mask = read_labels(video.masks[0])
        heat, label_ids = mask_to_heat(mask, grid_hw, self.protocol.input_hw)
        known = label_ids != self.protocol.ignored
        heat, label_ids = np.ascontiguousarray(heat[..., known]), label_ids[known]
        return heat, label_ids, np.where(mask == self.protocol.ignored, label_ids[0], mask)


def _total(records: Sequence[Record], key: str) -> np.ndarray:
    """Sum of the records' matrices. In plain Python: several times faster than making arrays of nested lists."""
    rows_of_all = zip(*(record[key] for record in records), strict=True)
    return np.array([[sum(cells) for cells in zip(*rows, strict=True)] for rows in rows_of_all])
