"""The torch objective is the paper's: equal to the official loss, and no saving changes it or its gradients."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from rvm_bench.errors import UserError
from rvm_bench.rvm import checkpoint, masking
from rvm_bench.rvm.checkpoint import RVMConfig
from rvm_bench.rvm.torch.joint import JointRVM
from rvm_bench.rvm.torch.model import Reconstructor
from rvm_bench.rvm.torch.objective import loss, recompute_blocks
from rvm_bench.rvm.torch.weights import from_arrays
from rvm_bench.rvm.train.torch.untrained import untrained

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = RVMConfig(
    width=48,
    layers=2,
    heads=3,
    mlp=96,
    core_layers=2,
    core_heads=4,
    core_mlp=96,
    decoder_width=32,
    decoder_layers=2,
    decoder_heads=4,
    decoder_mlp=64,
)
AGGREGATORS = ("rnn", "self_attention")


@pytest.fixture(scope="module")
def official():
    """The golden batch, with the official reconstruction and loss."""
    with np.load(GOLDEN / "rvm_tiny_io.npz") as archive:
        names = ("source", "target", "deltas", "inds_restore", "reconstructed", "loss")
        return {name: archive[name] for name in names}


@pytest.fixture
def released():
    return from_arrays(checkpoint.read(GOLDEN / "rvm_tiny_params.npz")).train()


@pytest.fixture(scope="module")
def batch():
    """Two clips of 4 sources and 4 targets of 96 x 80 px, each target with a mask of its own."""
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, 256, (2, 2, 4, 96, 80, 3), dtype=np.uint8)
    inds_restore, _ = masking.draw((6, 5), seed=0, batch=2, targets=4, shared=False)
    return {
        "source": source,
        "target": target,
        "deltas": rng.integers(4, 49, (2, 4)),
        "inds_restore": inds_restore,
        "clip": ["a", "b"],
    }


def gradients(model, batch, **options):
    """The loss and the gradient of every parameter."""
    model.zero_grad()
    value, _ = loss(model, batch, **options)
    value.backward()
    return value.item(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_same(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


class Off(Reconstructor):
    """Decodes the target itself, with every value off by the same amount."""

    def __init__(self, by):
        super().__init__()
        self.config = SMALL
        self.by = torch.nn.Parameter(torch.tensor(by))

    def context(self, source):
        raise AssertionError

    def reconstruct(self, source, target, deltas, inds_restore, **options):
        return target.movedim(2, -1) + self.by


@pytest.mark.parametrize("by", [0.0, 0.1, -0.5])
def test_the_loss_is_the_mean_square_of_what_the_pixels_are_off(batch, by):
    value, pixels = loss(Off(by), batch, keep_reconstruction=True)
    assert value.item() == pytest.approx(by**2, abs=1e-7)
    assert pixels.shape == batch["target"].shape
    value.backward()


def test_the_loss_equals_the_official_one(released, official):
    value, pixels = loss(released, official, keep_reconstruction=True)
    assert value.dtype == torch.float32
    assert abs(value.item() - official["loss"]) < 1e-5
    assert not pixels.requires_grad
    assert np.abs(pixels.numpy() - official["reconstructed"]).max() < 1e-5


def test_without_gradients_it_is_the_same_loss(released, official):
    with torch.no_grad():
        value, pixels = loss(released, official)
    assert not value.requires_grad
    assert pixels is None
    assert abs(value.item() - official["loss"]) < 1e-5


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize(
    ("visible_only", "share_keys"), [flags for flags in itertools.product([True, False], repeat=2) if not all(flags)]
)
def test_what_the_savings_leave_out_changes_neither_loss_nor_gradients(batch, aggregator, visible_only, share_keys):
    model = untrained(SMALL, aggregator)
    expected = gradients(model, batch)
    assert_same(gradients(model, batch, visible_only=visible_only, share_keys=share_keys), expected)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_recomputing_changes_neither_loss_nor_gradients_and_keeps_less(batch, aggregator):
    model = untrained(SMALL, aggregator)
    expected, everything = gradients(model, batch), kept_bytes(model, batch)
    recompute_blocks(model)
    assert_same(gradients(model, batch), expected)
    assert kept_bytes(model, batch) < 0.6 * everything  # so small a network keeps mostly pixels
    recompute_blocks(model, False)
    assert kept_bytes(model, batch) == everything


def kept_bytes(model, batch):
    """Bytes that one loss keeps for its backward pass, parameters aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value, _ = loss(model, batch)
    del value
    return sum(size for place, (size, _) in kept.items() if place not in own)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_gradients_reach_every_parameter(batch, aggregator):
    _, found = gradients(untrained(SMALL, aggregator), batch)
    assert [name for name, gradient in found.items() if not gradient.any()] == []


@pytest.mark.parametrize("visible_only", [True, False])
def test_hidden_patches_of_a_target_are_not_seen_and_visible_ones_are(batch, visible_only):
    model = untrained(SMALL)
    visible = masking.mask_from_permutation(batch["inds_restore"], (6, 5)).repeat(16, 2).repeat(16, 3) == 0

    def decoded(target):
        return loss(model, {**batch, "target": target}, keep_reconstruction=True, visible_only=visible_only)[1]

    before = decoded(batch["target"])
    assert torch.equal(decoded(np.where(visible, batch["target"], 9)), before)
    assert (decoded(np.where(visible, 9, batch["target"])) - before).abs().max() > 1e-4


def test_the_mask_ratio_decides_how_many_patches_are_seen(batch):
    model = untrained(SMALL)
    one, still_one, half = (loss(model, batch, mask_ratio=ratio)[0].item() for ratio in (0.95, 0.96, 0.5))
    assert one == still_one
    assert one != half


def test_frames_may_be_floating_and_further_names_are_left_alone(batch):
    model = untrained(SMALL)
    floating = {**batch, **{role: batch[role].astype(np.float32) / 255 for role in ("source", "target")}}
    assert loss(model, floating)[0].item() == pytest.approx(loss(model, batch)[0].item(), rel=1e-6)


def test_a_batch_is_the_mean_of_its_clips(batch):
    model = untrained(SMALL)
    alone = [
        loss(model, {name: values[clip : clip + 1] for name, values in batch.items()})[0].item() for clip in (0, 1)
    ]
    assert loss(model, batch)[0].item() == pytest.approx(np.mean(alone), rel=1e-6)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_bfloat16_products_stay_close_and_leave_loss_and_gradients_float32(batch, aggregator):
    model = untrained(SMALL, aggregator)
    expected, _ = gradients(model, batch)
    value, found = gradients(model, batch, dtype=torch.bfloat16)
    assert value == pytest.approx(expected, rel=2e-2)
    assert value != expected
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in found.values())


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_bfloat16_gives_the_same_loss_with_and_without_gradients(batch, aggregator):
    model = untrained(SMALL, aggregator)
    value, _ = loss(model, batch, dtype=torch.bfloat16)
    with torch.no_grad():
        again, _ = loss(model, batch, dtype=torch.bfloat16)
    assert again.item() == pytest.approx(value.item(), rel=1e-3)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_a_few_updates_lower_the_loss(batch, aggregator):
    model = untrained(SMALL, aggregator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    values = []
    dark = {**batch, **{role: batch[role] // 4 for role in ("source", "target")}}  # training starts from middle grey
    for _ in range(12):
        value, _ = loss(model, dark)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0] / 2


@pytest.mark.parametrize("name", ["source", "target", "deltas", "inds_restore"])
def test_what_is_missing_is_named(batch, name):
    with pytest.raises(UserError, match=f"the batch has no {name}; expected source, target"):
        loss(untrained(SMALL), {key: value for key, value in batch.items() if key != name})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("target", lambda target: target[:, :, :90], r"target is 90x80 px; expected multiples of the patch, 16 px"),
        ("source", lambda source: source[..., :70, :], r"source is 96x70 px; expected multiples of the patch, 16 px"),
        ("target", lambda target: target.astype(np.int16), "target has dtype"),
        ("source", lambda source: source[0], "source has shape"),
        ("deltas", lambda deltas: deltas + 40, r"expected frames from the sources to a target in 0\.\.63"),
        ("inds_restore", lambda order: order[:, :3], r"inds_restore has shape \(2, 3, 30\); expected \(2, 4, 30\)"),
    ],
)
def test_what_does_not_fit_is_named(batch, name, change, message):
    with pytest.raises(UserError, match=message) as error:
        loss(untrained(SMALL), {**batch, name: change(batch[name])})
    assert "\n" not in str(error.value)


def test_products_in_float16_are_refused(batch):
    with pytest.raises(UserError, match=r"torch\.float16; expected torch\.float32 or torch\.bfloat16"):
        loss(untrained(SMALL), batch, dtype=torch.float16)


def test_both_aggregators_start_from_the_same_encoder_and_decoder():
    recurrent, joint, again = (untrained(SMALL, aggregator, 3) for aggregator in ("rnn", "self_attention", "rnn"))
    other = untrained(SMALL, "rnn", 4)
    state, joint_state = recurrent.state_dict(), joint.state_dict()
    shared = [name for name in joint_state if name in state]
    assert all(torch.equal(state[name], joint_state[name]) for name in shared)
    assert {name.split(".")[0] for name in state.keys() - joint_state.keys()} == {"core"}
    assert {name.split(".")[2] for name in joint_state.keys() - state.keys()} == {"2", "3"}
    assert all(torch.equal(state[name], value) for name, value in again.state_dict().items())
    assert not torch.equal(state["encoder.cls_token"], other.state_dict()["encoder.cls_token"])
    assert recurrent.training
    assert joint.training


def test_the_joint_model_sees_one_frame_as_its_encoder_does_and_tells_times_apart():
    model = untrained(SMALL, "self_attention").eval()
    assert isinstance(model, JointRVM)
    frames = torch.rand(2, 3, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(frames[:, :1]), model.encoder(frames[:, 0]))
        features, reversed_features = model(frames), model(frames.flip(1))
    assert features.shape == (2, 1 + 3 * 6, 48)
    assert (features[:, 0] - reversed_features[:, 0]).abs().max() > 1e-3
