"""Small copies of data in the official layouts, an isolated cache, and one thread per test process."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from layouts import DAVIS_COPY, write_davis

from rvm_bench.cli import main

torch.set_num_threads(1)
cv2.setNumThreads(1)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache, or finds data by the user's environment."""
    monkeypatch.setenv("RVM_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("RVM_BENCH_DATA", raising=False)


@pytest.fixture(scope="session")
def golden():
    return lambda name: np.load(GOLDEN / name, allow_pickle=False)


@pytest.fixture
def davis_copy(tmp_path):
    """A tiny data set in the DAVIS layout."""
    return write_davis(tmp_path / "DAVIS", DAVIS_COPY)


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """Calls the command line in this process: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["rvm-bench", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
