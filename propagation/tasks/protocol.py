"""The constants that the propagation tasks share, each with its source."""

import dataclasses
from typing import Literal

from propagation.knn.rules import Rules
from rvm_bench.api.task import Protocol, constant

NOTEBOOK = "official evaluation notebook (representations4d, rvm_evaluation_demo)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PropagationProtocol(Protocol):
    """The constants that the propagation tasks of the paper have in common.

    Where the paper and the released notebook differ, the notebook is followed, since the published numbers were made
    with it. Constants from `distance` on are options of `propagation.knn.rules.Rules`, in which other code differs.

    Raises:
        UserError: a value out of range, or an unknown option.
    """

    input_height_px: int
    input_width_px: int
    resize: Literal["lanczos-uint8", "bilinear-uint8"] = constant(
        "lanczos-uint8", f"{NOTEBOOK}: mediapy.resize_video on uint8 frames; DINO: bilinear"
    )
    topk: int = constant(7, "paper Table 8", low=1)
    temperature: float = constant(0.7, "paper Table 8; softmax after the top-k, as in the notebook")
    n_context: int = constant(
        20, "paper Table 8; beside frame 0, and the queue starts as 20 copies of it (notebook)", low=0
    )
    radius: float = constant(
        20, "paper Table 8; Euclidean distance in cells, strictly less, not for frame 0 (notebook)"
    )
    normalize: bool = constant(True, f"{NOTEBOOK}: L2 per token, float32, before propagation")

    distance: Literal["euclidean", "chebyshev"] = constant("euclidean", f"{NOTEBOOK}; DINO: a box, chebyshev")
    exempt_first: bool = constant(True, f"{NOTEBOOK}: the radius is not applied to frame 0; DINO: it is")
    fill: Literal["first", "empty"] = constant("first", f"{NOTEBOOK}: n_context copies of frame 0; DINO: empty")
    keep_ties: bool = constant(False, f"{NOTEBOOK}: torch.topk selects exactly topk; DINO: also all equal to the last")
    first_from: Literal["propagated", "given"] = constant(
        "propagated", f"{NOTEBOOK}: frame 0 is propagated from itself; DINO, videowalk: given"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # Constructed for its checks: radius and temperature must be above 0, a bound that `constant` cannot express.
        _ = self.rules

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width in pixels of the encoder's input, where it is the same for every video."""
        return self.input_height_px, self.input_width_px

    def input_size(self, native_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width in pixels of the encoder's input for a video of this native size."""
        return self.input_hw

    @property
    def rules(self) -> Rules:
        """The parameters of `propagation.knn`."""
        return Rules(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Rules)})
