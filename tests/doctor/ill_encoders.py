"""Encoders with one mistake each, the check that must find it, and those that it may upset as well."""

import numpy as np
import torch
from healthy_encoders import Clip, D, Image, P, Recurrent, card
from torch import nn


class GridWidthFirst(Image):
    def forward_frames(self, frames):
        return super().forward_frames(frames).transpose(1, 2)


class GridReadByColumns(Image):
    def forward_frames(self, frames):
        maps = super().forward_frames(frames)
        return maps.transpose(1, 2).reshape(maps.shape)


class GridUpsideDown(Image):
    def forward_frames(self, frames):
        return super().forward_frames(frames).flip(1)


class GridMirrored(Image):
    def forward_frames(self, frames):
        return super().forward_frames(frames).flip(2)


class GridShiftedByACell(Image):
    def forward_frames(self, frames):
        return super().forward_frames(frames).roll(1, 2)


class ClipGridReadByColumns(Clip):
    def forward_clip(self, clips):
        tubes = super().forward_clip(clips)
        return tubes.transpose(2, 3).reshape(tubes.shape)


class WrongWidth(Image):
    def forward_frames(self, frames):
        return super().forward_frames(frames)[..., :-1]


class CeilOfTheGrid(Image):
    def forward_frames(self, frames):
        height, width = frames.shape[2:]
        return super().forward_frames(nn.functional.pad(frames, (0, -width % P, 0, -height % P)))


class OneFrameLate(Image):
    def stream(self, video):
        previous = None
        for maps in super().stream(video):
            for one in maps:
                yield (one if previous is None else previous)[None]
                previous = one


class ReversedInTime(Image):
    def forward_frames(self, frames):
        return super().forward_frames(frames).flip(0)


class RecurrentOneFrameLate(Recurrent):
    def step(self, frames, state):
        return state, super().step(frames, state)[1]


class RecurrentReversed(Recurrent):
    def unroll(self, frames, state):
        maps, state = super().unroll(frames, state)
        return maps.flip(0), state


class ClipReversed(Clip):
    def forward_clip(self, clips):
        return super().forward_clip(clips).flip(1)


class ClipOneTubeLate(Clip):
    def forward_clip(self, clips):
        tubes = super().forward_clip(clips)
        return torch.cat([tubes[:, :1], tubes[:, :-1]], 1)


class ClipOneFrameLate(Clip):
    def stream(self, video):
        for maps in super().stream(video):
            yield torch.cat([maps[:1], maps[:-1]])


class ClipDropsATube(Clip):
    def forward_clip(self, clips):
        return super().forward_clip(clips)[:, :-1]


class ClipWindowsLeakBack(Clip):
    def stream(self, video):
        maps = torch.cat(list(super().stream(video)))
        yield maps + 0.01 * maps.mean((0, 1, 2))


class ClipWindowsCarryState(Clip):
    def stream(self, video):
        carried = 0.0
        for maps in super().stream(video):
            yield maps + 0.01 * carried
            carried = maps.mean()


class ClipTailIsLost(Clip):
    def stream(self, video):
        yield from super().stream(video[: max(16, video.shape[0] // 16 * 16)])


class ClipTailKeepsItsPadding(Clip):
    def stream(self, video):
        tail = np.zeros((-video.shape[0] % 16, *video.shape[1:]), np.uint8)
        yield from super().stream(np.concatenate([video[: video.shape[0]], tail]))


class FailsOnOneFrame(Image):
    def forward_frames(self, frames):
        if len(frames) == 1:
            raise ValueError("expected a batch")
        return super().forward_frames(frames)


class FailsOnSeventeenFrames(Clip):
    def stream(self, video):
        if video.shape[0] == 17:
            raise IndexError("index 16 is out of bounds")
        yield from super().stream(video)


class LeaksTheNextFrame(Recurrent):
    def unroll(self, frames, state):
        maps, state = super().unroll(frames, state)
        return maps + 0.01 * torch.cat([maps[1:], maps[-1:]]), state


class LeaksTheWholeVideo(Image):
    def stream(self, video):
        maps = torch.cat(list(super().stream(video)))
        yield maps - maps.mean(0)


class ClipSaysCausal(Clip):
    card = card(frames=16, causal=True)


class KeepsStateBetweenVideos(Recurrent):
    kept = None

    def init_state(self, batch, height_px, width_px):
        fresh = super().init_state(batch, height_px, width_px)
        return fresh if self.kept is None or self.kept.shape != fresh.shape else self.kept

    def step(self, frames, state):
        maps, self.kept = super().step(frames, state)
        return maps, self.kept


class RunningStatistics(Image):
    mean = 0.0

    def forward_frames(self, frames):
        maps = super().forward_frames(frames)
        self.mean = 0.9 * self.mean + 0.1 * maps.mean()
        return maps - self.mean


class CachesTheFirstAnswer(Image):
    def forward_frames(self, frames):
        self.cache = getattr(self, "cache", {})
        return self.cache.setdefault(tuple(frames.shape), super().forward_frames(frames))


class BatchNormOfTheBatch(Image):
    def forward_frames(self, frames):
        maps = self.net(frames)
        return nn.functional.batch_norm(maps, None, None, training=True).permute(0, 2, 3, 1)


NORMS = []


class LivelyBatchNorm(Image):
    """In a global variable, where nothing finds it: it stays in training mode."""

    def __init__(self):
        super().__init__()
        NORMS[:] = [nn.BatchNorm2d(D)]

    def forward_frames(self, frames):
        return NORMS[0](self.net(frames)).permute(0, 2, 3, 1)


class TrainsInForward(Image):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.1)

    def forward_frames(self, frames):
        return self.drop.train()(super().forward_frames(frames))


class FunctionalDropout(Image):
    def forward_frames(self, frames):
        return nn.functional.dropout(super().forward_frames(frames), 0.1)


class NumpyNoise(Image):
    def forward_frames(self, frames):
        return super().forward_frames(frames) + 1e-4 * float(np.random.default_rng().random())


class LooksAtItsChunk(Image):
    def forward_frames(self, frames):
        return super().forward_frames(frames) * (1 + 0.01 * (len(frames) == self.chunk))


class ForgetsStateBetweenChunks(Recurrent):
    def unroll(self, frames, state):
        return super().unroll(frames, torch.zeros_like(state))


class UnrollsOtherwiseThanItSteps(Recurrent):
    def unroll(self, frames, state):
        maps, state = super().unroll(frames, state)
        return 1.1 * maps, state


class NanOnFlatFrames(Image):
    def forward_frames(self, frames):
        return super().forward_frames(frames) / frames.std((1, 2, 3), keepdim=True)


class NanOnWhite(Image):
    def forward_frames(self, frames):
        return super().forward_frames(frames) * torch.where(frames.min() == 1, torch.nan, 1.0)


class Integers(Image):
    def forward_frames(self, frames):
        return (super().forward_frames(frames) * 100).int()


class DoublePrecision(Image):
    def forward_frames(self, frames):
        return super().forward_frames(frames).double()


class StreamsDoubles(Image):
    def stream(self, video):
        for maps in super().stream(video):
            yield maps.double()


class RandomEachLoad(Image):
    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, D, P, P)


class Constant(Image):
    def forward_frames(self, frames):
        return torch.zeros_like(super().forward_frames(frames)) + torch.linspace(0, 1, D)


class ConstantOverTheFrame(Image):
    def forward_frames(self, frames):
        maps = super().forward_frames(frames)
        return maps.mean((1, 2), keepdim=True).expand_as(maps)


class WritesIntoTheFrames(Image):
    def stream(self, video):
        video[:] = 255 - video
        yield from super().stream(video)


class EncodesBackwards(Image):
    def encode(self, video, tap=None):
        return super().encode(video, tap)[::-1]


class YieldsOneBuffer(Image):
    def stream(self, video):
        buffer = None
        for maps in super().stream(video):
            buffer = torch.empty(self.chunk, *maps.shape[1:]) if buffer is None else buffer
            buffer[: len(maps)] = maps
            yield buffer[: len(maps)]


class GradientsOn(Image):
    def to(self, device):
        return self

    def stream(self, video):
        yield self.forward_frames(self.prepare(video[: video.shape[0]]))


class LooseParameter(Image):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(D))

    def forward_frames(self, frames):
        return super().forward_frames(frames) * self.scale


class PixelsIn255(Image):
    card = card(pixel_mean=(123.7, 116.3, 103.5), pixel_std=(58.4, 57.1, 57.4))


class Raises(Image):
    def forward_frames(self, frames):
        raise KeyError("tokens")


BROKEN = [
    (GridWidthFirst, {"shapes"}, None),
    (GridReadByColumns, {"place"}, set()),
    (GridUpsideDown, {"place"}, set()),
    (GridMirrored, {"place"}, set()),
    (GridShiftedByACell, {"place"}, set()),
    (ClipGridReadByColumns, {"place"}, set()),
    (WrongWidth, {"shapes"}, None),
    (CeilOfTheGrid, {"remainder"}, set()),
    (OneFrameLate, {"timing", "independent"}, {"batches"}),
    (ReversedInTime, {"timing", "causal", "independent", "batches"}, set()),
    (RecurrentOneFrameLate, {"timing"}, {"place", "uses input"}),
    (RecurrentReversed, {"timing", "causal", "batches"}, set()),
    (ClipReversed, {"timing"}, {"place"}),
    (ClipOneTubeLate, {"timing"}, set()),
    (ClipOneFrameLate, {"timing"}, set()),
    (ClipDropsATube, {"precision"}, {"timing"}),
    (ClipWindowsLeakBack, {"windows"}, set()),
    (ClipWindowsCarryState, {"windows"}, set()),
    (ClipTailIsLost, {"shapes"}, {"finite", "timing", "causal", "windows"}),
    (ClipTailKeepsItsPadding, {"shapes"}, None),
    (FailsOnOneFrame, {"shapes"}, None),
    (FailsOnSeventeenFrames, {"shapes"}, set()),
    (LeaksTheNextFrame, {"causal", "batches"}, set()),
    (LeaksTheWholeVideo, {"causal", "independent"}, {"place"}),
    (ClipSaysCausal, {"causal"}, set()),
    (KeepsStateBetweenVideos, {"stateless"}, None),
    (RunningStatistics, {"stateless"}, None),
    (CachesTheFirstAnswer, {"uses input"}, None),
    (BatchNormOfTheBatch, {"batches", "independent"}, {"causal", "finite"}),
    (LivelyBatchNorm, {"frozen", "batches"}, None),
    (TrainsInForward, {"frozen", "repeatable"}, None),
    (FunctionalDropout, {"repeatable"}, None),
    (NumpyNoise, {"repeatable"}, None),
    (LooksAtItsChunk, {"batches"}, set()),
    (ForgetsStateBetweenChunks, {"batches"}, set()),
    (UnrollsOtherwiseThanItSteps, {"batches"}, set()),
    (NanOnFlatFrames, {"finite"}, set()),
    (NanOnWhite, {"finite"}, set()),
    (Integers, {"precision"}, set()),
    (DoublePrecision, {"precision"}, set()),
    (StreamsDoubles, {"shapes"}, None),
    (RandomEachLoad, {"reloaded"}, set()),
    (Constant, {"uses input", "place", "timing"}, set()),
    (ConstantOverTheFrame, {"uses input", "place"}, set()),
    (WritesIntoTheFrames, {"untouched"}, {"memory"}),
    (EncodesBackwards, {"encode"}, set()),
    (YieldsOneBuffer, {"encode"}, set()),
    (GradientsOn, {"frozen"}, {"encode", "untouched", "batches"}),
    (LooseParameter, {"frozen"}, set()),
    (PixelsIn255, {"card"}, set()),
    (Raises, {"shapes"}, None),
]
