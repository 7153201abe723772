"""Names, options and random weights of every family, and parameter counts of every size."""

import numpy as np
import pytest
import torch
from official_files import parameters, write

from baselines.families import dino, dinov2, fourds, mae, videomae, videomaev2, vjepa
from baselines.vit.config import size
from baselines.vit.model import ViT
from rvm_bench import load_encoder
from rvm_bench.api.registry import find_model
from rvm_bench.errors import UserError

FAMILIES = [module.FAMILY for module in (dinov2, dino, mae, videomae, videomaev2, vjepa, fourds)]


def difference(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return np.abs(found - expected).max()


def noise(frames, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


# Names, options, random weights


def test_any_file_of_a_family_has_its_sizes_on_its_card(encoders, files):
    encoder = encoders["vjepa"]
    assert (encoder.card.name, encoder.card.width, encoder.card.patch) == ("vjepa", 48, 16)
    counted = sum(array.size for array in parameters("vjepa").values())
    assert encoder.card.params_m == round(counted / 1e6, 1)
    assert encoder.weights.kind == "file"
    assert encoder.weights.path == files["vjepa"].name
    assert len(encoder.weights.sha256) == 64
    assert encoder.options == {"heads": 4, "norm_eps": 1e-6}
    assert encoders["dinov2"].card.patch == 14


def test_heads_that_no_file_tells_are_given_or_asked_for(files):
    features = {}
    for heads in (3, 4, 6):
        encoder = load_encoder("vjepa", weights=files["vjepa"], heads=heads)
        assert encoder.describe()["options"]["heads"] == heads
        features[heads] = encoder.encode(noise(1, 32, 32))
    assert difference(features[3], features[4]) > 1e-3
    with pytest.raises(UserError, match=r"width 48 cannot be split into 5 heads; give heads=N"):
        load_encoder("vjepa", weights=files["vjepa"], heads=5)
    with pytest.raises(UserError, match=r"width 48 cannot be split into width / 64 heads; give heads=N"):
        load_encoder("vjepa", weights=files["vjepa"])


@pytest.mark.parametrize(("width", "heads"), [(128, 2), (320, 5), (384, 6)])
def test_heads_are_those_of_the_usual_widths_or_one_per_64_channels(tmp_path, width, heads):
    model = ViT(vjepa.FAMILY.style(width=width, layers=1, heads=1, hidden=8, grid=(8, 2, 2)))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    shapes["patch_embed.proj.weight"] = (width, 3, 2, 16, 16)
    shapes["patch_embed.proj.bias"] = shapes.pop("patch_embed.bias")
    del shapes["patch_embed.weight"]
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "own.pth")
    assert load_encoder("vjepa", weights=tmp_path / "own.pth").options["heads"] == heads


def test_a_file_that_tells_its_heads_is_not_contradicted(files):
    with pytest.raises(UserError, match="has 4 attention heads; leave out heads=3"):
        load_encoder("4ds", weights=files["fourds"], heads=3)
    assert load_encoder("4ds", weights=files["fourds"], heads=4).options["heads"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0}, "heads=0: expected a positive whole number"),
        ({"heads": -4}, "heads=-4"),
        ({"heads": 4.0}, r"heads=4\.0"),
        ({"heads": True}, "heads=True"),
        ({"heads": "four"}, "heads=four"),
        ({"head": 4}, "unknown option of vjepa 'head'; did you mean heads"),
        ({"positions": "hub"}, "unknown option of vjepa 'positions'"),
        ({"dtype": "float16", "heads": 4}, "unknown dtype 'float16'"),
        ({"dtype": "bf16", "heads": 4}, "unknown dtype 'bf16'"),
    ],
)
def test_a_mistaken_option_is_one_line(files, options, message):
    with pytest.raises(UserError, match=message) as error:
        load_encoder("vjepa", weights=files["vjepa"], **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("options", [{"seed": "one"}, {"seed": 1.5}])
def test_a_seed_that_is_no_whole_number_is_one_line(options):
    with pytest.raises(UserError, match="seed"):
        load_encoder("random-vit-s", **options)


def test_a_released_name_refuses_a_file_of_another_size(files):
    with pytest.raises(UserError, match=r"width 48 \(expected 1024\), layers 3 \(expected 24\).*`vjepa` takes any"):
        load_encoder("vjepa-l", weights=files["vjepa"])


@pytest.mark.parametrize("name", ["dinov2", "dino", "mae", "videomae", "videomaev2", "vjepa", "4ds", "random-vit-s"])
def test_random_weights_depend_on_the_seed_alone(name, monkeypatch):
    """Of a tiny model in place of the family's smallest."""
    family = next(family for family in FAMILIES if family.name == find_model(name).card.family)
    monkeypatch.setitem(family.sizes, family.smallest(), size(64, 2, 2, 128))
    options = {"device": "cpu"} if name == "random-vit-s" else {"device": "cpu", "weights": "random"}
    video = noise(1, 32, 48)
    first, again, other = (load_encoder(name, seed=seed, **options) for seed in (0, 0, 1))
    features = first.encode(video)
    assert features.shape == (1, 32 // first.card.patch, 48 // first.card.patch, 64)
    assert np.isfinite(features).all()
    assert first.weights.kind == "random"
    assert np.array_equal(again.encode(video), features)
    assert np.array_equal(load_encoder(name, **options).encode(video), features)
    assert difference(other.encode(video), features) > 1e-2
    assert first.weights_sha256() == again.weights_sha256() != other.weights_sha256()


@pytest.mark.parametrize("name", ["dino-s", "siammae-s", "4ds-s", "random-vit-s"])
def test_a_released_size_runs_with_random_weights(name):
    encoder = load_encoder(name, weights="random", device="cpu")
    assert encoder.encode(noise(1, 32, 32)).shape == (1, 2, 2, 384)
    assert encoder.options["heads"] == 6


def test_random_weights_of_a_bare_family_say_whose_sizes_they_have():
    encoder = load_encoder("mae", weights="random")
    assert encoder.weights.to_dict() == {"kind": "random", "seed": 0, "size": "cropmae-s"}
    assert (encoder.card.width, encoder.card.params_m) == (384, 21.7)
    with pytest.raises(UserError, match=r"random weights of mae have the 6 heads of cropmae-s; leave out heads=5"):
        load_encoder("mae", weights="random", heads=5)


@pytest.mark.parametrize("name", ["dinov2", "vjepa", "siammae-b", "4ds-h"])
def test_a_model_without_a_released_file_asks_for_one(name):
    with pytest.raises(UserError, match=f"{name} has no released checkpoint to fetch.*--weights PATH"):
        load_encoder(name)


def test_an_fc_norm_that_was_never_trained_is_said(tmp_path, encoders):
    assert "note" not in encoders["videomaev2"].weights.facts
    arrays = parameters("videomaev2")
    arrays["model.fc_norm.weight"] = np.ones(48, np.float32)
    half = write(tmp_path, "videomaev2", arrays, "half")
    assert "note" not in load_encoder("videomaev2", weights=half, heads=4).weights.facts
    arrays["model.fc_norm.bias"] = np.zeros(48, np.float32)
    identity = write(tmp_path, "videomaev2", arrays, "identity")
    assert "never trained" in load_encoder("videomaev2", weights=identity, heads=4).weights.facts["note"]


# Parameter counts (spec: counts of the official classes, on the meta device)

# A checkpoint of DINOv2 also counts a mask token of one width, which the encoder has no use for.
COUNTS = {
    "dinov2-s": 22_056_576 - 384,
    "dinov2-b": 86_580_480 - 768,
    "dinov2-l": 304_368_640 - 1024,
    "dinov2-g": 1_136_480_768 - 1536,
    "dino-s": 21_665_664,
    "dino-b": 85_798_656,
    "cropmae-s": 21_590_016 + 75_648,
    "siammae-s": 21_590_016 + 75_648,
    "siammae-b": 85_798_656,
    "videomae-b": 86_227_200,
    "videomae-l": 303_860_736,
    "videomae-h": 631_607_040,
    "videomaev2-b": 86_227_200,
    "videomaev2-l": 303_860_736,
    "videomaev2-g": 1_011_610_752,
    "vjepa-l": 305_490_944,
    "vjepa-h": 633_655_040,
    "4ds-b": 87_439_104,
    "4ds-b-dist": 87_439_104,
    "4ds-e": 3_809_464_064,
}
MILLIONS = {"4ds-s": 22.5, "4ds-l": 305.5, "4ds-h": 633.7, "siammae-b": 85.8, "cropmae-s": 21.67}
SIZES = [(family, name) for family in FAMILIES for name in family.sizes]


def count(family, name):
    with torch.device("meta"):
        model = ViT(family.config(name))
    assert all(parameter.is_meta for parameter in model.parameters())
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("family", "name"), SIZES, ids=[name for _, name in SIZES])
def test_parameter_counts_are_those_of_the_official_classes(family, name):
    counted = count(family, name)
    assert name in COUNTS or name in MILLIONS
    if name in COUNTS:
        assert counted == COUNTS[name]
    if name in MILLIONS:
        assert round(counted / 1e6, 2 if name == "cropmae-s" else 1) == MILLIONS[name]


@pytest.mark.parametrize(("name", "trainable"), [("vjepa-l", 303_885_312), ("vjepa-h", 631_648_000)])
def test_the_fixed_positions_of_vjepa_are_stored_but_not_trained(name, trainable):
    config = vjepa.FAMILY.config(name)
    assert count(vjepa.FAMILY, name) - 8 * 14 * 14 * config.width == trainable


@pytest.mark.parametrize(("family", "name"), SIZES, ids=[name for _, name in SIZES])
def test_every_model_of_a_family_is_registered_by_its_name(family, name):
    card = find_model(name).card
    assert (card.name, card.family) == (name, family.name)
