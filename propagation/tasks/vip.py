"""VIP (Video Instance-level Parsing) semantic part propagation, scored by mIoU.

The class labels of frame 0 are propagated through the annotated frames; mIoU comes from one confusion matrix over all
pixels of all videos.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from propagation.datasets.sequences import VOID, MaskedVideo
from propagation.datasets.split import VerifiedSplit
from propagation.datasets.vip import CLASSES, read_vip
from propagation.labels import heat_to_mask, mask_to_heat
from propagation.metrics import confusion, mean_iou
from propagation.predictions import mask_overlay
from propagation.tasks.base import PropagationTask, soft_labels
from propagation.tasks.protocol import NOTEBOOK, PropagationProtocol
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overlay import Overlay
from rvm_bench.api.task import DataSource, Metric, Record, constant
from rvm_bench.media.images import read_labels, write_labels
from rvm_bench.runs.predictions import mask_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class VipProtocol(PropagationProtocol):
    """The protocol of the paper's VIP column."""

    id: str = "vip-val/1"
    input_height_px: int = constant(448, "paper Table 8", low=1)
    input_width_px: int = constant(880, "paper Table 8; the aspect ratio is not kept", low=1)
    topk: int = constant(10, "paper Table 8", low=1)
    classes: Literal[20] = constant(CLASSES, "ATEN evaluate/test_parsing.py: 19 parts and garments, and the background")
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


class VipTask(PropagationTask[VipProtocol]):
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

    def read(self, data: Path) -> VerifiedSplit:
        return read_vip(data)

    def measure(self, encoder: Encoder, video: MaskedVideo, tick: Callable[[], object] = lambda: None) -> Record:
        """Confusion matrices over the video's pixels, of the propagated masks and of the first mask held still."""
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
        """In percent, from the sum of the matrices of all videos; `first_mask` scores the mask of frame 0 held still.

        Classes that are neither in the truth nor predicted have no "IoU class N" and are not in the mean.
        """
        miou, iou = mean_iou(_total(records, "confusion"))
        hold, _ = mean_iou(_total(records, "first_mask"))
        by_class = {f"IoU class {i}": 100 * float(iou[i]) for i in np.flatnonzero(~np.isnan(iou))}
        return {"mIoU": 100 * miou, "first_mask mIoU": 100 * hold, **by_class, "videos": len(records)}

    def first_heat(self, encoder: Encoder, video: MaskedVideo) -> np.ndarray:
        return self._first_labels(video, encoder.grid(*self.protocol.input_hw))[0]

    def prediction_files(self, folder: Path, video: MaskedVideo) -> list[Path]:
        return [mask_file(folder, video, t) for t in range(video.length)]

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import vip
        from rvm_bench.demo.progress import write_with_progress

        write_with_progress(vip.write, folder)

    def overlay(self, folder: Path, video: MaskedVideo, record: Record, most: int) -> Overlay:
        """Frames with the share of pixels whose class is right: a record has no score per frame."""
        return mask_overlay(folder, video, most, task=self.name)

    def _first_labels(self, video: MaskedVideo, grid_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Soft labels of frame 0 on the grid [h, w, K], their ids [K], and the mask to hold still [H, W].

        Ignored pixels have no channel, so their cells have no label and 255 is never predicted. In the mask to hold
        they get the lowest id, which is also the arg max over channels that are all 0.
        """
        mask = read_labels(video.masks[0])
        heat, label_ids = mask_to_heat(mask, grid_hw, self.protocol.input_hw)
        known = label_ids != self.protocol.ignored
        heat, label_ids = np.ascontiguousarray(heat[..., known]), label_ids[known]
        return heat, label_ids, np.where(mask == self.protocol.ignored, label_ids[0], mask)


def _total(records: Sequence[Record], key: str) -> np.ndarray:
    """Sum of the records' matrices, in plain Python: several times faster than converting nested lists to arrays."""
    rows_of_all = zip(*(record[key] for record in records), strict=True)
    return np.array([[sum(cells) for cells in zip(*rows, strict=True)] for rows in rows_of_all])
