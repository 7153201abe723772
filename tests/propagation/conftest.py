"""The three tasks at small inputs, so that a video takes a fraction of a second, and tiny copies of their data."""

import pytest
from copies import write_jhmdb, write_vip

from propagation.tasks.davis import DavisProtocol, DavisTask
from propagation.tasks.jhmdb import JhmdbProtocol, JhmdbTask
from propagation.tasks.vip import VipProtocol, VipTask
from rvm_bench.fetch.load import load_encoder


@pytest.fixture(scope="session")
def pixels():
    return load_encoder("pixels", device="cpu")


@pytest.fixture
def davis():
    return DavisTask(DavisProtocol(input_height_px=96, input_width_px=176, radius=4))


@pytest.fixture
def vip():
    return VipTask(VipProtocol(input_height_px=96, input_width_px=176, radius=4))


@pytest.fixture
def jhmdb():
    return JhmdbTask(JhmdbProtocol(input_height_px=96, input_width_px=96, radius=4))


@pytest.fixture
def vip_copy(tmp_path):
    return write_vip(tmp_path / "VIP", ["videos7", "videos8", "videos30"])


@pytest.fixture
def jhmdb_copy(tmp_path):
    return write_jhmdb(tmp_path / "jhmdb")
