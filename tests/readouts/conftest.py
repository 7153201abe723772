"""Demo copies that all test processes share, and runs of the readout tasks on them."""

import contextlib
import multiprocessing
import os
import shutil

import pytest
from filelock import FileLock, Timeout
from small_tasks import SMALL, TRACKING, as_options

from rvm_bench.demo import kinetics, movi, perception, scannet, ssv2, waymo
from rvm_bench.demo.scannet import DemoScan
from rvm_bench.fetch.load import load_encoder

# Worker processes of the tests fork from a server that has imported torch once, instead of importing it each.
multiprocessing.set_forkserver_preload(["readouts.fitting.fit"])


@pytest.fixture(scope="session")
def written_once(tmp_path_factory):
    """A folder whose parts are written once for all parallel test processes, each part by whichever is free."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def folder(name, **writers):
        # First the parts that no other process is writing, then wait for the others.
        for timeout in (0, -1):
            for part, write in writers.items():
                with contextlib.suppress(Timeout), FileLock(root / f"{name}-{part}.lock", timeout=timeout):
                    done = root / f"{name}-{part}.done"
                    if not done.exists():
                        write(root / name)
                        done.touch()
        return root / name

    return folder


@pytest.fixture(scope="session")
def copies(written_once):
    """A data root, not to be changed: 12 + 4 videos of SSv2, 6 + 4 of Kinetics, 3 + 2 scans of ScanNet."""
    scans = [DemoScan(room=9000 + k, sens=k == 1) for k in range(3)]
    scans += [DemoScan(room=9100 + k, sens=k == 1, split="val") for k in range(2)]
    return written_once(
        "demo-copies",
        scannet=lambda root: scannet.write(root / "scannet", scans=tuple(scans), frames=32),
        kinetics=lambda root: kinetics.write(
            root / "kinetics700_2020", actions=kinetics.ACTIONS[:2], training=3, validation=2
        ),
        ssv2=lambda root: ssv2.write(root / "ssv2", training=3, validation=1),
    )


@pytest.fixture(scope="session")
def tracking_copies(written_once):
    """A data root, not to be changed: 2 videos of Perception Test with 4 clips of MOVi-E, 3 + 2 segments of Waymo."""
    return written_once(
        "tracking-copies",
        waymo=lambda root: waymo.write(root / "waymo", training=3, validation=2),
        perception=lambda root: perception.write(root / "perception_test", videos=2, frames=34),
        movi=lambda root: movi.write(root, training=4, shards=2, side_px=48),
    )


@pytest.fixture
def own_copy(copies, tmp_path):
    """A data root that a test may damage."""
    return shutil.copytree(copies, tmp_path / "data")


@pytest.fixture
def run(cli):
    """`rvm-bench run` of pixels with the small constants: (exit code, standard output, standard error)."""

    def call(task, data, *arguments, **changes):
        constants = SMALL | TRACKING.get(task, {}) | changes
        return cli("run", "--model", "pixels", "--task", task, "--data", data, *as_options(constants), *arguments)

    return call


@pytest.fixture
def pixels():
    return load_encoder("pixels", device="cpu")
