"""Healthy encoders pass every check, and each mistake is found by the check that looks for it."""

import gc

import pytest
import torch
from healthy_encoders import Clip, Image, Recurrent, card, failed, projection
from ill_encoders import (
    BROKEN,
    NORMS,
    FailsOnSeventeenFrames,
    Raises,
)

from rvm_bench.api.encoder import Encoder
from rvm_bench.doctor import Level
from rvm_bench.doctor.examine import CHECKS


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
    assert "KeyError: 'tokens' (ill_encoders.py, line " in verdicts["runs"].measured
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
