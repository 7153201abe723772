"""The processes of one training: which there are, told by the environment, and what they have to agree on."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from rvm_bench.errors import UserError

NAMED = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
"""host:port of process 0, how many processes there are, and which of them this is, from 0."""

SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
"""What `srun` sets and JAX reads. A batch script outside `srun` has some of them, but no node list of a step."""


def join() -> bool:
    """Joins the processes that the environment names, and says whether it did; a process by itself stays so.

    It must come before JAX computes or lists its devices. Processes that the caller has joined are left as they are.

    Raises:
        UserError: the environment names them incompletely, or they do not find each other.
    """
    if jax.distributed.is_initialized():
        return False
    platforms = jax.config.jax_platforms  # type: ignore[attr-defined]  # jax makes these names at run time
    arguments = named_processes(os.environ, platforms or "")
    if arguments is None:
        return False
    try:
        jax.distributed.initialize(**arguments)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"the processes of this training do not find each other ({reason}); set {', '.join(NAMED)} for each, or, "
            "on one TPU host that has no metadata server, TPU_SKIP_MDS_QUERY=1"
        ) from error
    return True


def named_processes(environ: Mapping[str, str], platforms: str) -> dict[str, Any] | None:
    """What `jax.distributed.initialize` needs to be told where there are several processes; None where there is one.

    `NAMED` works everywhere. Else JAX finds them itself: the tasks of a Slurm step, those of Open MPI's `mpirun`, and
    the hosts of a TPU pod, by the variables of GKE or by the machine's metadata, which every other TPU VM has.

    Args:
        environ: environment variables, as they are once jax is imported: it sets TPU_SKIP_MDS_QUERY where there is no
            TPU.
        platforms: jax's setting `jax_platforms`, to which it adds "tpu" on a TPU VM.

    Raises:
        UserError: some of `NAMED` are set and others missing, or they are no numbers.
    """
    address, count, index = (environ.get(name) for name in NAMED)
    if address and count and index:
        if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
            raise UserError(f"process {NAMED[2]}={index} of {NAMED[1]}={count} does not exist; they count from 0")
        if int(count) == 1:
            return None
        return {
            "coordinator_address": address,
            "num_processes": int(count),
            "process_id": int(index),
            "cluster_detection_method": "deactivate",
        }
    if _launched(environ) or _on_pod(environ, platforms):
        return {}
    if address or count or index:
        missing = [name for name in NAMED if not environ.get(name)]
        raise UserError(f"{' and '.join(missing)} must be set as well: several processes need {', '.join(NAMED)}")
    return None


def wait() -> None:
    """Until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("rvm_bench.rvm.train.jax.processes.wait")


def agree(value: bool) -> bool:
    """Whether `value` is true on any process."""
    if jax.process_count() == 1:
        return value
    return bool(np.any(multihost_utils.process_allgather(np.asarray(value))))


def _launched(environ: Mapping[str, str]) -> bool:
    slurm = all(name in environ for name in SLURM) and int(environ["SLURM_NTASKS"]) > 1
    return slurm or ("OMPI_MCA_orte_hnp_uri" in environ and int(environ.get("OMPI_COMM_WORLD_SIZE", "1")) > 1)


def _on_pod(environ: Mapping[str, str], platforms: str) -> bool:
    if "tpu" not in platforms.split(","):
        return False
    hosts = environ.get("TPU_PROCESS_ADDRESSES") or environ.get("TPU_WORKER_HOSTNAMES")
    if hosts is None:
        return "TPU_SKIP_MDS_QUERY" not in environ
    return "," in hosts or int(environ.get("MEGASCALE_NUM_SLICES", "1")) > 1
