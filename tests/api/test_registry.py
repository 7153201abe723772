"""Models by name, by module, by file, by checkpoint; every mistake in one line."""

import sys
from importlib.metadata import EntryPoint

import pytest

import rvm_bench
from rvm_bench.api.card import Model
from rvm_bench.api.registry import find_model, find_task, list_models, list_tasks
from rvm_bench.errors import UserError

PLUGIN = """
import torch
from rvm_bench import EncoderCard, ImageEncoder

class Mine(ImageEncoder):
    card = EncoderCard(name="mine", family="mine", patch=8, width=3)
    def forward_frames(self, frames):
        return torch.nn.functional.avg_pool2d(frames, 8).permute(0, 2, 3, 1)

def build():
    return Mine()

def with_options(weights=None, device="cpu", scale=1):
    encoder = Mine()
    encoder.options = {"weights": weights, "device": device, "scale": scale}
    return encoder

def not_an_encoder():
    return 3

def in_need(layer, scale=1):
    return Mine()

def from_zoo(reference, *, weights=None, device="cpu", scale=1):
    encoder = Mine()
    encoder.options = {"reference": reference, "weights": weights, "device": device, "scale": scale}
    return encoder
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "my_backbone.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path / "my_backbone.py"
    for name in ("my_backbone", "rvm_bench_plugin_my_backbone"):
        sys.modules.pop(name, None)


def test_ours_are_found_by_the_mechanism_of_everyone():
    assert {"pixels", "rvm", "rvm-s", "rvm-b", "rvm-l", "rvm-h"} <= set(list_models())
    assert "davis" in list_tasks()
    assert isinstance(find_model("rvm-l"), Model)
    assert find_task("davis").name == "davis"


@pytest.mark.parametrize("name", ["my_backbone:build", "my_backbone.py:build"])
def test_a_plugin_is_found_in_the_working_directory(plugin, name):
    assert rvm_bench.load_encoder(name).card.name == "mine"


def test_a_factory_gets_the_arguments_that_it_takes(plugin):
    encoder = rvm_bench.load_encoder("my_backbone:with_options", weights="w.pth", device="cpu", scale=3, chunk=7)
    assert encoder.options == {"weights": "w.pth", "device": "cpu", "scale": 3}
    assert encoder.chunk == 7


@pytest.fixture
def zoo(plugin, monkeypatch):
    """A source that another package registers."""
    import rvm_bench.api.registry as registry

    entry = EntryPoint("zoo", "my_backbone:from_zoo", "rvm_bench.sources")
    known = registry.entry_points
    monkeypatch.syspath_prepend(plugin.parent)
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [*known(group=group), *([entry] if group == entry.group else [])]
    )


@pytest.mark.parametrize("reference", ["owner/name", "/an/absolute/path", "a:colon", "file.py:build", "./x.npz/y"])
def test_anyone_may_register_a_source_of_models(zoo, reference):
    encoder = rvm_bench.load_encoder(f"zoo:{reference}", weights="random", device="cpu", scale=3)
    assert encoder.options == {"reference": reference, "weights": "random", "device": "cpu", "scale": 3}


def test_what_is_no_registered_source_is_still_a_module_or_a_file(zoo):
    assert rvm_bench.load_encoder("my_backbone:build").card.name == "mine"
    assert rvm_bench.load_encoder("my_backbone.py:build").card.name == "mine"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("zoo:", {}, "--model zoo:: expected zoo:NAME"),
        ("zoo:x", {"scal": 2}, "unknown option of zoo:x 'scal'; did you mean scale"),
        ("zoo:x", {"dtype": "bfloat16"}, "zoo:x takes no argument 'dtype'"),
        ("zoos:x", {}, r"cannot import 'zoos'.*sources of models: hf, timm, zoo"),
    ],
)
def test_a_mistake_with_a_source_is_one_line(zoo, name, options, message):
    with pytest.raises(UserError, match=message) as error:
        rvm_bench.load_encoder(name, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pxels", {}, "did you mean pixels"),
        ("rvm-m", {}, "did you mean rvm"),
        ("no_such_module:build", {}, "cannot import 'no_such_module'"),
        ("nowhere.py:build", {}, "no such file: nowhere.py"),
        ("my_backbone:biuld", {}, "did you mean build"),
        ("my_backbone:not_an_encoder", {}, "returned a int"),
        ("my_backbone:build", {"weights": "w.pth"}, "takes no argument 'weights'"),
        ("my_backbone:build", {"dtype": "bfloat16"}, "takes no argument 'dtype'"),
        ("my_backbone:with_options", {"scal": 2}, "did you mean scale"),
        ("my_backbone:in_need", {"scale": 2}, "my_backbone:in_need needs layer; give --option layer=VALUE"),
        ("pixels", {"dtype": "float61"}, "did you mean bfloat16 or float32"),
        ("pixels", {"weights": "w.pth"}, "has no weights"),
        ("pixels", {"positions": "hub"}, "unknown option of pixels 'positions'"),
        ("pixels", {"device": "cuda:77"}, "device 'cuda:77' is not available"),
        ("rvm-s", {}, "rvm-bench weights fetch rvm-s"),
        ("rvm", {}, "give --weights"),
        ("nowhere.npz", {}, "nowhere.npz"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(plugin, name, options, message):
    with pytest.raises(UserError, match=message) as error:
        rvm_bench.load_encoder(name, **options)
    assert "\n" not in str(error.value)


def test_importing_the_package_and_listing_models_imports_no_torch():
    import subprocess

    code = "import rvm_bench, sys; from rvm_bench.cli.table import ls; ls('models'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
