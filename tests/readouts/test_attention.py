"""The attentive readout: parity with the released one, and one function however it is computed."""

import json

import numpy as np
import pytest
import torch

from readouts.heads.attention import AttentionReadout, ReadoutConfig, average_clips, released_names
from rvm_bench.errors import UserError

CASES = ("learned1", "learned7", "conditioned", "depth", "multiclip3")
SINGLE = ReadoutConfig(frames=3, channels=10, params=12, heads=4, outputs=5, queries=1)
MANY = ReadoutConfig(frames=3, channels=10, params=12, heads=4, outputs=5, queries=7)
GIVEN = ReadoutConfig(frames=3, channels=10, params=12, heads=4, outputs=5, query_channels=6)


def released(golden, case):
    """(readout, features, given queries or None, expected output) of a golden case."""
    file = golden("attention_readout.npz")
    facts = json.loads(str(file["meta"]))["cases"][case]
    prefix = f"param:{case}:"
    arrays = {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}
    readout = AttentionReadout.from_arrays(
        arrays,
        num_heads=facts["num_heads"],
        num_queries=facts.get("num_queries"),
        output_shape=facts.get("output_shape"),
        patch=facts.get("decoding_patch_size"),
    )
    queries = torch.from_numpy(file["input_queries_conditioned"]) if case == "conditioned" else None
    suffix = "_train_logits" if case == "multiclip3" else ""
    return readout, torch.from_numpy(file[f"input_features_{case}"]), queries, file[f"output_{case}{suffix}"]


def sample(config, *, batch=2, tokens=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, config.frames, tokens, config.channels, generator=generator)
    queries = torch.randn(batch, 9, config.query_channels, generator=generator) if config.query_channels else None
    return features, queries


def disturbed(config, **options):
    """A readout with no parameter left at zero or one."""
    readout = AttentionReadout(config, **options)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return readout


def outputs_and_gradients(readout, features, queries=None):
    readout.zero_grad()
    outputs = readout(features, queries)
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    (outputs * weights).sum().backward()
    return outputs.detach(), {name: p.grad for name, p in readout.named_parameters() if p.grad is not None}


def assert_same(one, other, tolerance):
    assert (one[0] - other[0]).abs().max() < tolerance
    assert one[1].keys() == other[1].keys()
    for name in one[1]:
        difference = (one[1][name] - other[1][name]).abs().max() / (1 + one[1][name].abs().max())
        assert difference < tolerance, name


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_those_of_the_released_readout(golden, case):
    readout, features, queries, expected = released(golden, case)
    for fold, chunk in ((True, 1000), (False, 5)):
        readout.folded, readout.chunk = readout.folded and fold, chunk
        np.testing.assert_allclose(readout(features, queries).detach(), expected, atol=5e-6)


def test_probabilities_of_clips_are_averaged_as_released(golden):
    readout, features, _, _ = released(golden, "multiclip3")
    expected = golden("attention_readout.npz")["output_multiclip3"]
    np.testing.assert_allclose(average_clips(readout(features), 3).detach(), expected, atol=1e-6)


@pytest.mark.parametrize("config", [SINGLE, MANY, GIVEN])
def test_a_replica_goes_through_released_names_and_back(config):
    readout = disturbed(config, replicas=3)
    features, queries = sample(config)
    back = AttentionReadout.from_arrays(readout.arrays(2), num_heads=config.heads)
    assert back.config == config
    np.testing.assert_allclose(readout(features, queries)[2].detach(), back(features, queries).detach(), atol=1e-5)


@pytest.mark.parametrize("name", sorted(names for names, _ in released_names(MANY).values()))
def test_every_array_must_be_there_under_its_name_in_its_shape(name):
    arrays = AttentionReadout(MANY).arrays()
    without = {key: value for key, value in arrays.items() if key != name}
    with pytest.raises(UserError, match=f"missing: {name}$"):
        AttentionReadout.from_arrays(without, num_heads=4, num_queries=7)
    with pytest.raises(UserError, match=name):
        AttentionReadout.from_arrays(without | {f"{name}_ema": arrays[name]}, num_heads=4, num_queries=7)
    with pytest.raises(UserError, match=f"unexpected: {name}_ema"):
        AttentionReadout.from_arrays(arrays | {f"{name}_ema": arrays[name]}, num_heads=4, num_queries=7)
    longer = np.concatenate([arrays[name], arrays[name]], axis=-1)
    with pytest.raises(UserError, match="of another shape"):
        AttentionReadout.from_arrays(arrays | {name: longer}, num_heads=4, num_queries=7)


def test_folded_equals_plain_in_outputs_and_gradients():
    folded, plain = disturbed(SINGLE, replicas=2), disturbed(SINGLE, replicas=2, fold=False)
    assert (folded.folded, plain.folded) == (True, False)
    features, _ = sample(SINGLE)
    assert_same(outputs_and_gradients(folded, features), outputs_and_gradients(plain, features), 1e-5)


@pytest.mark.parametrize("config", [MANY, GIVEN])
def test_chunked_equals_unchunked_in_outputs_and_gradients(config):
    whole, parts = disturbed(config, replicas=2), disturbed(config, replicas=2, chunk=2)
    features, queries = sample(config)
    assert_same(outputs_and_gradients(whole, features, queries), outputs_and_gradients(parts, features, queries), 1e-5)


@pytest.mark.parametrize("config", [SINGLE, MANY, GIVEN])
def test_replicas_equal_readouts_of_their_own(config):
    together = AttentionReadout(config, replicas=3, seeds=(5, 0, 2))
    features, queries = sample(config)
    outputs, gradients = outputs_and_gradients(together, features, queries)
    for replica, seed in enumerate((5, 0, 2)):
        alone = AttentionReadout(config, seeds=(seed,))
        for mine, theirs in zip(together.parameters(), alone.parameters(), strict=True):
            assert torch.equal(mine[replica], theirs[0])
        assert (outputs[replica] - alone(features, queries)).abs().max() < 1e-5
    assert all(gradient.shape[0] == 3 for gradient in gradients.values())


def test_a_bias_of_the_keys_changes_nothing():
    for config in (SINGLE, MANY):
        readout = disturbed(config)
        features, _ = sample(config)
        before = readout(features).detach()
        readout.key_bias.data += 3
        assert torch.equal(readout(features), before)
        assert "key_bias" not in outputs_and_gradients(readout, features)[1]


def test_outputs_are_laid_out_query_by_query_and_frame_row_column_inside_one():
    config = ReadoutConfig(
        frames=2,
        channels=4,
        params=4,
        heads=1,
        outputs=2 * 2 * 3,
        queries=2 * 2,
        output_shape=(2, 4, 6, 1),
        patch=(2, 2, 3),
    )
    readout = AttentionReadout(config)
    numbers = torch.arange(4 * 12).float().view(1, 1, 4, 12)
    video = readout._lay_out(numbers)[0, 0, ..., 0]
    assert video.shape == (2, 4, 6)
    assert video[0, :2, :3].flatten().tolist() == list(range(6))
    assert video[1, :2, :3].flatten().tolist() == list(range(6, 12))
    assert video[0, 0, 3:].tolist() == [12, 13, 14]
    assert video[0, 2, :3].tolist() == [24, 25, 26]


def test_the_initialisation_is_that_of_flax():
    readout = AttentionReadout(ReadoutConfig(frames=16, channels=96, params=128, heads=4, outputs=400, queries=400))
    deviation = {"key_kernel": 96**-0.5, "mlp_out_kernel": 512**-0.5, "query": 0.02, "head_bias": 0.0}
    for name, expected in deviation.items():
        assert float(getattr(readout, name).detach().std()) == pytest.approx(expected, rel=0.05)
    assert float(readout.key_kernel.detach().abs().max()) <= 2 * 96**-0.5 / 0.8796256610342398 + 1e-6
    assert readout.norm_scale.eq(1).all()


def test_wrong_sizes_are_refused():
    with pytest.raises(UserError, match="12 channels cannot be split into 5 heads"):
        AttentionReadout(ReadoutConfig(frames=1, channels=2, params=12, heads=5, outputs=1, queries=1))
    with pytest.raises(UserError, match="either learned queries or input queries"):
        AttentionReadout(ReadoutConfig(frames=1, channels=2, params=12, heads=4, outputs=1))
    with pytest.raises(ValueError, match=r"expected \[B, 3, N, 10\]"):
        AttentionReadout(SINGLE)(torch.zeros(1, 2, 4, 10))
    with pytest.raises(ValueError, match="queries must be given"):
        AttentionReadout(GIVEN)(torch.zeros(1, 3, 4, 10))
