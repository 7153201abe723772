"""How training samples are drawn from clips: the constants, without the data."""

from dataclasses import dataclass
from typing import Literal

from rvm_bench.errors import UserError
from rvm_bench.rvm.masking import MASK_RATIO, visible_count


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How samples are drawn. Defaults: paper, sections 3.1 and 4.1, and supplement, section 7.

    Attributes:
        seed: of everything.
        size_px: side of the frames. patch_px: of the model's patches.
        clip_frames: of a clip at its source's rate. source_frames: the first of them, which the model sees in full.
        targets: frames to reconstruct, each drawn by itself, uniformly.
        delta_min, delta_max: frames from the last source to a target, both ends included.
        mask_ratio: share of a target's patches that is hidden.
        crop_per: whether each frame of a clip is cropped by itself, as in the paper, or all alike.
        crop_area: the least area of a crop, in shares of the frame's.
    """

    seed: int = 0
    size_px: int = 256
    patch_px: int = 16
    clip_frames: int = 64
    source_frames: int = 4
    targets: int = 4
    delta_min: int = 4
    delta_max: int = 48
    mask_ratio: float = MASK_RATIO
    crop_per: Literal["frame", "clip"] = "frame"
    crop_area: float = 0.3

    def __post_init__(self) -> None:
        for name in ("size_px", "patch_px", "clip_frames", "source_frames", "targets", "delta_min"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}; it must be at least 0")
        if not self.delta_min <= self.delta_max <= self.clip_frames - self.source_frames:
            raise UserError(
                f"targets are {self.delta_min} to {self.delta_max} frames after the last of {self.source_frames} "
                f"sources; expected a range that fits in {self.clip_frames} frames"
            )
        if self.size_px % self.patch_px:
            raise UserError(f"size_px is {self.size_px}; expected a multiple of the patch, {self.patch_px}")
        if not 0 <= self.mask_ratio < 1 or not visible_count(self.grid**2, self.mask_ratio):
            raise UserError(
                f"mask_ratio is {self.mask_ratio}; of {self.grid**2} patches at least one must stay visible"
            )
        if self.crop_per not in ("frame", "clip"):
            raise UserError(f"crop_per is {self.crop_per!r}; expected frame or clip")
        if not 0 < self.crop_area <= 1:
            raise UserError(f"crop_area is {self.crop_area}; expected a share of the frame above 0, at most 1")

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.size_px // self.patch_px
