"""The processes of a training are those that the environment names, and one by itself looks for no others."""

import pytest

from rvm_bench.errors import UserError

jax = pytest.importorskip("jax", reason="needs the extra `jax`")

from rvm_bench.rvm.train.jax import processes  # noqa: E402

NAMED = {"JAX_COORDINATOR_ADDRESS": "node1:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}
SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
STEP = {**SLURM, "SLURM_STEP_NODELIST": "node[1-2]"}
OPEN_MPI = {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1", "OMPI_COMM_WORLD_SIZE": "2"}
EXPLICIT = {
    "coordinator_address": "node1:1234",
    "num_processes": 4,
    "process_id": 3,
    "cluster_detection_method": "deactivate",
}


@pytest.mark.parametrize(
    ("environ", "platforms", "expected"),
    [
        ({}, "", None),
        ({"TPU_SKIP_MDS_QUERY": "1"}, "cpu", None),
        (NAMED, "", EXPLICIT),
        (NAMED | STEP, "tpu,cpu", EXPLICIT),
        (NAMED | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, "", None),
        (STEP, "", {}),
        (STEP | {"JAX_COORDINATOR_ADDRESS": "node1:1234"}, "", {}),
        (STEP | {"SLURM_NTASKS": "1"}, "", None),
        (SLURM, "", None),
        (OPEN_MPI, "", {}),
        (OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"}, "", None),
        ({}, "tpu,cpu", {}),
        ({"TPU_SKIP_MDS_QUERY": "1"}, "tpu,cpu", None),
        ({"TPU_WORKER_HOSTNAMES": "host0,host1"}, "tpu,cpu", {}),
        ({"TPU_WORKER_HOSTNAMES": "host0,host1"}, "cpu", None),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, "tpu,cpu", None),
        ({"TPU_WORKER_HOSTNAMES": "host0", "MEGASCALE_NUM_SLICES": "2"}, "tpu,cpu", {}),
    ],
)
def test_the_environment_tells_whether_there_are_several_processes(environ, platforms, expected):
    assert processes.named_processes(environ, platforms) == expected


def test_processes_named_wrongly_are_refused(monkeypatch):
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES and JAX_PROCESS_ID must be set as well"):
        processes.named_processes({"JAX_COORDINATOR_ADDRESS": "node1:1234"}, "")
    with pytest.raises(UserError, match="process JAX_PROCESS_ID=4 of JAX_NUM_PROCESSES=4 does not exist"):
        processes.named_processes(NAMED | {"JAX_PROCESS_ID": "4"}, "")

    def unreachable(**arguments):
        assert arguments == EXPLICIT
        raise RuntimeError("DEADLINE_EXCEEDED: no answer\nmore")

    monkeypatch.setattr(jax.distributed, "initialize", unreachable)
    for name, value in NAMED.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"do not find each other \(DEADLINE_EXCEEDED: no answer\); set JAX_COORD"):
        processes.join()
