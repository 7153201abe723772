"""Tensors on disk, as a whole or not at all."""

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor


def save_atomically(file: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any] | None = None) -> None:
    """Writes a safetensors file so that a reader, also after a kill, sees the old content or the new one as a whole.

    Args:
        facts: JSON values, put as one string under "rvm_bench" in the metadata: its keys have no order of their own
            there, and the file's bytes would change from call to call.
    """
    from safetensors.torch import save_file

    # Random, as two hosts that share the folder may have processes of one number.
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    metadata = None if facts is None else {"rvm_bench": json.dumps(facts, sort_keys=True, allow_nan=False)}
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        # safetensors makes files that only their owner can read; here the folder's permissions decide.
        temporary.chmod(file.parent.stat().st_mode & 0o666)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
