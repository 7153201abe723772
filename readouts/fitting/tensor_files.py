"""Tensors on disk, whole or not at all, and a checksum that keeps up with memory."""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

FOLD = 2053
"""Words in a row of `checksum`; a prime, so that no displaced page or block falls back onto its own column."""


def checksum(content: memoryview) -> int:
    """CRC-32 of the content folded by xor into one row of 2053 64-bit words, and of what is left over.

    Damage to any stretch of up to 16 kB is found, and so are displaced blocks; two places hide one another only with
    the same flipped bits a multiple of 16 424 bytes apart. It runs at the speed of memory, several times that of the
    standard library's own checksums: `benchmarks/readouts.py` prints both.
    """
    rows = len(content) // (FOLD * 8)
    words = np.frombuffer(content, np.uint8)[: rows * FOLD * 8].view(np.uint64).reshape(rows, FOLD)
    folded = np.bitwise_xor.reduce(words, axis=0) if rows else words
    return zlib.crc32(content[rows * FOLD * 8 :], zlib.crc32(folded.tobytes()))


def save_atomically(file: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any] | None = None) -> None:
    """Writes a safetensors file so that a reader, or a kill, sees the old content or the new one and nothing between.

    Args:
        facts: JSON values, put as one string under "rvm_bench" in the metadata: its keys have no order of their own
            there, and the file's bytes would change from call to call.
    """
    from safetensors.torch import save_file

    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    metadata = None if facts is None else {"rvm_bench": json.dumps(facts, sort_keys=True, allow_nan=False)}
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        # safetensors lets nobody else read its files; a cache is shared by whom its folder is.
        temporary.chmod(file.parent.stat().st_mode & 0o666)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
