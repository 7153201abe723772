"""What the tests of checkpoint files share."""

import pytest
from official_files import MODELS, VIDEO, load, parameters, tensors, write

from rvm_bench import load_encoder


@pytest.fixture
def state():
    """CropMAE's tensors, as its checkpoint holds them under "model"."""
    return tensors(parameters("cropmae"))


@pytest.fixture(scope="session")
def features(tmp_path_factory):
    """What each golden model answers, loaded from its official file."""
    folder = tmp_path_factory.mktemp("official")
    return {model: load(model, write(folder, model)).encode(VIDEO) for model in MODELS}


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """The official file of each golden model. Shared: never written to again."""
    folder = tmp_path_factory.mktemp("official")
    return {model: write(folder, model) for model in MODELS}


@pytest.fixture(scope="session")
def load_golden(files):
    """Loads a golden model by the name of its family, with options."""

    def load_by_name(model, **options):
        return load_encoder(
            MODELS[model].family, weights=files[model], device="cpu", **(dict(MODELS[model].options) | options)
        )

    return load_by_name


@pytest.fixture(scope="session")
def encoders(load_golden):
    """One encoder of each golden model. Shared: a test that changes one loads its own."""
    return {model: load_golden(model) for model in MODELS}
