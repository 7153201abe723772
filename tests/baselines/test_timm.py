"""Models of timm, against stand-ins."""

import sys
import types

import numpy as np
import pytest
import torch
from hub_models import pixels, video

import rvm_bench
from rvm_bench.errors import UserError


class FakeViT(torch.nn.Module):
    """A CLS token, then the mean of each patch."""

    num_prefix_tokens = 1
    pretrained_cfg = types.MappingProxyType({"license": "mit"})

    def __init__(self, patch=8):
        super().__init__()
        self.patch_embed = types.SimpleNamespace(patch_size=(patch, patch))
        self.scale = torch.nn.Parameter(torch.rand(1))

    def forward_features(self, x):
        tokens = torch.nn.functional.avg_pool2d(x, self.patch_embed.patch_size[0]).flatten(2).mT * self.scale
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)


class FakeConvNet(FakeViT):
    num_prefix_tokens = 0

    def forward_features(self, x):
        if x.shape[-1] == 40:
            raise AssertionError("Input width (40) doesn't match model (32).")
        return torch.nn.functional.avg_pool2d(x, 16) * self.scale


class FakeSwin(FakeConvNet):
    output_fmt = "NHWC"

    def forward_features(self, x):
        return super().forward_features(x).permute(0, 2, 3, 1)


class FakeQueries(FakeViT):
    def forward_features(self, x):
        return torch.zeros(len(x), 7, 3)


@pytest.fixture
def timm(monkeypatch):
    """timm itself cannot be imported without a matching torchvision; this has the parts of it that are used."""
    nets = {"vit": FakeViT, "conv": FakeConvNet, "swin": FakeSwin, "queries": FakeQueries}

    def create_model(name, pretrained, num_classes, **options):
        if options and name != "vit":
            raise TypeError("__init__() got an unexpected keyword argument 'dynamic_img_size'")
        if pretrained and name == "swin":
            raise RuntimeError("No pretrained weights exist for swin.\nUse pretrained=False")
        model = nets[name]()
        if pretrained:
            torch.nn.init.constant_(model.scale, 2.0)
        return model

    fake = types.ModuleType("timm")
    fake.__version__ = "1.0"
    fake.create_model = create_model
    fake.is_model = nets.__contains__
    fake.list_models = lambda: list(nets)
    statistics = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 32, 32)}
    fake.data = types.SimpleNamespace(resolve_model_data_config=lambda model: statistics)
    monkeypatch.setitem(sys.modules, "timm", fake)
    return fake


def test_timm_tokens_and_maps_become_grids(timm):
    frames = video(3, 35, 50)
    encoder = rvm_bench.load_encoder("timm:vit", device="cpu")
    expected = 2 * torch.nn.functional.avg_pool2d(pixels(frames), 8).permute(0, 2, 3, 1)
    np.testing.assert_allclose(encoder.encode(frames), expected, atol=1e-5)
    assert (encoder.card.patch, encoder.card.licence, encoder.card.source) == (8, "mit", "timm:vit")
    assert encoder.describe()["weights"]["sha256"]
    encoder = rvm_bench.load_encoder("timm:conv", device="cpu")
    expected = 2 * torch.nn.functional.avg_pool2d(pixels(frames), 16).permute(0, 2, 3, 1)
    np.testing.assert_allclose(encoder.encode(frames), expected, atol=1e-5)
    encoder = rvm_bench.load_encoder("timm:swin", weights="random", device="cpu")
    np.testing.assert_allclose(encoder.encode(frames), expected * encoder.network.scale / 2, atol=1e-5)


def test_random_timm_weights_follow_their_seed(timm):
    load_one = lambda seed: rvm_bench.load_encoder("timm:vit", weights="random", device="cpu", seed=seed)  # noqa: E731
    assert load_one(1).weights_sha256() == load_one(1).weights_sha256() != load_one(2).weights_sha256()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vitt", {}, "unknown timm model 'vitt'; did you mean vit"),
        ("swin", {}, "timm:swin cannot be made: No pretrained weights exist for swin.$"),
        ("queries", {}, r"returned \[1, 7, 3\]; expected 1 prefix tokens and 4x4 patches"),
        ("vit", {"weights": "w.pth"}, "brings its own weights"),
        ("vit", {"frames": 3}, "unknown option of timm:vit 'frames'"),
    ],
)
def test_a_mistake_with_timm_is_one_line(timm, name, options, message):
    with pytest.raises(UserError, match=message):
        rvm_bench.load_encoder(f"timm:{name}", device="cpu", **options)


def test_a_timm_model_of_one_size_names_it(timm):
    encoder = rvm_bench.load_encoder("timm:conv", device="cpu")
    encoder.card = type(encoder.card)(**(encoder.card.to_dict() | {"patch": 8}))
    with pytest.raises(UserError, match="cannot take frames of 32x40 px; its positions are made for 32x32 px"):
        encoder.encode(video(1, 32, 40))


def test_timm_that_cannot_be_imported_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"timm cannot be imported: .*the torchvision built for torch"):
        rvm_bench.load_encoder("timm:resnet50")
