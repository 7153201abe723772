"""Training samples: four sources and four masked targets of one clip, drawn from a mixture by number.

A sample follows from (seed, number) alone, so neither worker processes, nor hosts, nor a resume change what is seen.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypedDict

import numpy as np

from rvm_bench.errors import DamagedFile, UserError
from rvm_bench.rvm.masking import draw
from rvm_bench.rvm.train.data.augment import augment
from rvm_bench.rvm.train.data.sampling import SampleConfig
from rvm_bench.rvm.train.data.sources import Source, digest, open_source
from rvm_bench.rvm.train.data.timing import clip_at_rate

RESERVES = 16
"""How often a sample is drawn again before its damaged files are an error, whatever the limit."""


class TrainingSample(TypedDict):
    """`source` uint8 [4, S, S, 3] and `target` uint8 [4, S, S, 3], RGB; `deltas` int32 [4], frames from the last source
    to each target; `inds_restore` int32 [4, N], a mask for each target (see `rvm_bench.rvm.masking`)."""

    source: np.ndarray
    target: np.ndarray
    deltas: np.ndarray
    inds_restore: np.ndarray


class Mixture:
    """Sources that samples are drawn from: first the source by its weight, then one of its videos, all alike, with
    replacement.

    Raises:
        UserError: there is no source, or one is not there or empty.
    """

    def __init__(self, sources: Sequence[Source], config: SampleConfig) -> None:
        if not sources:
            raise UserError("a mixture needs at least one source; the procedural one needs no data")
        self.sources, self.config = tuple(sources), config
        self._clips = [open_source(source, config.size_px) for source in sources]
        weights = np.array([source.weight for source in sources])
        self._ends = np.cumsum(weights / weights.sum())

    def describe(self) -> dict[str, Any]:
        """All that decides what a sample holds, as JSON values; folders do not, names of files do."""
        sources = [
            {"kind": s.kind, "fps": s.fps, "weight": s.weight, "count": len(clips), "digest": digest(clips)}
            for s, clips in zip(self.sources, self._clips, strict=True)
        ]
        return {"config": asdict(self.config), "sources": sources}

    def source_of(self, number: int, attempt: int = 0) -> Source:
        """The source that a sample is drawn from."""
        return self.sources[self._chosen(self._rng(number, attempt))]

    def sample(self, number: int, attempt: int = 0) -> TrainingSample:
        """Sample `number`; from `attempt` 1 on, the samples of its own reserve.

        The clip starts anywhere in the video where it fits. A video shorter than a clip is shown from its start, and
        targets are drawn from as much as there is of it; nothing is repeated at the end.

        Raises:
            DamagedFile: the video cannot be read, or holds too few frames at its source's rate.
        """
        config, rng = self.config, self._rng(number, attempt)
        chosen = self._chosen(rng)
        source, clips = self.sources[chosen], self._clips[chosen]
        index, share = int(rng.integers(len(clips))), float(rng.random())
        clip = clips.clip(index)
        numbers = clip_at_rate(clip.times_s, source.fps, config.clip_frames, share)
        furthest = min(config.delta_max, len(numbers) - config.source_frames)
        if furthest < config.delta_min:
            rate = "" if source.fps is None else f" at {source.fps:g} a second"
            raise DamagedFile(
                f"{clip.name} has {len(numbers)} frames{rate}; expected at least "
                f"{config.source_frames + config.delta_min}, take it out of {source.name}"
            )
        deltas = rng.integers(config.delta_min, furthest + 1, config.targets).astype(np.int32)
        places = np.concatenate([np.arange(config.source_frames), config.source_frames - 1 + deltas])
        distinct, back = np.unique(numbers[places], return_inverse=True)
        frames = augment(
            clip.read(distinct)[back],
            config.size_px,
            rng,
            crop_per=config.crop_per,
            least_area=config.crop_area,
        )
        inds_restore, _ = draw(
            (config.grid, config.grid),
            seed=int(rng.integers(2**63)),
            targets=config.targets,
            shared=False,
            ratio=config.mask_ratio,
        )
        return TrainingSample(
            source=frames[: config.source_frames],
            target=frames[config.source_frames :],
            deltas=deltas,
            inds_restore=inds_restore[0].astype(np.int32),
        )

    def readable_sample(self, number: int) -> tuple[TrainingSample, list[str]]:
        """Sample `number`, or where its file is damaged the first of its reserve that can be read; and why each one
        before was left out.

        Raises:
            UserError: `RESERVES` draws after the first cannot be read either.
        """
        left_out: list[str] = []
        for attempt in range(1 + RESERVES):
            try:
                return self.sample(number, attempt), left_out
            except DamagedFile as error:
                left_out.append(str(error))
        raise UserError(
            f"{len(left_out)} draws in a row could not be read for sample {number} of the training data; the first: "
            f"{left_out[0]}"
        )

    def _rng(self, number: int, attempt: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, number, attempt])

    def _chosen(self, rng: np.random.Generator) -> int:
        return min(int(np.searchsorted(self._ends, rng.random(), side="right")), len(self.sources) - 1)
