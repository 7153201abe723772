"""`rvm-bench doctor`: verdicts, exit codes and mistakes in the command."""

import pytest

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
