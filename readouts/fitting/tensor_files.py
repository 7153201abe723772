"""safetensors files that are written whole or not at all."""

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
        facts: JSON values, stored as one string under "rvm_bench" in the metadata: safetensors writes metadata keys in
            no fixed order, so several keys would change the file's bytes from call to call.
    """
    from safetensors.torch import save_file

    # A random part: process ids are not unique where hosts share the folder.
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    metadata = None if facts is None else {"rvm_bench": json.dumps(facts, sort_keys=True, allow_nan=False)}
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        # safetensors creates files for their owner alone; a cache may be shared as its folder is.
        temporary.chmod(file.parent.stat().st_mode & 0o666)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
