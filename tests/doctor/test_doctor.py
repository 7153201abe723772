"""The doctor passes healthy encoders of every kind, and names what is wrong with a broken one."""

import gc

import numpy as np
import pytest
import torch
from torch import nn

from rvm_bench.api.card import EncoderCard, Provenance
from rvm_bench.api.encoder import ClipEncoder, Encoder, ImageEncoder, RecurrentEncoder
from rvm_bench.doctor import Level, examine
from rvm_bench.doctor.examine import CHECKS

P, D = 4, 12


def card(**changes):
    facts = {"name": "toy", "family": "toy", "patch": P, "width": D, "licence": "none", "source": "these tests"}
    return EncoderCard(**(facts | changes))


def projection(seed=0):
    """A fixed linear map of every P x P patch to D channels."""
    generator = torch.Generator().manual_seed(seed)
    conv = nn.Conv2d(3, D, P, P)
    for parameter in conv.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / P
    return conv


class Image(ImageEncoder):
    card = card(params_m=0.000588)
    weights = Provenance(kind="random", seed=0)

    def __init__(self):
        super().__init__()
        self.net = projection()

    def forward_frames(self, frames):
        return self.net(frames).permute(0, 2, 3, 1)


class Clip(ClipEncoder):
    """Two-frame tubes, and a little of the clip's mean in every token, as attention would mix it in."""

    card = card(frames=16, causal=False, params_m=0.000588)
    weights = Provenance(kind="random", seed=0)

    def __init__(self):
        super().__init__()
        self.net = projection()

    def forward_clip(self, clips):
        frames = torch.stack([self.net(clip) for clip in clips.transpose(1, 2)])  # [B, 16, D, h, w]
        tubes = frames.unflatten(1, (8, 2)).mean(2).permute(0, 1, 3, 4, 2)
        return tubes + 0.1 * tubes.mean((1, 2, 3), keepdim=True)


class Recurrent(RecurrentEncoder):
    card = card(params_m=0.000588)
    weights = Provenance(kind="random", seed=0)

    def __init__(self):
        super().__init__()
        self.net = projection()

    def init_state(self, batch, height_px, width_px):
        return torch.zeros(batch, height_px // P, width_px // P, D)

    def step(self, frames, state):
        state = 0.5 * state + self.net(frames).permute(0, 2, 3, 1)
        return state, state


def failed(make, *, reload=True, **options):
    """Names of the checks that fail, and all verdicts by name."""
    encoder = make().to("cpu")
    verdicts = {v.check: v for v in examine(encoder, reload=(lambda: make().to("cpu")) if reload else None, **options)}
    return {name for name, v in verdicts.items() if v.level is Level.FAIL}, verdicts


@pytest.mark.parametrize("make", [Image, Clip, Recurrent])
def test_a_healthy_encoder_fails_no_check(make):
    fails, verdicts = failed(make)
    assert not fails, [verdicts[name].measured for name in fails]
    kind = {Image: {"independent"}, Clip: {"windows"}, Recurrent: set()}[make]
    assert set(verdicts) == {"runs", *CHECKS} - ({"independent", "windows"} - kind)
    assert {name for name, v in verdicts.items() if v.level is Level.NOTE} == {"translation"} | (
        {"causal"} if make is Clip else set()
    )
    assert all("\n" not in v.line(12) for v in verdicts.values())


# Every class below is healthy but for one mistake; beside it, the checks that must fail. More may follow from the same
# mistake: those in the second set may.


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


@pytest.mark.parametrize(("make", "must", "may"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_mistake_is_caught_by_the_check_that_looks_for_it(make, must, may):
    fails, verdicts = failed(make)
    assert must <= fails, {name: v.measured for name, v in verdicts.items()}
    # None: the mistake goes through everything.
    assert may is None or fails <= must | may, [verdicts[name].measured for name in fails - must - may]
    assert all(verdicts[name].mend or "fails as in" in verdicts[name].measured for name in fails)


def test_an_exception_is_told_once_with_its_type_and_place_and_ends_nothing():
    fails, verdicts = failed(Raises)
    assert set(verdicts) == {"runs", *CHECKS} - {"windows"}
    assert "KeyError: 'tokens' (test_doctor.py, line " in verdicts["runs"].measured
    assert verdicts["finite"].measured == "cannot be measured: fails as in `runs`"
    assert {"card", "weights"} & fails == set()


def test_which_videos_a_model_fails_on_is_said():
    _, verdicts = failed(FailsOnSeventeenFrames)
    assert verdicts["shapes"].measured.startswith("T=17 of 8x12 px: IndexError: index 16 is out of bounds")


def test_how_far_back_a_clip_model_looks_is_a_note():
    _, verdicts = failed(Clip)
    assert "up to 12 frames before it" in verdicts["causal"].measured
    assert verdicts["causal"].level is Level.NOTE


def test_a_card_that_promises_other_parameters_or_layers_gets_a_note():
    class Boasts(Image):
        card = card(params_m=86.0, taps={"propagation": "last layer", "readout": "layer 8"}, licence="")

    fails, verdicts = failed(Boasts)
    assert not fails
    for check, word in {"weights": "86 M", "taps": "layer 8", "card": "no licence"}.items():
        assert verdicts[check].level is Level.NOTE
        assert word in verdicts[check].measured


def test_memory_that_grows_with_the_video_is_a_note():
    class Hoards(Recurrent):
        def step(self, frames, state):
            self.hoard = [*getattr(self, "hoard", []), state.clone()]
            return super().step(frames, state)

    assert failed(Recurrent)[1]["memory"].level is Level.OK
    assert "0.28 KiB a frame" in failed(Hoards)[1]["memory"].measured
    assert failed(Hoards)[1]["memory"].level is Level.NOTE
    gc.collect()


def test_the_readout_layer_is_examined_too():
    class NanReadout(Image):
        def forward_frames(self, frames):
            return super().forward_frames(frames) + (torch.nan if self.tap == "readout" else 0)

    assert failed(NanReadout)[0] == {"taps"}


def test_what_could_not_be_done_is_said_and_is_no_pass():
    _, verdicts = failed(Image, budget_s=0, reload=False)
    assert len(verdicts) == 1 + len(CHECKS)
    assert not any(v.done for v in verdicts.values())
    assert "--budget" in verdicts["place"].mend
    assert not failed(Image, reload=False)[1]["reloaded"].done


def test_a_fourth_kind_of_encoder_is_examined_by_what_it_streams():
    class Fourth(Encoder):
        card = card()

        def stream(self, video):
            yield from Image().to("cpu").stream(video)

    fails, verdicts = failed(Fourth)
    assert not fails
    assert "precision" not in verdicts


def test_networks_in_containers_are_found_and_those_in_global_variables_are_noted():
    class InAList(Image):
        def __init__(self):
            super().__init__()
            self.net = [projection()]

        def forward_frames(self, frames):
            return self.net[0](frames).permute(0, 2, 3, 1)

    class Global(Image):
        net = None

        def __init__(self):
            NORMS[:] = [projection().eval().requires_grad_(False)]

        def forward_frames(self, frames):
            return NORMS[0](frames).permute(0, 2, 3, 1)

    fails, verdicts = failed(InAList)
    assert not fails
    assert "1 modules in evaluation mode" in verdicts["frozen"].measured
    assert "0.000588 M parameters held" in verdicts["weights"].measured
    fails, verdicts = failed(Global)
    assert not fails
    assert "Conv2d out of reach" in verdicts["frozen"].measured


PLUGIN = """
import torch
from rvm_bench.api.card import EncoderCard
from rvm_bench.api.encoder import ClipEncoder, ImageEncoder, RecurrentEncoder
from torch.nn.functional import avg_pool2d

def pooled(frames):
    return avg_pool2d(frames, 4).permute(0, 2, 3, 1)

class Good(ImageEncoder):
    card = EncoderCard(name="good", family="plug-in", patch=4, width=3)
    def forward_frames(self, frames):
        return pooled(frames)

class WrongGrid(Good):
    def forward_frames(self, frames):
        maps = pooled(frames)
        return maps.transpose(1, 2).reshape(maps.shape)

class Noisy(Good):
    def forward_frames(self, frames):
        maps = pooled(frames)
        return maps + 1e-3 * torch.rand_like(maps)

class LeakingFuture(RecurrentEncoder):
    card = EncoderCard(name="leaking", family="plug-in", patch=4, width=3)
    def init_state(self, batch, height_px, width_px):
        return None
    def step(self, frames, state):
        return pooled(frames), None
    def unroll(self, frames, state):
        return pooled(frames) + 0.1 * pooled(frames).mean(0), None

class Everything(WrongGrid, Noisy):
    pass

def crashes():
    raise RuntimeError("no such layer")
"""


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "broken_doctor_plugin.py"
    path.write_text(PLUGIN)
    return lambda name: f"{path}:{name}"


def test_the_command_passes_our_own_models(cli):
    code, out, _ = cli("doctor", "--model", "pixels,rvm-tiny")
    assert code == 0, out
    assert "rvm-tiny: random weights, for none is released" in out
    assert out.count(" healthy: ") == 2
    assert "FAIL  " not in out


@pytest.mark.parametrize(
    ("name", "check"), [("WrongGrid", "place"), ("Noisy", "repeatable"), ("LeakingFuture", "causal")]
)
def test_the_command_catches_a_broken_plugin(cli, plugin, name, check):
    code, out, err = cli("doctor", "--model", plugin(name))
    assert code == 1
    assert any(line.split()[:2] == ["FAIL", check] for line in out.splitlines()), out
    assert " ill: " in out
    assert "Traceback" not in out + err


def test_the_command_goes_on_after_an_ill_model(cli, plugin):
    code, out, err = cli("doctor", "--model", f"{plugin('crashes')},{plugin('Good')}")
    assert code == 1
    assert any(line.split()[:3] == ["FAIL", "loads", "RuntimeError:"] for line in out.splitlines()), out
    assert "no such layer (broken_doctor_plugin.py, line " in out
    assert f"{plugin('Good')}: healthy" in out
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "pixles"], "did you mean pixels"),
        (["--model", "pixels", "--weights", "no.npz"], "no such weights file"),
        (["--model", "pixels", "--option", "seed"], "expected key=value"),
        (["--model", "pixels", "--option", "seed=1"], "unknown option"),
        (["--model", "nowhere.py:Build"], "no such file"),
    ],
)
def test_a_mistake_in_the_command_is_code_2(cli, arguments, message):
    code, _, err = cli("doctor", *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_the_command_takes_precision_chunk_and_options(cli):
    code, out, _ = cli("doctor", "--model", "rvm-tiny", "--dtype", "bfloat16", "--chunk", 2, "--option", "seed=3")
    assert code == 0, out
    assert "bfloat16" in out
    assert "against 2" in out
