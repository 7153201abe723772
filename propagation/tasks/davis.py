"""DAVIS-2017 video object segmentation: the masks of frame 0 are propagated through the video, scored by J&F.

J is the intersection over union of an object's mask, F the boundary measure; J&F is their mean over all objects of all
videos.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from propagation.datasets.davis import read_davis
from propagation.datasets.sequences import VOID, MaskedVideo
from propagation.datasets.split import VerifiedSplit
from propagation.labels import heat_to_mask, mask_to_hard_heat, mask_to_heat, resize_mask
from propagation.metrics import boundary_f_measure, region_similarity
from propagation.predictions import mask_overlay
from propagation.tasks.base import PropagationTask, soft_labels
from propagation.tasks.protocol import NOTEBOOK, PropagationProtocol
from rvm_bench.api.encoder import Encoder
from rvm_bench.api.overlay import Overlay
from rvm_bench.api.task import DataSource, Metric, Record, constant
from rvm_bench.errors import UserError
from rvm_bench.media.images import read_labels, write_labels
from rvm_bench.runs.predictions import mask_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class DavisProtocol(PropagationProtocol):
    """The protocol of the paper's DAVIS column; `dino` is that of DINO.

    Attributes whose values need an explanation:
        size_rule: "fixed": every video is input_height_px x input_width_px. "short-side": the short side is
            input_height_px, the long side keeps the aspect ratio, rounded down to a multiple of 64 px (at least 64);
            input_width_px is not used.
        label_init: "bilinear": the mask goes to the input size by nearest neighbour and its channels to the grid by
            bilinear interpolation. "nearest": the mask goes to the grid by nearest neighbour; one id per cell.
        upsample: the soft map is enlarged to the "input" size, or by the "patch" size (the same where it divides).
        norm_mask: whether each channel is stretched to 0..1 over the frame before the arg max.
        resolution: J and F at the "native" size, or at the "input" size with the true masks brought there by nearest
            neighbour, as in the evaluations of SiamMAE and CropMAE.
    """

    id: str = "davis-2017-val/1"
    input_height_px: int = constant(480, "paper Table 8", low=1)
    input_width_px: int = constant(880, "paper Table 8; the aspect ratio is not kept", low=1)
    size_rule: Literal["fixed", "short-side"] = constant("fixed", "paper Table 8; DINO: short-side, 480x832 for 480p")
    label_init: Literal["bilinear", "nearest"] = constant("bilinear", f"{NOTEBOOK}: mask2heatmap; DINO: nearest")
    upsample: Literal["input", "patch"] = constant("input", f"{NOTEBOOK}: cv2.resize to 480x880; DINO: patch")
    norm_mask: bool = constant(False, f"{NOTEBOOK}: norm_mask=False; DINO: True, on the enlarged map")
    frames_scored: Literal["1..T-2"] = constant(
        "1..T-2", "davis2017-evaluation: the first and the last frame are left out"
    )
    resolution: Literal["native", "input"] = constant(
        "native", "paper section 11.2; SiamMAE and CropMAE score at 480x880 instead: input"
    )
    boundary_tolerance: float = constant(0.008, "davis2017-evaluation: share of the image diagonal, rounded up")
    average: Literal["objects"] = constant("objects", "davis2017-evaluation: plain mean over all objects of all videos")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.boundary_tolerance > 0:
            raise UserError(f"boundary_tolerance={self.boundary_tolerance}: expected above 0")

    @classmethod
    def dino(cls) -> "DavisProtocol":
        """DINO's DAVIS protocol, for comparison with papers that follow it.

        Source: facebookresearch/dino, `eval_video_segmentation.py` with its defaults; J&F by davis2017-evaluation. The
        box of 25 x 25 cells is a Chebyshev distance below 13. Two differences from the script: pixels are normalised as
        the encoder's card says (the script's red standard deviation is 0.228, not 0.229), and frames are decoded by
        Pillow, not OpenCV.

        Cost: less than half of the official protocol's propagation (8 context frames for 21, 30 x 52 cells for 30 x 55
        at patch 16); the encoder sees 5 % fewer pixels. No published number has been reproduced with it yet.
        """
        return cls(
            id="davis-2017-val-dino/1",
            resize="bilinear-uint8",
            size_rule="short-side",
            topk=5,
            temperature=0.1,
            n_context=7,
            radius=13,
            distance="chebyshev",
            exempt_first=False,
            fill="empty",
            keep_ties=True,
            first_from="given",
            label_init="nearest",
            upsample="patch",
            norm_mask=True,
        )

    def input_size(self, native_hw: tuple[int, int]) -> tuple[int, int]:
        if self.size_rule == "fixed":
            return self.input_hw
        short, (height, width) = self.input_height_px, native_hw
        long = max(64, short * max(native_hw) // min(native_hw) // 64 * 64)
        return (long, short) if height > width else (short, long)

    def scored_size(self, native_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width in pixels at which J and F are measured, for a video of this native size."""
        return native_hw if self.resolution == "native" else self.input_size(native_hw)


class DavisTask(PropagationTask[DavisProtocol]):
    """DAVIS-2017 validation, J&F in percent."""

    name: ClassVar[str] = "davis"
    title: ClassVar[str] = "video object segmentation, DAVIS-2017 val, J&F"
    folder: ClassVar[str] = "DAVIS"
    metric: ClassVar[Metric] = Metric(key="J&F", label="DAVIS J&F", floor="first_mask J&F")
    presets: ClassVar[Mapping[str, Callable[[], Any]]] = {"dino": DavisProtocol.dino}
    source: ClassVar[DataSource | None] = DataSource(
        url="https://data.vision.ee.ethz.ch/csergi/share/davis/DAVIS-2017-trainval-480p.zip",
        archive="DAVIS-2017-trainval-480p.zip",
        homepage="https://davischallenge.org/davis2017/code.html",
        licence=(
            "DAVIS 2017 (Pont-Tuset et al., arXiv:1704.00675), for non-commercial research; "
            "read the home page before any other use."
        ),
        inside="DAVIS",
    )

    def __init__(self, protocol: DavisProtocol | None = None) -> None:
        self.protocol = protocol or DavisProtocol()

    def read(self, data: Path) -> VerifiedSplit:
        return read_davis(data)

    def measure(self, encoder: Encoder, video: MaskedVideo, tick: Callable[[], object] = lambda: None) -> Record:
        """J and F per object and frame, of the propagated masks and of the first mask held still."""
        propagated_TOM, held_TOM = self.frame_scores(encoder, video, range(1, video.length - 1), tick)
        return {
            "frames": video.length,
            "objects": [
                {"id": i, "J": float(j.mean()), "F": float(f.mean()), "J_frames": j.tolist(), "F_frames": f.tolist()}
                for i, (j, f) in enumerate(propagated_TOM.transpose(1, 2, 0), 1)
            ],
            "first_mask": [{"id": i, "J": j, "F": f} for i, (j, f) in enumerate(held_TOM.mean(axis=0).tolist(), 1)],
        }

    def frame_scores(
        self, encoder: Encoder, video: MaskedVideo, scored: range, tick: Callable[[], object]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(J, F) of objects 1..n in each scored frame, float64 [frames, n, 2]: propagated, and first mask held."""
        heat, label_ids = self._first_labels(encoder, video)
        scored_hw = self.protocol.scored_size(video.native_hw)
        mask_at = functools.partial(
            heat_to_mask,
            label_ids=label_ids,
            input_hw=self._enlarged_size(encoder, video),
            norm_mask=self.protocol.norm_mask,
        )
        first_mask = read_mask(video.masks[0], scored_hw)
        propagated, held = [], []
        for t, soft in enumerate(soft_labels(encoder, video.frames, heat, self.protocol)):
            soft_hwK = soft.cpu().numpy()
            if self.predictions is not None:
                write_labels(mask_file(self.predictions, video, t), mask_at(soft_hwK, native_hw=video.native_hw))
            if t in scored:
                truth = read_mask(video.masks[t], scored_hw)
                propagated.append(self._j_and_f(truth, mask_at(soft_hwK, native_hw=scored_hw), video.objects))
                held.append(self._j_and_f(truth, first_mask, video.objects))
            tick()
        return np.stack(propagated), np.stack(held)

    def score(self, records: Sequence[Record]) -> dict[str, float]:
        """In percent, a plain mean over all objects of all videos; `first_mask` scores frame 0's mask held still."""
        j, f = (100 * np.mean([o[key] for r in records for o in r["objects"]]) for key in "JF")
        hold_j, hold_f = (100 * np.mean([o[key] for r in records for o in r["first_mask"]]) for key in "JF")
        return {
            "J&F": float((j + f) / 2),
            "J": float(j),
            "F": float(f),
            "first_mask J&F": float((hold_j + hold_f) / 2),
            "objects": sum(len(r["objects"]) for r in records),
        }

    def first_heat(self, encoder: Encoder, video: MaskedVideo) -> np.ndarray:
        return self._first_labels(encoder, video)[0]

    def prediction_files(self, folder: Path, video: MaskedVideo) -> list[Path]:
        return [mask_file(folder, video, t) for t in range(video.length)]

    def write_demo(self, folder: Path) -> None:
        from rvm_bench.demo import davis
        from rvm_bench.demo.progress import write_with_progress

        write_with_progress(davis.write, folder)

    def overlay(self, folder: Path, video: MaskedVideo, record: Record, most: int) -> Overlay:
        return mask_overlay(folder, video, most, task=self.name, text=lambda t: self._frame_text(record, t))

    def _frame_text(self, record: Record, t: int) -> str:
        """J&F of frame `t`, as text."""
        objects = record["objects"]
        if not 0 < t <= len(objects[0]["J_frames"]):
            return "not scored"
        j, f = (100 * float(np.mean([o[f"{key}_frames"][t - 1] for o in objects])) for key in "JF")
        return jf_text(j, f)

    def _first_labels(self, encoder: Encoder, video: MaskedVideo) -> tuple[np.ndarray, np.ndarray]:
        """Labels of frame 0 on the encoder's grid [h, w, K], and their ids [K]."""
        mask, input_hw = read_mask(video.masks[0], video.native_hw), self.protocol.input_size(video.native_hw)
        if self.protocol.label_init == "nearest":
            return mask_to_hard_heat(mask, encoder.grid(*input_hw))
        return mask_to_heat(mask, encoder.grid(*input_hw), input_hw)

    def _enlarged_size(self, encoder: Encoder, video: MaskedVideo) -> tuple[int, int]:
        """Height and width in pixels of the soft map when the arg max is taken."""
        input_hw = self.protocol.input_size(video.native_hw)
        if self.protocol.upsample == "input":
            return input_hw
        h, w = encoder.grid(*input_hw)
        return h * encoder.card.patch, w * encoder.card.patch

    def _j_and_f(self, truth: np.ndarray, mask: np.ndarray, objects: int) -> np.ndarray:
        """[n, 2]: J and F of one frame for objects 1..n; 1 where both masks lack the object, as in the evaluator."""
        ids = np.arange(1, objects + 1)[:, None, None]
        gt_OHW, pred_OHW = truth == ids, mask == ids
        f = boundary_f_measure(gt_OHW, pred_OHW, tolerance=self.protocol.boundary_tolerance)
        return np.stack([region_similarity(gt_OHW, pred_OHW), f], axis=1)


def jf_text(j: float, f: float) -> str:
    """J and F in percent, as they are written below a frame."""
    return f"J&F {(j + f) / 2:.1f} % (J {j:.1f}, F {f:.1f})"


def read_mask(file: Path, size_hw: tuple[int, int]) -> np.ndarray:
    """Object ids at a size, uint8 [H, W]; void counts as background, as in davis2017-evaluation."""
    mask = read_labels(file)
    mask = np.where(mask == VOID, 0, mask).astype(np.uint8)
    return mask if mask.shape == size_hw else resize_mask(mask, size_hw)
