"""Recipes of pre-training, each a function that states its cost and what to expect, found by name.

Costs are those of `rvm_bench.rvm.train.cost`: FLOPs by formula, and hours of one H100 at 40 % of its peak, which is an
assumption. What to expect is the paper's; none of it was reproduced here. What the paper does not publish is marked
"ours" at its field.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from rvm_bench.api.overrides import check_choices
from rvm_bench.errors import UserError, unknown_name
from rvm_bench.rvm.checkpoint import SIZES, RVMConfig
from rvm_bench.rvm.masking import MASK_RATIO
from rvm_bench.rvm.train.data.sampling import SampleConfig


def _from(source: str, default: Any = dataclasses.MISSING) -> Any:
    """A field of a recipe: where its value comes from, and its value unless the recipe says."""
    return dataclasses.field(default=default, metadata={"source": source})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a training computes; what it runs on is not part of it.

    Attributes:
        name: of the function that makes it.
        model: the sizes of the network.
        aggregator: "rnn", or "self_attention" (`rvm_bench.rvm.torch.joint`; torch only).
        steps: updates.
        batch: clips of an update, over all devices.
        source_frames: consecutive frames that the model sees in full.
        targets: frames to reconstruct, each drawn by itself.
        delta_min, delta_max: frames from the last source to a target, both ends included.
        clip_frames: frames of a training clip.
        mask_ratio: share of a target's patches that is hidden.
        size_px: side of the square frames.
        learning_rate: the peak.
        final_rate: where the cosine ends.
        warmup_steps: from a rate of 0 to the peak.
        weight_decay: of AdamW, times the learning rate; on kernels only, not on biases, scales, and the CLS and mask
            tokens.
        beta1, beta2, eps: of AdamW.
        clip_norm: above which the norm of all gradients together is scaled down.
        dtype: of the matrix products; weights, moments, residual streams, softmax and loss are float32.
        crop_per: whether each frame of a clip is cropped by itself, or all alike.
        crop_area: the least area of a crop, in shares of the frame's.
        mixture: the data, where `--data` names no other: "paper", that of Table 4, has to be named; "procedural" needs
            none.
        start: how weights start, see `rvm_bench.rvm.train.initial`; "contents" was measured on `rvm_demo` alone.
        seed: of the initial weights, the order of the data, the targets and the masks.
    """

    name: str
    model: RVMConfig = dataclasses.field(metadata={"source": "paper Tables 5 and 6; rvm_bench.rvm.checkpoint.SIZES"})
    aggregator: Literal["rnn", "self_attention"] = _from("paper section 3.2; the other one, Table 3b", "rnn")
    steps: int = _from("paper section 4.1: 1M, 250k for ablations; Table 3c; H: section 8")
    batch: int = _from("paper section 4.1", 2048)
    source_frames: int = _from("paper section 4.1; 1 and 2: Table 3a", 4)
    targets: int = _from("paper section 4.1", 4)
    delta_min: int = _from("paper sections 3, 4.1 and 7", 4)
    delta_max: int = _from("paper sections 3, 4.1 and 7", 48)
    clip_frames: int = _from("paper sections 4.1 and 7", 64)
    mask_ratio: float = _from("paper section 3.1", MASK_RATIO)
    size_px: int = _from("paper section 4.1", 256)
    learning_rate: float = _from("ours: MAE's 1.5e-4 per 256 examples (arXiv 2111.06377, Table 8)", 1.2e-3)
    final_rate: float = _from("ours: the paper says cosine decay, not to what", 0.0)
    warmup_steps: int = _from("ours: 2.5 % of the steps; of 1M, MAE's 40 epochs in examples (its Table 8)")
    weight_decay: float = _from("ours: MAE's (arXiv 2111.06377, Table 8)", 0.05)
    beta1: float = _from("ours: MAE's (arXiv 2111.06377, Table 8)", 0.9)
    beta2: float = _from("ours: MAE's (arXiv 2111.06377, Table 8)", 0.95)
    eps: float = _from("ours: the default of torch and optax", 1e-8)
    clip_norm: float = _from("ours: 1, as transformers are commonly trained; the paper does not mention clipping", 1.0)
    dtype: Literal["float32", "bfloat16"] = _from("paper section 4.1", "bfloat16")
    crop_per: Literal["frame", "clip"] = _from("paper section 7", "frame")
    crop_area: float = _from("paper section 7", 0.3)
    mixture: Literal["paper", "procedural"] = _from("paper section 7, Table 4", "paper")
    start: Literal["xavier", "contents"] = _from("ours: the paper does not say how weights start", "xavier")
    seed: int = _from("ours", 0)

    def __post_init__(self) -> None:
        for field in ("steps", "batch"):
            if getattr(self, field) < 1:
                raise UserError(f"{field} is {getattr(self, field)}; it must be at least 1")
        if not 0 <= self.warmup_steps < self.steps:
            raise UserError(f"warmup_steps is {self.warmup_steps} of {self.steps} steps; expected 0 <= it < steps")
        check_choices(self)
        if self.delta_max >= self.model.delta_bins:
            raise UserError(
                f"delta_max is {self.delta_max}; expected below {self.model.delta_bins}, the model's delta_bins"
            )
        self.samples()

    def samples(self) -> SampleConfig:
        """How its samples are drawn; UserError where they cannot be."""
        return SampleConfig(
            seed=self.seed,
            size_px=self.size_px,
            patch_px=self.model.patch,
            clip_frames=self.clip_frames,
            source_frames=self.source_frames,
            targets=self.targets,
            delta_min=self.delta_min,
            delta_max=self.delta_max,
            mask_ratio=self.mask_ratio,
            crop_per=self.crop_per,
            crop_area=self.crop_area,
        )

    def with_steps(self, steps: int) -> "Recipe":
        """The recipe with another number of updates, and the warm-up in proportion."""
        return dataclasses.replace(self, steps=steps, warmup_steps=self.warmup_steps * steps // self.steps)

    @property
    def patches(self) -> int:
        """Patches of a frame."""
        return (self.size_px // self.model.patch) ** 2

    @classmethod
    def sources(cls) -> dict[str, str]:
        """Where each value comes from, by field."""
        return {f.name: f.metadata["source"] for f in dataclasses.fields(cls) if "source" in f.metadata}


def rvm_s() -> Recipe:
    """RVM-S as released, which is also the largest data size of Table 3c.

    Cost: 1.05e21 FLOPs, 737 H100 hours.
    Expect (paper Table 2): SSv2 59.7, Kinetics 49.6, Waymo 70.5, Perception Test 76.5, ScanNet 0.97, DAVIS 62.9,
    JHMDB 47.5, VIP 35.9. Table 3c prints for the same 2B examples SSv2 57.2, Kinetics 47.7, ScanNet 1.20.
    """
    return _released("rvm_s", "rvm-s")


def rvm_b() -> Recipe:
    """RVM-B as released.

    Cost: 2.32e21 FLOPs, 1,630 H100 hours.
    Expect (paper Table 2): SSv2 61.4, Kinetics 53.1, Waymo 71.1, Perception Test 74.5, ScanNet 1.08, DAVIS 63.9,
    JHMDB 49.4, VIP 35.8.
    """
    return _released("rvm_b", "rvm-b")


def rvm_l() -> Recipe:
    """RVM-L as released.

    Cost: 5.71e21 FLOPs, 4,010 H100 hours.
    Expect (paper Table 1): SSv2 66.7, Kinetics 57.3, Waymo 73.2, Perception Test 77.3, ScanNet 0.91, DAVIS 66.0,
    JHMDB 48.4, VIP 38.0.
    """
    return _released("rvm_l", "rvm-l")


def rvm_h() -> Recipe:
    """RVM-H as released. Section 8 says 4B steps; at 2048 clips a step only 4B examples, 2M steps, can be meant.

    Cost: 2.14e22 FLOPs, 15,000 H100 hours.
    Expect (paper Table 1): SSv2 68.7, Kinetics 60.0, Waymo 74.2, Perception Test 78.3, ScanNet 0.89, DAVIS 65.6,
    JHMDB 45.6, VIP 37.3.
    """
    return _released("rvm_h", "rvm-h", steps=2_000_000)


def rvm_s_500m() -> Recipe:
    """What the ablations of Table 3 vary: RVM-S with the core and 4 sources, on 500M examples.

    Cost: 2.63e20 FLOPs, 184 H100 hours.
    Expect (paper Table 3): SSv2 52.34, Kinetics 39.72, ScanNet 1.50.
    """
    return _ablation("rvm_s_500m")


def rvm_s_1_frame() -> Recipe:
    """Table 3a with one source frame: SiamMAE's setting with RVM's core.

    Cost: 1.44e20 FLOPs, 101 H100 hours.
    Expect (paper Table 3a): SSv2 41.02, Kinetics 39.28, ScanNet 1.596.
    """
    return _ablation("rvm_s_1_frame", source_frames=1)


def rvm_s_2_frames() -> Recipe:
    """Table 3a with two source frames.

    Cost: 1.84e20 FLOPs, 129 H100 hours.
    Expect (paper Table 3a): SSv2 47.23, Kinetics 39.02, ScanNet 1.62.
    """
    return _ablation("rvm_s_2_frames", source_frames=2)


def rvm_s_self_attention() -> Recipe:
    """Table 3b: self-attention over the tokens of all sources instead of the core. Torch only.

    The paper describes it in a paragraph (section 9); `rvm_bench.rvm.torch.joint` says what in it is ours, among that
    the MLP of the added blocks, 3072 wide, by which their parameters match the core's.

    Cost: 2.92e20 FLOPs, 205 H100 hours.
    Expect (paper Table 3b): SSv2 49.1, Kinetics 39.6, ScanNet 1.505.
    """
    model = dataclasses.replace(SIZES["rvm-s"], core_mlp=3072)
    return _ablation("rvm_s_self_attention", model=model, aggregator="self_attention")


def rvm_s_250m() -> Recipe:
    """Table 3c on 250M examples.

    Cost: 1.31e20 FLOPs, 92 H100 hours.
    Expect (paper Table 3c): SSv2 46.38, Kinetics 33.84, ScanNet 1.75.
    """
    return _ablation("rvm_s_250m", steps=125_000)


def rvm_s_1b() -> Recipe:
    """Table 3c on 1B examples.

    Cost: 5.25e20 FLOPs, 369 H100 hours.
    Expect (paper Table 3c): SSv2 55.09, Kinetics 44.33, ScanNet 1.32.
    """
    return _ablation("rvm_s_1b", steps=500_000)


def rvm_demo() -> Recipe:
    """A model of 1.9 M parameters that two CPU cores train on procedural clips; every value is ours.

    128 px in patches of 16 are 64 patches, of which 16 are visible; at 95 % only 3 would be. Clips are cropped as a
    whole and closer, and targets are nearer, so that what moves is seen to move. Products are float32: bfloat16 is
    slower on most CPUs. It is short on purpose: docs/training.md says what more steps do to features this narrow.

    Cost: 9.68e13 FLOPs, 0.000068 H100 hours. On a CPU core a step takes about 1.2 s, a third of which paints the clips.
    Expect (ours, one run): loss 0.019; DAVIS, JHMDB and VIP demo 54.3, 19.3 and 22.4 (raw pixels 52.6, 10.3 and 20.9),
    five real DAVIS sequences 44.8 (raw pixels 25.6).
    """
    return Recipe(
        name="rvm_demo",
        model=SIZES["rvm-demo"],
        steps=1_600,
        batch=16,
        delta_min=2,
        delta_max=24,
        size_px=128,
        mask_ratio=0.75,
        crop_per="clip",
        crop_area=0.1,
        learning_rate=5e-4,
        warmup_steps=40,
        dtype="float32",
        mixture="procedural",
        start="contents",
    )


def _released(name: str, size: str, steps: int = 1_000_000, **changes: Any) -> Recipe:
    values: dict[str, Any] = {"model": SIZES[size], "warmup_steps": steps // 40, **changes}
    return Recipe(name=name, steps=steps, **values)


def _ablation(name: str, steps: int = 250_000, **changes: Any) -> Recipe:
    """RVM-S with the schedule scaled to the steps, as section 4.3 scales it."""
    return _released(name, "rvm-s", steps, **changes)


RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        rvm_s,
        rvm_b,
        rvm_l,
        rvm_h,
        rvm_s_500m,
        rvm_s_1_frame,
        rvm_s_2_frames,
        rvm_s_self_attention,
        rvm_s_250m,
        rvm_s_1b,
        rvm_demo,
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        UserError: an unknown name; the nearest are offered.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]()
